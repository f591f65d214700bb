"""DeepMind's seven datasets in one table, and scenes read from the torch shards that `gqn.data.convert` makes."""

import json
import os
import pickle
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import Tensor

SPLITS = ("train", "test")
CAMERA_RECORDED = 5  # x, y, z, yaw, pitch
BUCKET = "gs://gqn-dataset"
BUCKET_URL = "https://storage.googleapis.com/gqn-dataset"
OPEN_SHARDS = 64  # most shards that a SceneDataset keeps mapped


class DatasetError(ValueError):
    """A dataset that is missing, damaged or not what it should be; the message is for its user."""


@dataclass(frozen=True)
class DatasetInfo:
    """What all scenes of a dataset share, and the number of record files of each split in DeepMind's bucket."""

    name: str
    pixels: int  # height and width of a frame
    views: int  # frames, and cameras, of a scene
    files: Mapping[str, int]  # by split; none for a dataset that is not DeepMind's


def _deepmind(name: str, train: int, test: int, pixels: int, views: int) -> tuple[str, DatasetInfo]:
    return name, DatasetInfo(name, pixels, views, {"train": train, "test": test})


DATASETS: dict[str, DatasetInfo] = dict(
    [
        _deepmind("jaco", train=3600, test=400, pixels=64, views=11),
        _deepmind("mazes", train=1080, test=120, pixels=84, views=300),
        _deepmind("rooms_free_camera_with_object_rotations", train=2034, test=226, pixels=128, views=10),
        _deepmind("rooms_ring_camera", train=2160, test=240, pixels=64, views=10),
        _deepmind("rooms_free_camera_no_object_rotations", train=2160, test=240, pixels=64, views=10),
        _deepmind("shepard_metzler_5_parts", train=900, test=100, pixels=64, views=15),
        _deepmind("shepard_metzler_7_parts", train=900, test=100, pixels=64, views=15),
    ]
)


def record_file_name(index: int, count: int) -> str:
    """The name of record file `index`, from 1, of `count`, both in as many digits as `count` has:

    001-of-900.tfrecord, 0001-of-2160.tfrecord.
    """
    width = len(str(count))
    return f"{index:0{width}}-of-{count:0{width}}.tfrecord"


def labels_file(records: Path) -> Path:
    """Where the ground truth of the scenes of a record file lies, if there is one: 001-of-900.labels.json beside it."""
    return records.with_name(records.name.partition(".")[0] + ".labels.json")


def record_file_url(name: str, split: str, index: int) -> str:
    """Where record file `index`, from 1, of a split of one of DeepMind's datasets lies."""
    return f"{BUCKET_URL}/{name}/{split}/{record_file_name(index, DATASETS[name].files[split])}"


def dataset_info(directory: str | os.PathLike[str]) -> DatasetInfo:
    """What the dataset in `directory` is: by its `dataset.json` where there is one, else by the folder's name.

    Raises DatasetError for a damaged `dataset.json`, or for a name that is not one of DeepMind's.
    """
    path = Path(directory) / "dataset.json"
    name = Path(directory).resolve().name
    try:
        fields = json.loads(path.read_text())
        return DatasetInfo(str(fields["name"]), _positive(fields["pixels"]), _positive(fields["views"]), files={})
    except (FileNotFoundError, NotADirectoryError):
        if name in DATASETS:
            return DATASETS[name]
        raise DatasetError(
            f"{directory}: no dataset.json in it, and its name is none of {', '.join(DATASETS)}"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path}: damaged: name, pixels and views expected ({error!r})") from error


def _positive(number: Any) -> int:
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{number!r} is no positive integer")
    return number


def how_to_fetch(name: str, directory: Path) -> str:
    """The lines that tell a user where the TFRecords of dataset `name` come from."""
    lines = [f"{name}: no record files in {directory}/train or {directory}/test."]
    data_dir = quote(str(directory.resolve().parent))
    if name in DATASETS:
        files = DATASETS[name].files
        lines += [
            f"Fetch DeepMind's:   gsutil -m cp -r {BUCKET}/{name} {data_dir}",
            f"  or file by file:  {record_file_url(name, 'train', 1)}",
            f"                    and so on: {files['train']} files under train/, {files['test']} under test/",
        ]
    draw = "python scripts/generate-scenes.py shepard_metzler_5_parts"
    lines.append(f"Or draw your own:   {draw} {data_dir} --scenes 1000 --seed 0")
    return "\n".join(lines)


@dataclass(frozen=True)
class Shard:
    """A file of scenes: tensors `frames` uint8 (scenes, views, 3, h, w) and `cameras` float32 (scenes, views, 5)."""

    name: str
    bytes: int
    first: int  # record of the record file, from 0
    count: int


@dataclass(frozen=True)
class RecordFile:
    """A converted record file: what it was, and the shards that hold its records in order."""

    name: str
    bytes: int
    records: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Index:
    """What a folder of shards holds; a record file counts as converted when it stands here."""

    dataset: str
    pixels: int
    views: int
    batch: int  # most scenes of a shard
    files: tuple[RecordFile, ...]

    def json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()


def read_index(path: Path) -> Index:
    """The index at `path`; FileNotFoundError if there is none, DatasetError if it is damaged."""
    try:
        fields = json.loads(path.read_text())
        files = []
        for file in fields.pop("files"):
            shards = tuple(Shard(**shard) for shard in file.pop("shards"))
            starts = list(accumulate((_positive(shard.count) for shard in shards), initial=0))
            if starts != [*(shard.first for shard in shards), file["records"]]:
                raise ValueError(f"the shards of {file['name']} do not add up to its records")
            files.append(RecordFile(shards=shards, **file))
        index = Index(files=tuple(files), **fields)
        if min(index.pixels, index.views) < 1:
            raise ValueError(f"{index.views} views of {index.pixels} pixels")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path}: damaged index ({error!r}): remove it and run: {_command(path)}") from error
    return index


def _command(path: Path) -> str:
    dataset = path.absolute().parents[2]  # of DATASET/torch/SPLIT/file
    return f"sh data.sh {quote(str(dataset.parent))} BATCH {dataset.name}"


class SceneDataset:
    """Scenes of one split of a converted dataset, read from its shards as they are asked for.

    directory: the dataset's folder, in which `torch/SPLIT/index.json` lies. Attributes: name, pixels, views.
    Shards are mapped into memory, and the last used stay open; a copy sent to another process opens its own.
    Raises DatasetError, at once or by the scene, where a folder, an index or a shard is missing or damaged.
    """

    def __init__(self, directory: str | os.PathLike[str], split: str) -> None:
        self.folder = Path(directory) / "torch" / split
        path = self.folder / "index.json"
        try:
            index = read_index(path)
        except (FileNotFoundError, NotADirectoryError):
            missing = next(folder for folder in (Path(directory), self.folder, path) if not folder.exists())
            raise DatasetError(f"{missing}: not there: convert the dataset: {_command(path)}") from None
        self.name, self.pixels, self.views = index.dataset, index.pixels, index.views
        self._shards = [shard for file in index.files for shard in file.shards]
        self._starts = list(accumulate((shard.count for shard in self._shards), initial=0))
        self._open: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def scene(self, index: int) -> tuple[Tensor, Tensor]:
        """Scene `index`, from 0: frames uint8 (views, 3, h, w) and cameras float32 (views, 5) as recorded.

        Both are views into the shard: copy what you keep, change or send to another process. IndexError past the end.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        number = bisect_right(self._starts, index) - 1
        tensors = self._load(self._shards[number])
        row = index - self._starts[number]
        return tensors["frames"][row], tensors["cameras"][row]

    def _load(self, shard: Shard) -> dict[str, Tensor]:
        if shard.name in self._open:
            self._open.move_to_end(shard.name)
            return self._open[shard.name]
        path = self.folder / shard.name
        try:
            tensors = torch.load(path, mmap=True, weights_only=True)
            shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        except FileNotFoundError:
            raise DatasetError(f"{path}: shard not there: convert the dataset: {_command(path)}") from None
        except (RuntimeError, OSError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
            raise DatasetError(f"{path}: damaged shard: remove it and run: {_command(path)}") from error
        expected = {
            "frames": (torch.uint8, (shard.count, self.views, 3, self.pixels, self.pixels)),
            "cameras": (torch.float32, (shard.count, self.views, CAMERA_RECORDED)),
        }
        if shapes != expected:
            raise DatasetError(f"{path}: holds {shapes}, not what its index says: remove it and run: {_command(path)}")
        self._open[shard.name] = tensors
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return tensors
