"""Worlds without end: what is drawn while training is what a drawn dataset holds, and no scene comes twice."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from gqn.core.camera import camera_vector
from gqn.data.batches import FRAMES, TrainingBatches
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.endless import EndlessScenes, begun, folder_of, is_endless
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels

WORLDS = {
    "shepard_metzler_5_parts": {"senses": ("depth", "touch")},
    "rooms_ring_camera": {"senses": ("depth", "normals", "touch")},
    "rooms_free_camera_with_object_rotations": {},
    "mazes": {},
    "jaco": {"senses": ("touch",)},
}


def drawn(folder: Path, family: str, scenes: int, **options: object) -> LabelledScenes:
    options = {"size": 16, "views": 6, **options}
    dataset = generate(family, folder, scenes, seed=3, test_scenes=2, workers=1, progress=False, **options)
    convert(dataset, 2, workers=1, progress=False)
    return LabelledScenes(SceneDataset(dataset, "train"), scene_labels(dataset, "train"))


@pytest.mark.parametrize("family", WORLDS)
def test_endless_scenes_are_those_of_a_drawn_dataset(tmp_path: Path, family: str) -> None:
    short, long = (drawn(tmp_path / str(count), family, count, **WORLDS[family]) for count in (1, 4))
    endless = pickle.loads(pickle.dumps(EndlessScenes(short)))  # as a worker gets it
    path = "objects.0.position" if family != "jaco" else "joints"
    for scene in (3, 0, 2, 1):
        for data in (FRAMES, *short.scenes.further):
            if data.endswith("_cameras"):
                continue
            frames, cameras = endless.observe(data, scene, [5, 0, 3])
            expected = long.observe(data, scene, [5, 0, 3])
            assert torch.equal(frames, expected[0])
            assert torch.equal(cameras, expected[1])
        assert endless.labels_of(scene) == long.labels_of(scene)
        answers = [scenes.answer(path, scene) for scenes in (endless, long)]
        assert (answers[0] is None) == (answers[1] is None) == (family == "mazes")
        assert answers[0] is None or torch.equal(*answers)
    assert endless.observations(FRAMES) == 6
    assert endless.scenes.scene(7)[0].shape == (6, 3, 16, 16)
    with pytest.raises(ValueError, match="no 'smell'"):
        endless.scenes.sensed(0, "smell")


def test_endless_scenes_are_brought_to_another_size_alike(tmp_path: Path) -> None:
    drawn(tmp_path, "rooms_ring_camera", 2)
    scenes = LabelledScenes(SceneDataset(tmp_path / "rooms_ring_camera", "train", size=8))
    frames, cameras = EndlessScenes(scenes).observe(FRAMES, 1, [2, 4])
    assert frames.shape == (2, 3, 8, 8)
    assert torch.equal(frames, scenes.observe(FRAMES, 1, [2, 4])[0])
    assert torch.equal(cameras, camera_vector(scenes.scenes.scene(1, [2, 4])[1]))


def test_no_scene_comes_twice_to_any_process(tmp_path: Path) -> None:
    endless = EndlessScenes(drawn(tmp_path, "shepard_metzler_5_parts", 1))
    options = {"batch": 4, "context_views": (1, 3), "queries": 2, "seed": 5}
    whole = TrainingBatches(endless, **options)
    shares = [TrainingBatches(endless, **options, rank=rank, processes=2) for rank in (0, 1)]
    seen = [scene for step in range(6) for scene, _ in whole.drawn(step)]
    assert seen == list(range(24))
    assert sorted(scene for step in range(6) for share in shares for scene, _ in share.drawn(step)) == seen
    both = [share[2] for share in shares]  # and their data are the halves of the batch of one process
    for name in ("frames", "cameras"):
        halves = torch.cat([getattr(half.query, name) for half in both])
        assert torch.equal(halves, getattr(whole[2].query, name))


def test_what_has_no_end_is_named_by_a_world_or_by_a_drawn_folder(tmp_path: Path) -> None:
    assert (is_endless("jaco:endless"), folder_of("data/x:endless"), is_endless("data/jaco")) == (True, "data/x", False)
    with pytest.raises(DatasetError, match=r"^atlantis:endless: atlantis is no folder .* and no world, only shepard"):
        begun("atlantis:endless", tmp_path, seed=0, test_scenes=1)
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(DatasetError, match=r"own:endless: not drawn by scripts/generate-scenes\.py"):
        begun(f"{own}:endless", tmp_path, seed=0, test_scenes=1)
    (own / "dataset.json").write_text(json.dumps({"name": "own", "pixels": 8, "views": 2}))
    with pytest.raises(DatasetError, match=r"not drawn by scripts/generate-scenes\.py"):
        begun(f"{own}:endless", tmp_path, seed=0, test_scenes=1)
