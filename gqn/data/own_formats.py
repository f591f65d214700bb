"""Readers of scenes with poses: nerfstudio's transforms.json, Blender's NeRF synthetic, COLMAP's models, a table.

A scene is a folder. It holds one of

- transforms.json, as nerfstudio and instant-ngp write it;
- transforms_train.json, as of Blender's NeRF synthetic, and perhaps transforms_test.json, which is for testing;
- sparse/0/, sparse/ or the folder itself with cameras and images, .bin or .txt: COLMAP's, the pictures in images/;
- poses.csv with a line for each picture: file, x, y, z, yaw, pitch, and perhaps its lens by nerfstudio's names.
"""

import csv
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.checked import checked
from gqn.core.errors import unknown
from gqn.data.dataset import SPLITS, DatasetError
from gqn.data.own_pictures import Lens, naming, picture_size
from gqn.data.own_scenes import PosedScene, write_scenes

Fields = Mapping[str, Any]
# COLMAP's models in the order of their numbers, with their parameters by nerfstudio's names; f is both focal lengths.
MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fl_x", "fl_y", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "FOV": ("fl_x", "fl_y", "cx", "cy", "omega"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "THIN_PRISM_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *("fl_x", "fl_y", "cx", "cy"),
        *("k0", "k1", "k2", "k3", "k4", "k5", "p0", "p1", "s0", "s1", "s2", "s3"),
    ),
    "SIMPLE_DIVISION": ("f", "cx", "cy", "k"),
    "DIVISION": ("fl_x", "fl_y", "cx", "cy", "k"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fl_x", "fl_y", "cx", "cy"),
    "EUCM": ("fl_x", "fl_y", "cx", "cy", "alpha", "beta"),
    "EQUIRECTANGULAR": ("w", "h"),
}
# A pinhole where their distortion is 0; the others bend straight lines even then.
PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
LENS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "camera_model", *DISTORTION)
POSE = ("x", "y", "z", "yaw", "pitch")
FLIPPED = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's axes of a camera in OpenGL's, and back


@checked
def import_scenes(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    test_every: int | None = None,
    up: Sequence[float] | Literal["fit"] | None = None,
    field_of_view: float | None = None,
    **options: Any,
) -> Path:
    """Write the scenes in a folder as a converted dataset, by `gqn.data.own_scenes.write_scenes`.

    Args:
        source: a scene's folder, see this module; or a folder of such folders, perhaps shared out to train/ and test/.
        directory: the dataset's folder, DATA_DIR/NAME.
        test_every: set every n-th scene aside for testing; of a single scene every n-th picture.
        up: as of `write_scenes`; by default z, but "fit" for COLMAP, whose worlds have no upper side.
        field_of_view: as of `write_scenes`, where the source does not say its lenses.
        options: of `write_scenes`.

    Returns:
        The dataset's folder.

    Raises:
        DatasetError: for what is not there, damaged, or cannot be converted exactly.
    """
    found = _folders(Path(source))
    kinds = {_format(folder) for _, folder in found}
    if len(kinds) > 1:
        raise DatasetError(f"{source}: scenes of several formats, {' and '.join(sorted(kinds))}: import each by itself")
    (kind,) = kinds
    scenes: dict[str, list[PosedScene]] = {split: [] for split in SPLITS}
    for split, folder in found:
        scene = READERS[kind](folder)._replace(name=folder.resolve().name)
        scenes[split].append(scene if split == "train" else scene._replace(test=None))
        if scene.lenses is not None and field_of_view is not None:
            raise DatasetError(f"{folder} says its lenses itself: leave out field_of_view (--field-of-view)")
    if test_every is not None:
        if scenes["test"] or any(scene.test is not None for scene in scenes["train"]):
            raise DatasetError(f"{source} says itself what is for testing: leave out test_every (--test-every)")
        with naming(str(source)):
            scenes = _set_aside(scenes["train"], test_every)
    if up is None:
        up = "fit" if kind == "COLMAP" else (0.0, 0.0, 1.0)
    return write_scenes(directory, scenes["train"], scenes["test"], up=up, field_of_view=field_of_view, **options)


def _set_aside(scenes: list[PosedScene], every: int) -> dict[str, list[PosedScene]]:
    """Return every n-th scene as one for testing; of a single scene every n-th picture."""
    count = len(scenes) if len(scenes) > 1 else len(scenes[0].frames)
    if not 2 <= every <= count:
        what = "scenes" if len(scenes) > 1 else "pictures"
        raise DatasetError(f"test_every is {every}, must be from 2 to the {count} {what} (--test-every)")
    if len(scenes) > 1:
        rest = [scene for number, scene in enumerate(scenes) if number % every]
        return {"train": rest, "test": scenes[::every]}
    return {"train": [scenes[0]._replace(test=(np.arange(count) % every == 0).tolist())], "test": []}


def _folders(source: Path) -> list[tuple[str, Path]]:
    """Return the folder of each scene, with its split."""
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder")
    if _format(source):
        return [("train", source)]
    shared = {split: source / split for split in SPLITS if (source / split).is_dir()} or {"train": source}
    found = [
        (split, folder)
        for split, place in shared.items()
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.is_dir() and folder.name[0] not in "._"
    ]
    wanted = "transforms.json, transforms_train.json, poses.csv, or COLMAP's cameras and images"
    for _, folder in found:
        if not _format(folder):
            raise DatasetError(f"{folder}: no scene in it, which is {wanted}: move it away")
    if not found:
        raise DatasetError(f"{source}: no scene in it or in its folders, which is {wanted}")
    if all(split == "test" for split, _ in found):
        raise DatasetError(f"{source}: only scenes to test on: put those to train on into train/ beside test/")
    return found


def _format(folder: Path) -> str:
    """Return the format of a scene's folder; empty where it is none. Raises DatasetError where it is of several."""
    holds = {
        "nerfstudio": (folder / "transforms.json").is_file(),
        "Blender": (folder / "transforms_train.json").is_file(),
        "COLMAP": _model(folder) is not None,
        "CSV": (folder / "poses.csv").is_file(),
    }
    formats = [name for name, there in holds.items() if there]
    if len(formats) > 1:
        raise DatasetError(f"{folder}: poses of {' and of '.join(formats)}: leave those of one of them in it")
    return formats[0] if formats else ""


def _nerfstudio(folder: Path) -> PosedScene:
    path = folder / "transforms.json"
    scene, fields = _transforms(path)
    names = [str(frame["file_path"]) for frame in fields["frames"]]
    held = fields.get("test_filenames") or []
    if not isinstance(held, list) or not all(name in names for name in held):
        raise DatasetError(f"{path}: test_filenames are not all among its frames")
    return scene._replace(test=[name in held for name in names]) if held else scene


def _blender(folder: Path) -> PosedScene:
    """Return the pictures of transforms_train.json and of transforms_test.json; those of `val` are left out."""
    seen, _ = _transforms(folder / "transforms_train.json")
    if not (path := folder / "transforms_test.json").exists():
        return seen
    unseen, _ = _transforms(path)
    return PosedScene(
        [*seen.frames, *unseen.frames],
        np.concatenate([seen.cameras, unseen.cameras]),
        [*seen.lenses, *unseen.lenses] if seen.lenses and unseen.lenses else None,
        test=[False] * len(seen.frames) + [True] * len(unseen.frames),
    )


def _transforms(path: Path) -> tuple[PosedScene, Fields]:
    """Return the scene of a transforms.json, and all that the file says."""
    try:
        fields = json.loads(path.read_text())
        frames = fields["frames"]
        files = [_picture(path.parent, str(frame["file_path"])) for frame in frames]
        cameras = np.array([frame["transform_matrix"] for frame in frames], np.float64)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(
            f"{path}: damaged: frames with file_path and transform_matrix expected ({error!r:.80})"
        ) from error
    return _scene(path, files, cameras, [{**fields, **frame} for frame in frames]), fields


def _picture(folder: Path, name: str) -> Path:
    """Return the path of a picture; Blender's files leave .png out."""
    path = folder / name
    return path if path.suffix or path.exists() else path.with_name(f"{path.name}.png")


def _table(folder: Path) -> PosedScene:
    path = folder / "poses.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, line) for line in reader]
        columns = reader.fieldnames or []
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: no table ({error})") from error
    for name in columns:
        if name not in ("file", *POSE, *LENS):
            raise DatasetError(f"{path}: {unknown('column', name, ('file', *POSE, *LENS))}")
    if missing := [name for name in ("file", *POSE) if name not in columns]:
        raise DatasetError(
            f"{path}: no column {missing[0]}: wanted file, {', '.join(POSE)}, and perhaps those of a lens"
        )
    for number, line in lines:
        if None in line or None in line.values():
            raise DatasetError(f"{path}: line {number} has not {len(columns)} columns")
    cameras = []
    for number, line in lines:
        with naming(f"{path}: line {number}"):
            cameras.append([_number(line, name) for name in POSE])
    fields = [{name: value for name, value in line.items() if value != ""} for _, line in lines]
    return _scene(path, [folder / line["file"] for _, line in lines], np.array(cameras), fields)


def _model(folder: Path) -> Path | None:
    """Return the path of COLMAP's cameras in a scene's folder; None where there are none."""
    for place in (folder / "sparse/0", folder / "sparse", folder):
        for suffix in (".bin", ".txt"):
            if (place / f"cameras{suffix}").is_file() and (place / f"images{suffix}").is_file():
                if place.name == "0" and (
                    others := [p.name for p in place.parent.iterdir() if p.name != "0" and p.is_dir()]
                ):
                    raise DatasetError(f"{place.parent}: several models, 0 and {min(others)}: leave one of them in it")
                return place / f"cameras{suffix}"
    return None


def _colmap(folder: Path) -> PosedScene:
    path = _model(folder)
    assert path is not None
    other = path.with_name(f"images{path.suffix}")
    text = path.suffix == ".txt"
    with naming(str(path)):
        lenses = (_cameras_text if text else _cameras_binary)(path)
    with naming(str(other)):
        images = sorted((_images_text if text else _images_binary)(other))
    if unknown_lens := [name for name, _, lens in images if lens not in lenses]:
        raise DatasetError(f"{other}: {unknown_lens[0]} is of a camera that {path.name} does not have")
    place = folder / "images" if (folder / "images").is_dir() else folder
    cameras = np.array([_camera_to_world(*pose) for _, pose, _ in images])
    files = [place / name for name, _, _ in images]
    return _scene(other, files, cameras, [lenses[lens] for _, _, lens in images])


Pose = tuple[Sequence[float], Sequence[float]]  # quaternion, w first, and shift, of world to camera


def _camera_to_world(quaternion: Sequence[float], shift: Sequence[float]) -> NDArray[np.float64]:
    """Return the matrix (4, 4), in OpenGL's axes, of COLMAP's pose: a turn and a shift of world to camera."""
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn.T, -turn.T @ np.asarray(shift)
    return matrix @ FLIPPED


def _lens_fields(model: str, width: int, height: int, parameters: Sequence[float]) -> Fields:
    named = dict(zip(MODELS[model], parameters, strict=True))
    if "f" in named:
        named["fl_x"] = named["fl_y"] = named.pop("f")
    return {"camera_model": model, "w": width, "h": height, **named}


def _cameras_text(path: Path) -> dict[int, Fields]:
    found = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            camera, model, width, height, *parameters = line.split()
            found[int(camera)] = _lens_fields(model, int(width), int(height), list(map(float, parameters)))
        except (ValueError, KeyError) as error:
            raise DatasetError(f"line {number}: no camera of COLMAP's: {line.strip():.60}") from error
    return found


def _images_text(path: Path) -> Iterator[tuple[str, Pose, int]]:
    lines = _lines(path)
    for number, line in lines:
        if not line.strip():
            continue
        try:
            _, *pose, camera, name = line.strip().split(maxsplit=9)
            values = list(map(float, pose))
            image = name, (values[:4], values[4:]), int(camera)
        except ValueError as error:
            raise DatasetError(f"line {number}: no picture of COLMAP's: {line.strip():.60}") from error
        # Its points, perhaps none, in the line that follows.
        if len(next(lines, (0, ""))[1].split()) % 3:
            raise DatasetError(
                f"line {number + 1}: no points of a picture: each has two lines, the second may be empty"
            )
        yield image


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"no text ({error.reason})") from error
    return ((number, line) for number, line in enumerate(lines, 1) if not line.startswith("#"))


class _Bytes:
    """A binary file, read from its beginning to its end. Raises DatasetError where it ends too early."""

    def __init__(self, path: Path) -> None:
        self.data, self.place = path.read_bytes(), 0

    def skip(self, count: int) -> int:
        """Pass over some bytes, and return where they begin."""
        place, self.place = self.place, self.place + count
        if self.place > len(self.data):
            raise DatasetError(f"ends in the middle, at byte {len(self.data)}")
        return place

    def read(self, form: str) -> tuple[Any, ...]:
        return struct.unpack_from(f"<{form}", self.data, self.skip(struct.calcsize(f"<{form}")))

    def name(self) -> str:
        place = self.skip(0)
        length = self.data.find(b"\0", place) - place
        return os.fsdecode(self.data[self.skip(length + 1 if length >= 0 else len(self.data) + 1) :][:length])


def _cameras_binary(path: Path) -> dict[int, Fields]:
    file, found = _Bytes(path), {}
    for _ in range(file.read("Q")[0]):
        camera, number, width, height = file.read("iiQQ")
        if not 0 <= number < len(MODELS):
            raise DatasetError(
                f"camera {camera} is of a model {number}, which COLMAP 4 does not have: damaged, or newer"
            )
        model = list(MODELS)[number]
        found[camera] = _lens_fields(model, width, height, file.read(f"{len(MODELS[model])}d"))
    return found


def _images_binary(path: Path) -> Iterator[tuple[str, Pose, int]]:
    file = _Bytes(path)
    for _ in range(file.read("Q")[0]):
        _, *pose, camera = file.read("i7di")
        name = file.name()
        file.skip(struct.calcsize("<ddq") * file.read("Q")[0])  # its points
        yield name, (pose[:4], pose[4:]), camera


def _scene(path: Path, files: list[Path], cameras: NDArray[np.float64], fields: Sequence[Fields]) -> PosedScene:
    """Return a scene of pictures with their lenses by nerfstudio's names; path: the file that says them."""
    if not files:
        raise DatasetError(f"{path}: no pictures")
    lenses = []
    for file, said in zip(files, fields, strict=True):
        with naming(str(file)):
            lenses.append(_lens(said, *picture_size(file)))
    known = [lens for lens in lenses if lens is not None]
    if known and len(known) < len(lenses):
        raise DatasetError(f"{files[lenses.index(None)]}: {path.name} says no lens for it, but for others")
    return PosedScene(files, cameras, known or None)


def _lens(fields: Fields, width: int, height: int) -> Lens | None:
    """Return the lens that some fields say by nerfstudio's names; None where they do not."""
    model = fields.get("camera_model", "PINHOLE")
    if model not in PINHOLES:
        raise DatasetError(f"its lens is {model}, no pinhole: undistort the pictures first")
    if bent := [name for name in DISTORTION if _number(fields, name, 0.0)]:
        raise DatasetError(f"its lens distorts ({bent[0]} is {fields[bent[0]]}): undistort the pictures first")
    width, height = (int(_number(fields, name, own)) for name, own in (("w", width), ("h", height)))
    focal: dict[str, float] = {}
    for axis, edge in (("x", width), ("y", height)):
        if f"fl_{axis}" in fields:
            focal[axis] = _number(fields, f"fl_{axis}")
        elif f"camera_angle_{axis}" in fields:
            angle = np.rad2deg(_number(fields, f"camera_angle_{axis}"))
            focal[axis] = Lens.of_field_of_view(edge, edge, angle).focal_x
    if not focal:
        return None
    centre = _number(fields, "cx", width / 2), _number(fields, "cy", height / 2)
    # One of them alone: the pixels are square.
    return Lens(width, height, focal.get("x", focal.get("y", 0.0)), focal.get("y", focal.get("x", 0.0)), *centre)


def _number(fields: Fields, name: str, default: float | None = None) -> float:
    """Return the number that a field holds, or the default. Raises DatasetError for what is none."""
    value = fields.get(name, default)
    try:
        if isinstance(value, bool) or not np.isfinite(number := float(value)):
            raise ValueError(value)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{name} is {value!r:.40}: a number is wanted") from error
    return number


#: By format, what reads a scene's folder.
READERS: dict[str, Callable[[Path], PosedScene]] = {
    "nerfstudio": _nerfstudio,
    "Blender": _blender,
    "COLMAP": _colmap,
    "CSV": _table,
}
