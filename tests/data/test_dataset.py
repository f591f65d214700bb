import json
import os
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RecordWriter, TensorFlowFiles
from torch.utils.data import DataLoader, Dataset

from gqn.data import dataset
from gqn.data.convert import convert
from gqn.data.dataset import DATASETS, DatasetError, SceneDataset, dataset_info, record_file_name
from gqn.data.generate import generate

PIXELS_AND_VIEWS = {
    "jaco": (64, 11),
    "mazes": (84, 300),
    "rooms_free_camera_with_object_rotations": (128, 10),
    "rooms_ring_camera": (64, 10),
    "rooms_free_camera_no_object_rotations": (64, 10),
    "shepard_metzler_5_parts": (64, 15),
    "shepard_metzler_7_parts": (64, 15),
}


@pytest.fixture
def converted(small_dataset: RecordWriter) -> Path:
    """Scenes 0 to 19 in two record files, in shards of 4, 4, 4, 1 and 4, 3."""
    directory = small_dataset(train=[range(13), range(13, 20)])
    convert(directory, 4, workers=1, progress=False)
    return directory


def brightness(scenes: SceneDataset, index: int) -> list[int]:
    frames, cameras = scenes.scene(index)
    assert frames.dtype == torch.uint8
    assert frames.shape == (2, 3, 8, 8)
    assert cameras.dtype == torch.float32
    assert cameras.shape == (2, 5)
    assert frames.unique().numel() == 1
    return [int(frames[0, 0, 0, 0]), int(cameras[1, 0])]


def test_table() -> None:
    assert {name: (info.pixels, info.views) for name, info in DATASETS.items()} == PIXELS_AND_VIEWS
    assert all(info.name == name and info.files.keys() == {"train", "test"} for name, info in DATASETS.items())
    assert sum(info.files["train"] for info in DATASETS.values()) == 12834
    assert sum(info.files["test"] for info in DATASETS.values()) == 1426


def test_names() -> None:
    assert record_file_name(1, 900) == "001-of-900.tfrecord"
    assert record_file_name(2160, 2160) == "2160-of-2160.tfrecord"
    assert record_file_name(1, 1) == "1-of-1.tfrecord"


def test_scenes_come_in_the_order_of_the_records(converted: Path) -> None:
    scenes = SceneDataset(converted, "train")
    assert (scenes.name, scenes.pixels, scenes.views, len(scenes)) == ("small", 8, 2, 20)
    order = [*range(19, -1, -1), 7, 0, 19]
    assert [brightness(scenes, index) for index in order] == [[index, index] for index in order]
    for outside in (-1, 20):
        with pytest.raises(IndexError, match=f"scene {outside} of 20"):
            scenes.scene(outside)


def test_views_come_as_named(tmp_path: Path) -> None:
    dataset = generate("shepard_metzler_5_parts", tmp_path, 1, seed=0, size=16, workers=1, progress=False)
    convert(dataset, 8, workers=1, progress=False)
    scenes = SceneDataset(dataset, "train")
    frames, cameras = scenes.scene(0)
    assert len(cameras.unique(dim=0)) == len(cameras) == scenes.views
    some = scenes.scene(0, [4, 2, 4])
    assert torch.equal(some[0], frames[[4, 2, 4]])
    assert torch.equal(some[1], cameras[[4, 2, 4]])


def test_a_fraction_is_always_the_same_and_lies_within_a_larger_one(converted: Path) -> None:
    def numbers(fraction: float) -> list[int]:
        scenes = SceneDataset(converted, "train", fraction=fraction)
        return [brightness(scenes, index)[0] for index in range(len(scenes))]

    assert numbers(1.0) == list(range(20))
    parts = [numbers(fraction) for fraction in (0.01, 0.2, 0.5, 0.95)]
    assert [len(part) for part in parts] == [1, 4, 10, 19]
    for smaller, larger in pairwise(parts):
        assert set(smaller) < set(larger)
        assert larger == sorted(larger)
    assert numbers(0.5) == parts[2]
    with pytest.raises(IndexError, match="scene 10 of 10"):
        SceneDataset(converted, "train", fraction=0.5).scene(10)
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="must be more than 0 and at most 1"):
            SceneDataset(converted, "train", fraction=wrong)


def test_another_size_shows_the_same_in_the_same_place_as_tensorflow_has_it(
    tensorflow_files: TensorFlowFiles, tmp_path: Path
) -> None:
    path = tensorflow_files.theirs[0]
    convert(path.parent.parent, 2, workers=1, progress=False, output=tmp_path, splits=["train"])
    for size in tensorflow_files.sizes:
        scenes = SceneDataset(tmp_path / "jaco", "train", size=size)
        assert scenes.pixels == size
        frames = torch.cat([scenes.scene(index)[0] for index in range(len(scenes))])
        assert frames.dtype == torch.float32
        np.testing.assert_allclose(frames.numpy() / 255, tensorflow_files.resized(path, size), atol=2e-6)
    own = SceneDataset(tmp_path / "jaco", "train", size=64).scene(0)[0]
    assert own.dtype == torch.uint8


def test_few_shards_stay_open(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "OPEN_SHARDS", 2)
    loads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: loads.append(path.name) or load(path, **options))
    scenes = SceneDataset(converted, "train")
    assert loads == []
    for index in (0, 1, 4, 3, 8, 2, 5):  # shards 0 0 1 0 2 0 1: the one used longest ago is closed for the third
        assert brightness(scenes, index) == [index, index]
    assert [int(name.split(".")[1]) for name in loads] == [0, 1, 2, 1]


def test_reading_does_not_write(converted: Path) -> None:
    frames, _ = SceneDataset(converted, "train").scene(3)
    frames.zero_()
    assert brightness(SceneDataset(converted, "train"), 3) == [3, 3]


def test_a_copy_is_small_and_reads_the_same(converted: Path) -> None:
    scenes = SceneDataset(converted, "train")
    unopened = pickle.dumps(scenes)
    brightness(scenes, 5)
    assert pickle.dumps(scenes) == unopened
    assert brightness(pickle.loads(unopened), 5) == [5, 5]


class Sums(Dataset[float]):
    def __init__(self, scenes: SceneDataset) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> float:
        return self.scenes.scene(index)[1][:, 0].sum().item()


def test_loader_workers_read_it(converted: Path) -> None:
    scenes = SceneDataset(converted, "train")
    brightness(scenes, 0)
    (batch,) = DataLoader(Sums(scenes), batch_size=20, num_workers=1)
    assert batch.tolist() == [2.0 * index for index in range(20)]


def test_what_is_missing_is_named(converted: Path, tmp_path: Path) -> None:
    for directory, split, missing in (
        (tmp_path / "none", "train", tmp_path / "none"),
        (converted, "test", converted / "torch/test"),
    ):
        with pytest.raises(DatasetError) as error:
            SceneDataset(directory, split)
        command = f"sh data.sh {tmp_path} BATCH {directory.name}"
        assert str(error.value) == f"{missing}: not there: convert the dataset: {command}"
    scenes = SceneDataset(converted, "train")
    shard = converted / "torch/train/1-of-2.0001.pt"
    shard.unlink()
    brightness(scenes, 3)
    with pytest.raises(
        DatasetError, match=f"{shard}: shard not there: convert the dataset: sh data.sh {tmp_path} BATCH small"
    ):
        scenes.scene(4)
    (converted / "torch/train/index.json").unlink()
    with pytest.raises(DatasetError, match=r"index.json: not there: .*sh data.sh"):
        SceneDataset(converted, "train")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "[]",
        lambda text: "\x00",
        lambda text: text.replace('"views": 2', '"views": "two"'),
        lambda text: text.replace('"views": 2', '"vjews": 2'),
        lambda text: text.replace('"count": 4', '"count": 5'),
        lambda text: text.replace('"first": 8', '"first": 4'),
        lambda text: text.replace('"records": 7', '"records": 8'),
        lambda text: json.dumps({**json.loads(text), "files": [1]}),
    ],
)
def test_a_damaged_index_is_named(converted: Path, damage) -> None:
    path = converted / "torch/train/index.json"
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(DatasetError, match=rf"{path}: damaged index .*remove it and run: sh data.sh") as error:
        SceneDataset(converted, "train")
    assert "\n" not in str(error.value)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_a_damaged_shard_is_named(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shard = converted / "torch/train/2-of-2.0001.pt"
    whole = shard.read_bytes()
    tensors = torch.load(shard, weights_only=True)
    for damaged in (
        b"",
        b"nonsense" * 100,
        whole[:300],
        whole[:-30],
        {"jpegs": tensors["jpegs"]},
        {**tensors, "jpegs": tensors["jpegs"][:-2]},
        {**tensors, "jpegs": tensors["jpegs"].flip(0)},
        {**tensors, "offsets": tensors["offsets"][:-2]},
        {**tensors, "offsets": tensors["offsets"] * 0 + tensors["offsets"][-1]},
        {**tensors, "cameras": tensors["cameras"].double()},
        [1, 2],
        {**tensors, "trap": Trap()},
    ):
        if isinstance(damaged, bytes):
            shard.write_bytes(damaged)
        else:
            torch.save(damaged, shard)
        with pytest.raises(DatasetError, match=rf"{shard}: .*remove it and run: sh data.sh") as error:
            SceneDataset(converted, "train").scene(19)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "trapped").exists()


def test_a_shard_that_is_cut_off_while_it_is_mapped_is_named(converted: Path) -> None:
    """To read past its end would kill the process by SIGBUS."""
    scenes = SceneDataset(converted, "train")
    scenes.scene(0)
    shard = min((converted / "torch/train").glob("*.pt"))
    whole = shard.read_bytes()
    shard.rename(shard.with_suffix(".old"))
    scenes.scene(0)  # what is mapped stays
    shard.write_bytes(whole)
    again = SceneDataset(converted, "train")
    again.scene(0)
    os.truncate(shard, 100)
    with pytest.raises(DatasetError, match=f"{shard}: became shorter while it was in use"):
        again.scene(0)


def test_a_dataset_is_known_by_its_description_or_its_name(tmp_path: Path) -> None:
    assert dataset_info("anywhere/mazes") is DATASETS["mazes"]
    own = tmp_path / "jaco"
    own.mkdir()
    assert dataset_info(own) is DATASETS["jaco"]
    (own / "dataset.json").write_text('{"name": "arm", "family": "arm", "pixels": 32, "views": 4}')
    assert (dataset_info(own).name, dataset_info(own).pixels, dataset_info(own).views) == ("arm", 32, 4)
    for damaged in ("{", "[]", '{"name": "arm", "pixels": 32}', '{"name": "arm", "pixels": 32, "views": 0}'):
        (own / "dataset.json").write_text(damaged)
        with pytest.raises(DatasetError, match=r"jaco/dataset.json: damaged"):
            dataset_info(own)
    with pytest.raises(DatasetError) as error:
        dataset_info(tmp_path / "shepard_metzler_6_parts")
    assert all(name in str(error.value) for name in DATASETS)
