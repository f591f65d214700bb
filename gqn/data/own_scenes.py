"""Scenes of a user's own, frames with the poses of their cameras, written as a converted dataset.

A network's camera has a place, a yaw and a pitch in a world with z up, and all frames of a dataset are squares through
one lens. What else a camera says is converted where that is exact, and refused where it is not; `dataset.json` says all
that was done. A place p of a scene's own world becomes rotation (p - centre) / radius: what can be seen lies within -1
to 1.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.camera import Geometry, axes, levelled
from gqn.core.checked import checked
from gqn.core.files import given_name, write_json
from gqn.core.progress import Progress
from gqn.data.convert import convert
from gqn.data.dataset import SPLITS, DatasetError, record_file_name
from gqn.data.foreign import recorded_of
from gqn.data.own_pictures import Lens, is_file, naming, picture_size, read_picture, squared
from gqn.data.tfrecord import encode_jpeg, encode_scene, write_records

ROLL = 0.2  # degrees that a camera may roll: a sixth of a pixel at the corners of 64
RIGID = 1e-3  # by which a matrix may miss a rotation
SPREAD = 1e-3  # of directions, below which they are as good as parallel
SCENES_PER_FILE = 100  # of a record file and of a shard
Array = NDArray[np.float64]


class PosedScene(NamedTuple):
    """Frames of one scene and the cameras that took them.

    - frames: (views, h, w, c), (views, c, h, w) or a sequence of pictures of any sizes: arrays, or paths of PNG and
      JPEG files. Pixels are uint8, uint16 or floats of 0 to 1;
      one channel is grey, the second or the fourth one is alpha.
    - cameras: (views, 5), x, y, z, yaw and pitch as `gqn.camera_vector` takes them; (views, 7); or camera-to-world
      matrices (views, 3, 4) or (views, 4, 4).
    - lenses: of each frame; None where all have one field of view.
    - name: by which errors and `dataset.json` call the scene.
    - test: whether each view is for testing; None where all are for the split in which the scene is given.
    """

    frames: Any
    cameras: Any
    lenses: Sequence[Lens] | None = None
    name: str = ""
    test: Sequence[bool] | None = None


@dataclass(frozen=True)
class _Posed:
    """A scene as it was checked: its cameras in a world with z up, without their roll."""

    name: str
    frames: Sequence[Any]
    lenses: list[Lens]
    rotation: Array  # (3, 3), of its own world to one with z up
    cameras: Array  # (views, 5), there
    rolls: Array  # (views,), radians
    turns: Array  # (views,), those by which the pictures are turned back
    parts: dict[str, list[int]]  # its views by split

    def view(self, number: int) -> str:
        """Return what an error calls a view."""
        frame = self.frames[number]
        return os.fspath(frame) if is_file(frame) else f"{self.name}: view {number} (from 0)"


@dataclass(frozen=True)
class _Placed:
    """A scene in the cube of its world, and which of its views each record has."""

    scene: _Posed
    centre: Array  # (3,), in its own world turned to z up
    radius: float
    records: dict[str, list[list[int]]]  # the views of each, by split

    def cameras(self) -> Array:
        """Return its cameras (views, 5) in the cube of -1 to 1."""
        return np.concatenate([(self.scene.cameras[:, :3] - self.centre) / self.radius, self.scene.cameras[:, 3:]], 1)

    def told(self) -> dict[str, Any]:
        """Return what `dataset.json` says of the scene."""
        taken = sum(len(views) for records in self.records.values() for views in records)
        return {
            "name": self.scene.name,
            "records": {split: len(records) for split, records in self.records.items()},
            "views_left_out": len(self.scene.frames) - taken,
            "rotation": self.scene.rotation.tolist(),
            "centre": (self.scene.rotation.T @ self.centre).tolist(),
            "radius": self.radius,
            "largest_roll_in_degrees": float(np.rad2deg(np.abs(self.scene.rolls).max())),
        }


@checked
def write_scenes(
    directory: str | os.PathLike[str],
    scenes: Sequence[Any],
    test_scenes: Sequence[Any] = (),
    *,
    size: int | None = None,
    views: int | None = None,
    field_of_view: float | None = None,
    centre: Sequence[float] | None = None,
    radius: float | None = None,
    up: Sequence[float] | Literal["fit"] = (0.0, 0.0, 1.0),
    convention: Literal["opengl", "opencv"] = "opengl",
    level: bool = False,
    background: Sequence[int] = (255, 255, 255),
    progress: bool = True,
) -> Path:
    """Write scenes of your own as a converted dataset, which SceneDataset reads and run-gqn.py trains on.

    The frames become squares of the largest field of view that all of them have, as JPEGs of the best quality. The
    dataset appears whole or not at all, its `dataset.json` says what was done, and it is not written a second time.

    Args:
        directory: the dataset's folder, DATA_DIR/NAME.
        scenes: to train on, each a pair (frames, cameras) or a `gqn.data.own_scenes.PosedScene`: frames (views, h, w,
            c) or paths; cameras (views, 5), x, y, z, yaw, pitch, or camera-to-world matrices (views, 3 or 4, 4).
        test_scenes: to test on.
        size: height and width of a frame in pixels, by default those of the smallest square.
        views: of a record, by default as many as the scene with the fewest has. A scene of n times as many gives n
            records, each with views from all over it.
        field_of_view: vertical, in degrees, of frames whose scene has no lenses.
        centre: x, y, z in the scenes' own worlds of the middle of a cube in which all that can be seen lies; by default
            the place that a scene's cameras look at.
        radius: half an edge of that cube, in the scenes' own units; by default what a scene's cameras see there.
        up: the direction in the scenes' own worlds that becomes z, or "fit": that about which no camera rolls.
        convention: axes of a camera in its matrix: "opengl", x right, y up, looking along -z, as nerfstudio and Blender
            have it; "opencv", x right, y down, looking along z, as COLMAP has it.
        level: turn the pictures of cameras that roll back about their optical centre, instead of refusing them.
        background: red, green and blue, 0 to 255, behind what is transparent.
        progress: show a bar.

    Returns:
        The dataset's folder.

    Raises:
        DatasetError: for what cannot be converted exactly, and for a folder that holds something else.
    """
    directory = Path(directory)
    options = (field_of_view, up, convention, level)
    _check_options(scenes, size, views, centre, radius, up, background)
    posed = [
        _posed(scene, split, f"{split} scene {number} (from 0)", *options)
        for split, given in zip(SPLITS, (scenes, test_scenes), strict=True)
        for number, scene in enumerate(given)
    ]
    reach = min(lens.reach(turn) for s in posed for lens, turn in zip(s.lenses, s.turns, strict=True))
    edges = [2 * reach * min(lens.focal_x, lens.focal_y) for scene in posed for lens in scene.lenses]
    size = max(1, round(min(edges))) if size is None else int(size)
    if min(edges) < size - 0.5:
        smallest = [s.view(n) for s in posed for n in range(len(s.frames))][int(np.argmin(edges))]
        raise DatasetError(
            f"{smallest}: the square that all pictures show has {min(edges):.0f} pixels in it, not {size}: ask for a "
            "smaller size (--size), or leave the picture out"
        )
    views = min(len(part) for s in posed for part in s.parts.values()) if views is None else int(views)
    placed = [_placed(scene, views, reach, centre, radius) for scene in posed]
    geometry = Geometry(float(np.rad2deg(2 * np.arctan(reach))))
    made_of = _digest(placed, [asdict(geometry), size, views, *map(int, background)])
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        if _made_of(directory) == made_of:
            return directory  # made before
        raise DatasetError(f"{directory} holds another dataset or other files: choose another name or folder")
    directory.absolute().parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.absolute().parent, prefix=f".{given_name(directory)}.") as beside:
        aside = Path(beside) / given_name(directory)
        description = {"name": aside.name, "pixels": size, "views": views, "geometry": asdict(geometry)}
        done = _write_records(aside, placed, reach, size, background, progress)
        description |= {"made_of": made_of, "pictures": done, "scenes": [place.told() for place in placed]}
        write_json(aside / "dataset.json", description)
        convert(aside, SCENES_PER_FILE, workers=1, progress=False)
        aside.rename(directory)
    return directory


def _check_options(
    scenes: Sequence[Any],
    size: int | None,
    views: int | None,
    centre: Sequence[float] | None,
    radius: float | None,
    up: Sequence[float] | str,
    background: Sequence[int],
) -> None:
    if not len(scenes):
        raise DatasetError("no scenes to train on")
    for name, value in {"size": size, "views": views}.items():
        if value is not None and value < 1:
            raise DatasetError(f"{name} is {value}, must be 1 or more")
    if (centre is None) != (radius is None):
        raise DatasetError("a cube needs both centre and radius, or neither of them")
    if radius is not None and not 0 < radius < np.inf:
        raise DatasetError(f"radius is {radius}, must be more than 0")
    for name, place in {"centre": centre, "up": None if isinstance(up, str) else up}.items():
        if place is not None and (np.shape(place) != (3,) or not np.isfinite(np.asarray(place, np.float64)).all()):
            raise DatasetError(f"{name} is {place!r:.60}, must be three numbers")
    if not isinstance(up, str) and not np.linalg.norm(up):
        raise DatasetError("up is 0, 0, 0: must be a direction")
    if len(background) != 3 or not all(isinstance(part, Integral) and 0 <= part <= 255 for part in background):
        raise DatasetError(f"background is {background!r:.60}, must be red, green and blue of 0 to 255")


def _posed(
    given: Any,
    split: str,
    name: str,
    field_of_view: float | None,
    up: Sequence[float] | Literal["fit"],
    convention: str,
    level: bool,
) -> _Posed:
    """Return a scene as it was checked. Raises DatasetError."""
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= len(PosedScene._fields):
        raise DatasetError(f"{name}: a {type(given).__name__}: a pair of frames and cameras is wanted")
    scene = PosedScene(*given)
    name = scene.name or name
    if isinstance(scene.frames, str | bytes | dict) or not _length(scene.frames):
        raise DatasetError(f"{name}: frames of type {type(scene.frames).__name__}: a sequence of pictures is wanted")
    with naming(name):
        position, forward, right = _axes(scene.cameras, convention)
        if len(position) != len(scene.frames):
            raise DatasetError(f"{len(scene.frames)} frames and {len(position)} cameras")
        lenses = scene.lenses
        of_lenses = isinstance(lenses, list | tuple) and all(isinstance(lens, Lens) for lens in lenses)
        if lenses is not None and not (of_lenses and len(lenses) == len(position)):
            raise DatasetError("lenses are wanted as a Lens for each frame")
        parts = _parts(scene.test, split, len(position))
        rotation = _turn_to_z(_fitted_up(forward, right) if isinstance(up, str) else up)
    cameras, rolls = levelled(position @ rotation.T, forward @ rotation.T, right @ rotation.T)
    tilted = np.abs(np.rad2deg(rolls)) > ROLL
    posed = _Posed(name, scene.frames, [], rotation, cameras, rolls, np.where(tilted & level, rolls, 0.0), parts)
    for number, frame in enumerate(scene.frames):
        with naming(posed.view(number)):
            width, height = picture_size(frame)
            if scene.lenses is not None:
                lens = scene.lenses[number]
            elif field_of_view is not None:
                lens = Lens.of_field_of_view(width, height, field_of_view)
            else:
                raise DatasetError("nothing says its lens: give field_of_view (--field-of-view), in degrees")
            if (lens.width, lens.height) != (width, height):
                raise DatasetError(
                    f"has {width} x {height} pixels, its lens {lens.width} x {lens.height}: give the pictures that the "
                    "poses are of"
                )
            if tilted[number] and not level:
                raise DatasetError(
                    f"its camera rolls by {np.rad2deg(rolls[number]):.2f} degrees, which a network's cannot: turn the "
                    "pictures back (level, --level), or say which way is up (up, --up)"
                )
        posed.lenses.append(lens)
    return posed


def _parts(test: Any, split: str, views: int) -> dict[str, list[int]]:
    """Return the numbers of a scene's views by split."""
    if test is None:
        return {split: list(range(views))}
    if np.shape(test) != (views,) or np.asarray(test).dtype != bool:
        raise DatasetError("test is wanted as True or False for each frame")
    parts = {name: np.flatnonzero(np.asarray(test) == (name == "test")).tolist() for name in SPLITS}
    return {name: part for name, part in parts.items() if part}


def _length(frames: Any) -> int:
    """Return how many frames there are; 0 for what is no sequence."""
    try:
        return len(frames)
    except TypeError:
        return 0


def _axes(cameras: Any, convention: str) -> tuple[Array, Array, Array]:
    """Return places and unit vectors forward and right, (views, 3) each, of cameras in any of their forms."""
    try:
        given = np.asarray(cameras)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(f"cameras of type {type(cameras).__name__}: numbers are wanted") from error
    if given.ndim != 3:
        recorded = recorded_of(given)
        return recorded[:, :3].astype(np.float64), *axes(recorded)[:2]
    if given.shape[1:] not in ((3, 4), (4, 4)) or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise DatasetError(
            f"cameras of shape {given.shape} and type {given.dtype}: wanted finite numbers, (views, 5), or "
            "camera-to-world matrices (views, 3, 4) or (views, 4, 4)"
        )
    matrices = given.astype(np.float64)
    turns = matrices[:, :3, :3]
    off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) + (np.linalg.det(turns) < 0)
    if given.shape[1] == 4:
        off += np.abs(matrices[:, 3] - (0, 0, 0, 1)).max(axis=1)
    if (off > RIGID).any():
        view = int(np.argmax(off > RIGID))
        raise DatasetError(f"the matrix of view {view} (from 0) is no turn with a shift: it scales, mirrors or shears")
    back = turns[:, :, 2] if convention == "opengl" else -turns[:, :, 2]
    return matrices[:, :3, 3], -back, turns[:, :, 0]


def _fitted_up(forward: Array, right: Array) -> Array:
    """Return the direction to which the rows of all pictures are closest to square, on the cameras' upper side."""
    spreads, directions = np.linalg.eigh(right.T @ right / len(right))
    if spreads[1] < SPREAD:
        raise DatasetError("the rows of all its pictures are parallel, which leaves up open: say it (up, --up)")
    up = directions[:, 0]
    return up * np.sign(np.cross(right, forward).sum(axis=0) @ up)


def _turn_to_z(up: ArrayLike) -> Array:
    """Return the shortest turn (3, 3) of a direction to z."""
    x, y, z = np.asarray(up, np.float64) / np.linalg.norm(up)
    if z < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    across = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.eye(3) + across + across @ across / (1 + z)


def _placed(scene: _Posed, views: int, reach: float, centre: Sequence[float] | None, radius: float | None) -> _Placed:
    """Return a scene in its cube and in records of `views` views. Raises DatasetError."""
    records: dict[str, list[list[int]]] = {}
    for split, part in scene.parts.items():
        count = len(part) // views
        if not count:
            raise DatasetError(
                f"{scene.name}: {len(part)} views to {split}, not {views}: ask for fewer (--views), or leave it out"
            )
        records[split] = [part[number::count][:views] for number in range(count)]
    if centre is None or radius is None:
        with naming(scene.name):
            middle, half = _looked_at(scene.cameras, reach)
    else:
        middle, half = scene.rotation @ np.asarray(centre, np.float64), radius
    placed = _Placed(scene, middle, float(half), records)
    with np.errstate(over="ignore"):
        if not np.isfinite(placed.cameras().astype(np.float32)).all():
            raise DatasetError(f"{scene.name}: in a cube of radius {half:g} a camera is too far away for a number")
    return placed


def _looked_at(cameras: Array, reach: float) -> tuple[Array, float]:
    """Return the place nearest to the axes of all cameras (views, 5), and how far they see to its sides there."""
    position, forward = cameras[:, :3], axes(cameras)[0]
    off_axis = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    if np.linalg.eigvalsh(off_axis.mean(axis=0))[0] > SPREAD:
        place = np.linalg.solve(off_axis.sum(axis=0), (off_axis @ position[:, :, None]).sum(axis=0))[:, 0]
        ahead = ((place - position) * forward).sum(axis=1)
        radius = float(np.median(ahead) * reach)
        missed = np.linalg.norm(np.cross(place - position, forward), axis=1)
        if ahead.min() > radius > missed.max():
            return place, radius
    raise DatasetError(
        "its cameras look at no common place: say what they see by centre and radius (--centre, --radius)"
    )


def _digest(placed: Sequence[_Placed], options: Any) -> str:
    """Return a checksum of all that a dataset is made of."""
    digest = sha256(repr(options).encode())
    for place in placed:
        digest.update(repr((place.told(), place.scene.lenses, place.records)).encode())
        digest.update(place.cameras().tobytes() + place.scene.turns.tobytes())
        for frame in place.scene.frames:
            if is_file(frame):
                digest.update(f"{os.path.basename(frame)} {os.stat(frame).st_size}".encode())
            else:
                digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


def _made_of(directory: Path) -> str | None:
    """Return the checksum of what a dataset was made of; None where it says none."""
    try:
        return json.loads((directory / "dataset.json").read_text()).get("made_of")
    except (OSError, ValueError, AttributeError):
        return None


def _write_records(
    folder: Path,
    placed: Sequence[_Placed],
    reach: float,
    size: int,
    background: Sequence[int],
    progress: bool,
) -> dict[str, int]:
    """Write the record files, and return how many pictures were converted in which way."""
    done: Counter[str] = Counter()
    total = sum(len(records) for place in placed for records in place.records.values())
    with Progress(title="scenes", unit="scenes", total=total, shown=progress) as bar:
        for split in SPLITS:
            parts = [(place, views) for place in placed for views in place.records.get(split, [])]
            files = [parts[start : start + SCENES_PER_FILE] for start in range(0, len(parts), SCENES_PER_FILE)]
            for number, file in enumerate(files, 1):
                path = folder / split / record_file_name(number, len(files))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_records(path, (_record(*part, reach, size, background, done, bar) for part in file))
    return dict(sorted(done.items()))


def _record(
    place: _Placed,
    views: list[int],
    reach: float,
    size: int,
    background: Sequence[int],
    done: Counter[str],
    bar: Any,
) -> bytes:
    scene, jpegs = place.scene, []
    for view in views:
        with naming(scene.view(view)):
            picture, read = read_picture(scene.frames[view], background)
            frame, squaring = squared(picture, scene.lenses[view], reach, scene.turns[view], size)
        done.update([*read, *squaring])
        jpegs.append(encode_jpeg(frame, quality=100, subsampling="444"))
    bar.update()
    return encode_scene(jpegs, place.cameras()[views].astype(np.float32))
