"""DeepMind's seven datasets in one table, the index of a converted dataset, and scenes read from its shards."""

import errno
import json
import operator
import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from fnmatch import fnmatch
from itertools import accumulate
from math import ceil
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from gqn.core.camera import CAMERA_RECORDED, JACO, MAZES, ROOMS, SHEPARD_METZLER, Geometry, turned
from gqn.core.checked import checked
from gqn.core.display import MAZES_DISPLAY, Rectangle, mask
from gqn.core.errors import Error, NoSuchItem, of_memory
from gqn.core.files import given_name, write_json
from gqn.data.tfrecord import Damage, fill_frame

SPLITS = ("train", "test")
TWINS = "twins"  # a third split, of drawn scenes alone: scene i is the twin of scene i of "test"
BUCKET = "gs://gqn-dataset"
RECORD_FILE = re.compile(r"\d+-of-\d+\.tfrecord(\.gz)?")
Shapes = Mapping[str, tuple[int, ...]]  # of float32 tensors, by name
OPEN_SHARDS = 64  # most shards that a SceneDataset keeps mapped
FORMAT = 2  # of the shards


class DatasetError(Error):
    """A missing, damaged or wrong dataset; the message tells the user which one and what to do."""


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a dataset: what all its scenes share, and the number of record files of each split at DeepMind."""

    name: str
    pixels: int  # height and width of a frame
    views: int  # frames, and cameras, of a scene
    files: Mapping[str, int]  # by split; none for a dataset that is not DeepMind's
    further: Shapes = field(default_factory=dict)  # of what senses other than sight say of a scene
    geometry: Geometry | None = None  # of its cameras and its world, where it is known
    record_files: str = ""  # pattern of their names, such as *.tfrecord, where they are not DeepMind's
    display: tuple[Rectangle, ...] = ()  # where a head-up display covers its frames

    def is_record_file(self, name: str) -> bool:
        """Return whether a file of that name holds records."""
        pattern = self.record_files
        return fnmatch(name, pattern) if pattern else RECORD_FILE.fullmatch(name) is not None

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of a scene beside its frames, by name."""
        return {"cameras": (self.views, CAMERA_RECORDED), **self.further}


def _deepmind(name: str, geometry: Geometry, train: int, test: int, pixels: int, views: int) -> tuple[str, DatasetInfo]:
    display = MAZES_DISPLAY if name == "mazes" else ()
    return name, DatasetInfo(name, pixels, views, {"train": train, "test": test}, geometry=geometry, display=display)


#: DeepMind's seven datasets by name.
DATASETS: dict[str, DatasetInfo] = dict(
    [
        _deepmind("jaco", JACO, train=3600, test=400, pixels=64, views=11),
        _deepmind("mazes", MAZES, train=1080, test=120, pixels=84, views=300),
        _deepmind("rooms_free_camera_with_object_rotations", ROOMS, train=2034, test=226, pixels=128, views=10),
        _deepmind("rooms_ring_camera", ROOMS, train=2160, test=240, pixels=64, views=10),
        _deepmind("rooms_free_camera_no_object_rotations", ROOMS, train=2160, test=240, pixels=64, views=10),
        _deepmind("shepard_metzler_5_parts", SHEPARD_METZLER, train=900, test=100, pixels=64, views=15),
        _deepmind("shepard_metzler_7_parts", SHEPARD_METZLER, train=900, test=100, pixels=64, views=15),
    ]
)


def claim(folder: Path, description: dict[str, Any]) -> None:
    """Write `dataset.json`, or check that the one there is equal. Raises DatasetError where the folder is another's."""
    path = folder / "dataset.json"
    if path.exists():
        try:
            there, asked = _flat(json.loads(path.read_text())), _flat(description)
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}: not a dataset's description ({error})") from error
        for option in asked | there:
            if option not in there or option not in asked or there[option] != asked[option]:
                values = f"{option} is {there.get(option)!r} there and {asked.get(option)!r} here"
                raise DatasetError(f"{folder} holds another dataset: {values}; choose another name or folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} holds files but no dataset.json: choose another name or folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, description)


def _flat(description: dict[str, Any]) -> dict[str, Any]:
    # The options come first, so that a refusal names the option and not what follows from it.
    return description.get("options", {}) | {key: value for key, value in description.items() if key != "options"}


def record_file_name(index: int, count: int) -> str:
    """Return the name of record file `index`, counted from 1, of `count`: 001-of-900.tfrecord, 0001-of-2160.tfrecord.

    Both numbers have as many digits as `count`.
    """
    width = len(str(count))
    return f"{index:0{width}}-of-{count:0{width}}.tfrecord"


def labels_file(records: Path) -> Path:
    """Return the path of a record file's ground truth: 001-of-900.labels.json beside 001-of-900.tfrecord."""
    return records.with_name(records.name.partition(".")[0] + ".labels.json")


def dataset_info(directory: str | os.PathLike[str]) -> DatasetInfo:
    """Return the description of the dataset in `directory`: from its `dataset.json`, else by the folder's name.

    Raises DatasetError for a damaged `dataset.json`, or for a name that is not one of DeepMind's.
    """
    path = Path(directory) / "dataset.json"
    try:
        return described(path, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        # A link's own name counts before that of the folder which it leads to.
        for name in (given_name(directory), Path(directory).resolve().name):
            if name in DATASETS:
                return DATASETS[name]
        raise DatasetError(
            f"{directory}: no dataset.json in it, and its name is none of {', '.join(DATASETS)}{meant(directory)}"
        ) from None


def described(path: str | os.PathLike[str], text: bytes) -> DatasetInfo:
    """Return the description in the text of a `dataset.json`; `path` is its file, which DatasetError names."""
    try:
        fields = json.loads(text)
        pixels, views, further = _positive(fields["pixels"]), _positive(fields["views"]), _shapes(fields)
        record_files = str(fields.get("record_files", ""))
        name, geometry = str(fields["name"]), _geometry(fields)
        if geometry is None and "family" not in fields:  # not drawn by us, and perhaps a part of DeepMind's
            folder = Path(path).parent.name
            geometry = next((info.geometry for known, info in DATASETS.items() if folder.startswith(known)), None)
        return DatasetInfo(name, pixels, views, {}, further, geometry, record_files, _display(fields))
    except Error as error:
        raise DatasetError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: damaged: name, pixels and views expected ({error!r})") from error


def meant(directory: str | os.PathLike[str]) -> str:
    """Return the advice to name the folder above or in the named one that holds a dataset; empty where none does."""
    given = Path(os.path.abspath(directory))
    inside = sorted(given.iterdir()) if given.is_dir() else []
    for folder in (given.parent, given.parent.parent, *inside):
        if any((folder / part).exists() for part in ("dataset.json", "torch/train", "torch/test")):
            return f"; did you mean {quote(str(folder))}?"
    return ""


def _positive(number: Any) -> int:
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{number!r} is no positive integer")
    return number


def _shapes(fields: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of further tensors by name, from the fields of a dataset's description or index."""
    return {str(name): tuple(map(_positive, shape)) for name, shape in fields.get("tensors", {}).items()}


def _geometry(fields: Mapping[str, Any]) -> Geometry | None:
    """Return the geometry from the fields of a dataset's description or index; None where they have none."""
    if fields.get("geometry") is None:
        return None
    said: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields["geometry"].items()
    }
    known = [option.name for option in fields_of(Geometry)]
    if strange := [name for name in said if name not in known]:
        raise Error(f"its geometry has {', '.join(strange)}, only {', '.join(known)} are known: take that out")
    return Geometry(**said)


def _display(fields: Mapping[str, Any]) -> tuple[Rectangle, ...]:
    """Return the rectangles that a display covers, from the fields of a dataset's description or index."""
    left_upper_right_lower = [tuple(map(float, edges)) for edges in fields.get("display", ())]
    if any(len(edges) != 4 or not 0 <= min(edges) <= max(edges) <= 1 for edges in left_upper_right_lower):
        raise ValueError(f"display is {fields['display']!r}, must be four parts of the frame for each rectangle")
    return tuple(cast(list[Rectangle], left_upper_right_lower))


def how_to_fetch(name: str, directory: Path) -> str:
    """Return the lines that tell a user how to get the TFRecords of dataset `name`."""
    lines = [f"{name}: no record files in {directory}/train or {directory}/test."]
    data_dir = quote(os.path.dirname(os.path.abspath(directory)))
    if name in DATASETS:
        files = DATASETS[name].files
        lines += [
            f"Fetch DeepMind's:   sh data.sh {data_dir} BATCH {name} --fetch",
            f"  or a part of its {files['train']} and {files['test']} files, by --files 10",
        ]
    draw = "python scripts/generate-scenes.py shepard_metzler_5_parts"
    lines.append(f"Or draw your own:   {draw} {data_dir} --scenes 1000 --seed 0")
    return "\n".join(lines)


@dataclass(frozen=True)
class Shard:
    """A file of scenes: their frames as JPEGs end to end, where each begins, and the other tensors by name.

    `jpegs` uint8 (bytes,); `offsets` int64 (scenes x views + 1,); `cameras` float32 (scenes, views, 5), and so on.
    """

    name: str
    bytes: int
    first: int  # sound record of the record file, from 0
    count: int


@dataclass(frozen=True)
class RecordFile:
    """A converted record file: what it was, the shards that hold its sound records in order, and what is damaged."""

    name: str
    bytes: int
    records: int  # sound ones, of a scene each
    shards: tuple[Shard, ...]
    damages: tuple[Damage, ...] = ()


@dataclass(frozen=True)
class Index:
    """Index of a folder of shards; a record file counts as converted when the index lists it."""

    dataset: str
    pixels: int
    views: int
    batch: int  # most scenes of a shard
    files: tuple[RecordFile, ...]
    format: int = 1  # of the shards
    tensors: Shapes = field(default_factory=dict)  # of a scene, beside frames and cameras
    # Not compared: better knowledge of the lens must not make shards anew.
    geometry: Geometry | None = field(default=None, compare=False)
    display: tuple[Rectangle, ...] = field(default=(), compare=False)

    def json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()


def read_index(path: Path) -> Index:
    """Return the index at `path`. Raises FileNotFoundError where there is none, DatasetError where it is damaged."""
    try:
        fields = json.loads(path.read_text())
        files = []
        for file in fields.pop("files"):
            shards = tuple(Shard(**shard) for shard in file.pop("shards"))
            starts = list(accumulate((_positive(shard.count) for shard in shards), initial=0))
            if starts != [*(shard.first for shard in shards), file["records"]]:
                raise ValueError(f"the shards of {file['name']} do not add up to its records")
            damages = tuple(Damage(**damage) for damage in file.pop("damages", ()))
            files.append(RecordFile(shards=shards, damages=damages, **file))
        said = {"tensors": _shapes(fields), "geometry": _geometry(fields), "display": _display(fields)}
        index = Index(files=tuple(files), **{**fields, **said})
        if min(index.pixels, index.views) < 1:
            raise ValueError(f"{index.views} views of {index.pixels} pixels")
    except Error as error:
        raise DatasetError(f"{path}: {error}; or remove the file and run: {_command(path)}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: damaged index ({error!r}): remove it and run: {_command(path)}") from error
    return index


def _command(path: Path) -> str:
    dataset = path.absolute().parents[2]  # of DATASET/torch/SPLIT/file
    return f"sh data.sh {quote(str(dataset.parent))} BATCH {quote(dataset.name)}"


class _Mapped(NamedTuple):
    """A shard that is mapped into memory."""

    opened: os.stat_result  # of its file, when it was mapped
    tensors: dict[str, Tensor]


def brought_to(pictures: Tensor, size: int) -> Tensor:
    """Return pictures (n, c, h, w) of floating point at another size, (n, c, size, size), what they show in its place.

    Differs from DeepMind's reader, which aligns the corners of pixels and skips some: edges fray, the lens is another.
    """
    return interpolate(pictures, (size, size), mode="bilinear", antialias=True)


class SceneDataset(Dataset[tuple[Tensor, Tensor]]):
    """Scenes of one split of a converted dataset, read from its shards as they are asked for: a dataset of torch's.

    Shards are mapped into memory, and the last used stay open; a copy sent to another process opens its own.

    Args:
        directory: the dataset's folder, in which `torch/SPLIT/index.json` lies.
        split: "train" or "test".
        fraction: part of the scenes, chosen at random but always alike; a smaller part lies within a larger one.
        size: height and width in pixels to bring frames to (`brought_to`); 0 for their own.

    Attributes:
        name: of the dataset.
        pixels: height and width of a frame.
        views: frames of a scene.
        further: shapes of the observations of further senses, by name.
        geometry: lens and cube of the world; None where the dataset does not say.
        display: where a head-up display covers the frames (`gqn.core.display.mask`).
        covered: (h, w), which pixels of the frames it touches; None where there is no display.

    Raises:
        DatasetError: at once or by the scene, where a folder, an index or a shard is missing or damaged.
    """

    @checked
    def __init__(self, directory: str | os.PathLike[str], split: str, *, fraction: float = 1.0, size: int = 0) -> None:
        if not 0 < fraction <= 1:
            raise DatasetError(f"a fraction of {fraction} of the scenes: must be more than 0 and at most 1")
        self.folder = Path(directory) / "torch" / split
        path = self.folder / "index.json"
        try:
            index = read_index(path)
        except (FileNotFoundError, NotADirectoryError):
            missing = next(folder for folder in (Path(directory), self.folder, path) if not folder.exists())
            raise DatasetError(
                f"{missing}: not there{meant(directory) or f': convert the dataset: {_command(path)}'}"
            ) from None
        if index.format != FORMAT:
            raise DatasetError(f"{path}: shards of another version: convert the dataset again: {_command(path)}")
        self.name, self.views, self.further = index.dataset, index.views, index.tensors
        self.geometry, self.display = index.geometry, index.display
        self.pixels, self._recorded_pixels = size or index.pixels, index.pixels
        self.covered: Tensor | None = None
        if self.display:
            touched = torch.from_numpy(mask(self.display, index.pixels)).float()
            self.covered = brought_to(touched[None, None], self.pixels)[0, 0] > 0
        self._shards = [shard for file in index.files for shard in file.shards]
        self._starts = list(accumulate((shard.count for shard in self._shards), initial=0))
        order = np.random.default_rng(0).permutation(self._starts[-1])
        # In the order of the records, so that neighbours come from the same shard.
        self._chosen = np.sort(order[: ceil(fraction * len(order))]) if fraction < 1 else None
        self._open: OrderedDict[str, _Mapped] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1] if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return `scene(index)`, as torch's loaders and `random_split` ask for it."""
        return self.scene(index)

    @property
    def numbers(self) -> Sequence[int]:
        """Number of each scene among all scenes of the split, by which its ground truth is found."""
        return range(len(self)) if self._chosen is None else self._chosen.tolist()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @checked
    def scene(self, index: int, views: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return the frames and the cameras of a scene, the yaw as `gqn.core.camera` has it, however it is recorded.

        Args:
            index: of the scene, from 0.
            views: which, in which order; all by default. Only those are decoded.

        Returns:
            Frames (views, 3, h, w), uint8, or float32 of 0 to 255 where they are brought to another size; and cameras
            (views, 5), float32: x, y, z in world units, yaw and pitch in radians.

        Raises:
            NoSuchItem: past the end.
        """
        self.position(index)
        try:
            chosen = list(range(self.views) if views is None else map(operator.index, views))
        except TypeError as error:
            raise DatasetError(f"views {views!r:.60}: their numbers are wanted ({error})") from error
        for view in chosen:
            if not 0 <= view < self.views:
                raise NoSuchItem(f"view {view} of {self.views}, which are counted from 0")
        frames = np.empty((len(chosen), self._recorded_pixels, self._recorded_pixels, 3), np.uint8)
        jpegs, cameras = self._recorded(index, chosen)
        try:
            for frame, jpeg in zip(frames, jpegs, strict=True):
                fill_frame(jpeg, frame)
        except ValueError as error:
            raise self._damaged(self._shards[self._place(index)[0]]) from error
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
        if self.pixels != self._recorded_pixels:
            pictures = brought_to(pictures.float(), self.pixels)
        return pictures, cameras if self.geometry is None else turned(cameras, self.geometry.yaw_sign)

    def _recorded(self, index: int, views: list[int]) -> tuple[Sequence[bytes | NDArray[np.uint8]], Tensor]:
        """Return the JPEGs and the recorded cameras (views, 5) of some views of a scene."""
        number, row = self._place(index)
        shard = self._load(self._shards[number])
        jpegs, first = shard["jpegs"].numpy(), row * self.views
        offsets = shard["offsets"][first : first + self.views + 1].tolist()
        return [jpegs[offsets[view] : offsets[view + 1]] for view in views], shard["cameras"][row][views]

    def sensed(self, index: int, name: str) -> Tensor:
        """Return the observations of a further sense of a scene, float32 of the shape in `further`.

        They are a view into the shard: copy them to keep, change or send them to another process.

        Raises:
            IndexError: past the end.
            KeyError: for a sense that the dataset does not have.
        """
        number, row = self._place(index)
        if name not in self.further:
            raise DatasetError(f"{self.folder}: no {name!r}, only {', '.join(self.further) or 'frames and cameras'}")
        return self._load(self._shards[number])[name][row]

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of a scene's shard, and its row there."""
        place = self.position(index)
        number = bisect_right(self._starts, place) - 1
        return number, place - self._starts[number]

    def position(self, index: int) -> int:
        """Return the place of scene `index` among all that are converted, of which this may be a part. IndexError."""
        if not 0 <= index < len(self):
            raise NoSuchItem(f"scene {index} of {len(self)}")
        return index if self._chosen is None else int(self._chosen[index])

    def _load(self, shard: Shard) -> dict[str, Tensor]:
        path = self.folder / shard.name
        if shard.name in self._open:
            self._open.move_to_end(shard.name)
            opened, tensors = self._open[shard.name]
            with suppress(FileNotFoundError):  # what is mapped stays, whatever its name leads to now
                now = path.stat()
                if os.path.samestat(now, opened) and now.st_size < opened.st_size:  # to read on is a bus error
                    raise DatasetError(
                        f"{path}: became shorter while it was in use: remove it and run: {_command(path)}"
                    )
            return tensors
        try:
            opened = path.stat()
            tensors = torch.load(path, mmap=True, weights_only=True)
            shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        except FileNotFoundError:
            raise DatasetError(f"{path}: shard not there: convert the dataset: {_command(path)}") from None
        except Exception as error:  # torch.load raises many types for a damaged file
            if of_memory(error):
                raise
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which mapping an empty file gives
                raise DatasetError(f"{path}: can't be opened: {error.strerror or error}") from error
            raise self._damaged(shard) from error
        jpegs = shapes.pop("jpegs", None)
        expected = {
            "offsets": (torch.int64, (shard.count * self.views + 1,)),
            "cameras": (torch.float32, (shard.count, self.views, CAMERA_RECORDED)),
            **{name: (torch.float32, (shard.count, *shape)) for name, shape in self.further.items()},
        }
        if jpegs is None or shapes != expected or jpegs != (torch.uint8, (int(tensors["offsets"][-1]),)):
            raise DatasetError(f"{path}: holds {shapes}, not what its index says: remove it and run: {_command(path)}")
        self._open[shard.name] = _Mapped(opened, tensors)
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return tensors

    def _damaged(self, shard: Shard) -> DatasetError:
        path = self.folder / shard.name
        return DatasetError(f"{path}: damaged shard: remove it and run: {_command(path)}")
