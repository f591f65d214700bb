"""Properties of every family of scenes: the same bytes from the same seed, published sizes, cameras in the room."""

import errno
import json
import runpy
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from gqn.data.batches import evaluation_batches
from gqn.data.convert import convert
from gqn.data.dataset import DATASETS, DatasetError, SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.data.workers import worker_pool
from gqn.scenes import FAMILIES, jaco
from gqn.scenes.rooms import HALF

# World units that no camera leaves, along x and y and upward.
ROOMS = {"shepard_metzler": (3.34, 3.34), "rooms": (HALF, 0.42), "mazes": (0.4, 0.1), "jaco": (2.0, 2.0)}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Two workers for all families: to start them takes longer than to draw."""
    with worker_pool(2) as workers:
        yield workers


def small(name: str, seed: int = 1, **options: object):
    return FAMILIES[name](**{"size": 20, "views": 4, **options}).scene(np.random.default_rng(seed))


def test_every_dataset_of_the_paper_is_there_as_published() -> None:
    assert FAMILIES.keys() == DATASETS.keys()
    for name, info in DATASETS.items():
        family = FAMILIES[name]()
        assert (family.size, family.views) == (info.pixels, info.views)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_scene_is_a_function_of_the_seed(name: str) -> None:
    scene, again, other = small(name), small(name), small(name, seed=2)
    assert scene.frames.shape == (4, 20, 20, 3)
    assert scene.frames.dtype == np.uint8
    assert scene.cameras.shape == (4, 5)
    assert scene.cameras.dtype == np.float32
    assert all(frame.std() > 3 for frame in scene.frames)
    np.testing.assert_array_equal(scene.frames, again.frames)
    np.testing.assert_array_equal(scene.cameras, again.cameras)
    assert (scene.frames != other.frames).any()
    assert (scene.cameras != other.cameras).any()


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "mazes"])
def test_a_twin_differs_in_what_the_scene_holds_and_in_nothing_else(name: str) -> None:
    """Cameras, light and surroundings are the scene's, and so are most of the pixels that show no object."""
    family = FAMILIES[name](size=32, views=6)
    for seed in range(3):
        contents = np.random.default_rng(100 + seed)
        scene, twin = family.scene(np.random.default_rng(seed)), family.scene(np.random.default_rng(seed), contents)
        np.testing.assert_array_equal(twin.cameras, scene.cameras)
        assert {k: str(v) for k, v in twin.labels.items() if k not in ("objects", "joints", "hand")} == {
            k: str(v) for k, v in scene.labels.items() if k not in ("objects", "joints", "hand")
        }
        assert str(twin.labels["objects"]) != str(scene.labels["objects"])
        differs = (twin.frames != scene.frames).any(axis=-1)
        assert differs.any(axis=(1, 2)).all()
        assert differs.mean() < 0.6
    other = family.scene(np.random.default_rng(0), np.random.default_rng(5))
    assert (other.frames != family.scene(np.random.default_rng(0), np.random.default_rng(6)).frames).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_cameras_are_finite_and_in_the_room(name: str) -> None:
    across, up = next(limits for prefix, limits in ROOMS.items() if name.startswith(prefix))
    for seed in range(4):
        cameras = small(name, seed, size=4, views=100).cameras
        assert np.isfinite(cameras).all()
        assert np.abs(cameras[:, :2]).max() < across
        assert np.abs(cameras[:, 2]).max() < up
        assert np.abs(cameras[:, 3:]).max() < 2 * np.pi


@pytest.mark.parametrize("name", FAMILIES)
def test_from_record_to_shard_to_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ProcessPoolExecutor
) -> None:
    """The same bytes from one worker and two; what a batch shows is what was drawn; labels join their scenes."""
    arguments = {"scenes": 3, "seed": 5, "test_scenes": 1, "size": 16, "views": 3, "progress": False}
    monkeypatch.setattr("gqn.data.generate.SCENES_PER_FILE", 2)
    monkeypatch.setattr("gqn.data.generate.dropped_pool", lambda workers: nullcontext(pool))
    folder = generate(name, tmp_path / "one", workers=1, **arguments)
    other = generate(name, tmp_path / "two", workers=2, **arguments)
    assert {path.name: path.read_bytes() for path in folder.glob("*/*")} == {
        path.name: path.read_bytes() for path in other.glob("*/*")
    }
    convert(folder, 2, workers=1, progress=False)
    dataset = SceneDataset(folder, "train")
    assert (dataset.pixels, dataset.views, len(dataset)) == (16, 3, 3)
    assert dataset.geometry == FAMILIES[name]().geometry
    assert dataset.display == FAMILIES[name]().covered
    labels = scene_labels(folder, "train")
    assert len(labels) == 3
    for number in range(3):
        random = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, number)))
        drawn = FAMILIES[name](size=16, views=3).scene(random)
        frames, cameras = dataset.scene(number)
        np.testing.assert_array_equal(cameras, drawn.cameras)
        np.testing.assert_array_equal(frames, np.stack([decode_jpeg(encode_jpeg(frame)) for frame in drawn.frames]))
        assert labels[number] == json.loads(json.dumps(drawn.labels, default=lambda value: value.tolist()))
    part = SceneDataset(folder, "train", fraction=0.6)
    for number in range(2):
        np.testing.assert_allclose(part.scene(number)[1], dataset.scene(part.position(number))[1])
    batch = next(evaluation_batches(LabelledScenes(dataset), batch=2, context=2, seed=0)).batch
    assert batch.context.frames.shape == (2, 2, 3, 16, 16)
    assert torch.isfinite(batch.query.cameras).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_further_senses_go_from_record_to_shard(name: str, tmp_path: Path) -> None:
    senses = ("depth", "normals") if name == "mazes" else ("depth", "normals", "touch")
    options = {"size": 8, "views": 2, "senses": senses}
    folder = generate(name, tmp_path, 2, 7, workers=1, progress=False, **options)
    convert(folder, 1, workers=1, progress=False)
    dataset = SceneDataset(folder, "train")
    assert dataset.further == FAMILIES[name](**options).tensors
    for number in range(2):
        random = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(0, number)))
        for sense, values in FAMILIES[name](**options).scene(random).tensors.items():
            np.testing.assert_array_equal(dataset.sensed(number, sense), values)
    with pytest.raises(DatasetError, match="smell"):
        dataset.sensed(0, "smell")
    with pytest.raises(IndexError):
        dataset.sensed(2, "depth")


def test_contact_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, sheet = Path(__file__).parents[2] / "scripts/contact-sheet.py", tmp_path / "new/sheet.png"
    options = ["mazes", str(sheet), "--scenes=2", "--views=3", "--size=8", "--senses"]
    monkeypatch.setattr("sys.argv", [str(script), *options])
    runpy.run_path(str(script), run_name="__main__")
    assert pyplot.imread(sheet).shape == (2 * 3 * 10, 3 * 10, 4)
    monkeypatch.setattr("sys.argv", [str(script), "teapots", str(sheet)])
    with pytest.raises(SystemExit, match="no family of scenes 'teapots'"):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mazes", "sheet.xyz"], "contact-sheet: sheet.xyz: the sheet is a PNG: name a file that ends in .png"),
        (["mazes", "sheet.png", "--size=0"], "contact-sheet: --size must be positive"),
        (["mazes", "sheet.png", "--scenes=0"], "contact-sheet: --scenes must be positive"),
        (["mazes", "sheet.png", "--seed=-1"], "contact-sheet: --seed must be 0 or more"),
        (["mazes", "/dev/null/sheet.png", "--size=8"], "contact-sheet: [Errno 17] File exists: '/dev/null'"),
        (["jaco", "sheet.png", "--size=8"], "contact-sheet: the arm needs the files of dm_control: pip install "),
    ],
)
def test_a_contact_sheet_that_can_not_be_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    script = Path(__file__).parents[2] / "scripts/contact-sheet.py"
    monkeypatch.chdir(tmp_path)
    jaco._arm.cache_clear()  # which another test may have built
    monkeypatch.setitem(sys.modules, "dm_control", None)
    monkeypatch.setattr("sys.argv", [str(script), *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert str(stopped.value).startswith(message)
    assert not list(tmp_path.iterdir())


def test_a_contact_sheet_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, sheet = Path(__file__).parents[2] / "scripts/contact-sheet.py", tmp_path / "sheet.png"
    sheet.write_bytes(b"before")

    def full(file: IO[bytes], *_: object, **__: object) -> None:
        with file if hasattr(file, "write") else open(file, "wb") as opened:
            opened.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyplot, "imsave", full)
    monkeypatch.setattr("sys.argv", [str(script), "mazes", str(sheet), "--scenes=1", "--views=1", "--size=8"])
    with pytest.raises(SystemExit, match=r"^contact-sheet: .*No space left on device: .*sheet.png'$"):
        runpy.run_path(str(script), run_name="__main__")
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(sheet, b"before")]


def test_labels_of_other_records_are_refused(tmp_path: Path) -> None:
    folder = generate("shepard_metzler_5_parts", tmp_path, 2, 0, size=8, views=2, workers=1, progress=False)
    with pytest.raises(DatasetError, match=r"index\.json: not there"):
        scene_labels(folder, "train")
    convert(folder, 2, workers=1, progress=False)
    path = folder / "train/1-of-1.labels.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries[:1]))
    with pytest.raises(DatasetError, match="1 entries for 2 records"):
        scene_labels(folder, "train")
    path.write_text("[")
    with pytest.raises(DatasetError, match="damaged"):
        scene_labels(folder, "train")
    path.unlink()
    with pytest.raises(DatasetError, match="only scenes drawn by"):
        scene_labels(folder, "train")
