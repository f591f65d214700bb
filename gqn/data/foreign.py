"""Import of datasets that other PyTorch converters made of DeepMind's, as record files in DeepMind's schema.

The files are `SOURCE/{train,test}/*.pt` or `*.pt.gz`, each a torch.save, gzipped or not, of

- a list of (frames, cameras) tuples, frames uint8 (views, 3, h, w): wohlert/generative-query-network-pytorch on GitHub,
  which gives the decoder's (h, w, 3) bytes the shape (3, h, w) without moving them; they are put right here;
- one namedtuple Scene(frames, cameras), frames an array of JPEGs: iShohei220/torch-gqn on GitHub;
- either of them with frames (views, h, w, 3), floating point of 0 to 1 too, or cameras of the reader's 7 numbers.

What is of another kind (16 bits, floats of 0 to 255, degrees, quaternions, ...) is refused: pictures would be wrong.
"""

import math
import os
import re
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile, GzipFile
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.core.camera import CAMERA_RECORDED
from gqn.core.checked import checked
from gqn.core.files import given_name
from gqn.core.progress import Progress
from gqn.data.dataset import SPLITS, DatasetError, claim, record_file_name
from gqn.data.tfrecord import encode_jpeg, encode_scene, jpeg_size, write_records

FOREIGN_FILE = re.compile(r".+\.pt(\.gz)?")
LARGEST = 2**31  # bytes of a file, unzipped
SCENES_PER_FILE = 100  # of a record file, where each scene has a file of its own


class Scene(NamedTuple):
    """Scene of another converter: the class that its files name."""

    frames: Any
    cameras: Any


# Besides tensors and plain values, a file may name what numpy arrays are made of, and a scene; nothing else is called.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_KINDS = {type(np.dtype(kind)) for kind in np.typecodes["All"]}
ALLOWED: list[Any] = [
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((Scene, f"{module}.Scene") for module in ("__main__", "__mp_main__", "gqn_dataset", "convert2torch")),
    *_KINDS,
    np.ndarray,
    np.dtype,
]


@checked
def import_conversion(source: str | os.PathLike[str], directory: str | os.PathLike[str], progress: bool = True) -> Path:
    """Write the scenes of `source`, another converter's folder, as record files of the dataset in `directory`.

    Its frames come as they are where they are JPEGs; decoded ones become JPEGs of the best quality, with an error of a
    level or two of 255. Run again, it writes what is missing. Raises DatasetError, which names the file, where one is
    damaged or holds something else, and where `directory` holds another dataset; nothing in a file is executed.
    """
    source, directory = Path(source), Path(directory)
    files = {split: sorted(_foreign_files(source / split), key=_natural) for split in SPLITS}
    if not any(files.values()):
        raise DatasetError(f"{source}: no .pt or .pt.gz files in its train or test folder")
    every = [file for split in SPLITS for file in files[split]]
    first = read_foreign(every[0])
    jpegs, cameras = _scene(every[0], 0, first[0])
    pixels, _ = jpeg_size(jpegs[0])
    # All names and sizes, and the first file: enough to tell sources apart without reading all of them.
    source_of = sha256(repr([(str(file.relative_to(source)), file.stat().st_size) for file in every]).encode())
    source_of.update(every[0].read_bytes())
    name, views = given_name(directory), len(cameras)
    claim(directory, {"name": name, "pixels": pixels, "views": views, "source_sha256": source_of.hexdigest()})
    together = SCENES_PER_FILE if len(first) == 1 else 1
    groups = [
        (split, files[split][start : start + together], start // together + 1, -(-len(files[split]) // together))
        for split in SPLITS
        for start in range(0, len(files[split]), together)
    ]
    for split, group, number, count in Progress(groups, name, unit="files", shown=progress):
        path = directory / split / record_file_name(number, count)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_records(path, _records(group, views, pixels))
    return directory


def _records(group: list[Path], views: int, pixels: int) -> Iterator[bytes]:
    for file in group:
        for number, scene in enumerate(read_foreign(file)):
            jpegs, cameras = _scene(file, number, scene)
            if (len(jpegs), jpeg_size(jpegs[0])[0]) != (views, pixels):
                raise DatasetError(
                    f"{file}: scene {number} (from 0) has {len(jpegs)} views of {jpeg_size(jpegs[0])[0]} pixels, those "
                    f"before it {views} of {pixels}: a dataset's scenes are of one size"
                )
            yield encode_scene(jpegs, cameras)


def read_foreign(path: Path) -> list[Any]:
    """Return (frames, cameras) of each scene of a file, unchanged; nothing in it is executed. Raises DatasetError."""
    with path.open("rb") as plain:
        zipped = plain.peek(2).startswith(b"\x1f\x8b")
        try:
            data = (GzipFile(fileobj=plain) if zipped else plain).read(LARGEST)
        except (EOFError, zlib.error, BadGzipFile) as error:
            raise DatasetError(f"{path}: damaged ({type(error).__name__}): get it again, or leave it out") from error
    if len(data) == LARGEST:
        raise DatasetError(f"{path}: more than {LARGEST} bytes: no conversion of a dataset")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            found = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"refused: it names {unsafe[1]}, which no dataset does"
            if unsafe
            else f"damaged, or no torch file ({type(error).__name__})"
        )
        raise DatasetError(f"{path}: {what}: leave it out") from error
    scenes = [found] if isinstance(found, Scene) else found
    if not isinstance(scenes, list) or not scenes or not all(isinstance(s, tuple) and len(s) == 2 for s in scenes):
        raise DatasetError(f"{path}: neither a list of (frames, cameras) nor a Scene: leave it out")
    return scenes


def _scene(file: Path, number: int, scene: Any) -> tuple[list[bytes], NDArray[np.float32]]:
    """Return `scene_of` a scene; an error names its file and its number."""
    try:
        return scene_of(scene)
    except MemoryError:
        raise
    except Exception as error:  # what lies in a foreign file may break any operation on it
        told = error if isinstance(error, DatasetError) else f"{type(error).__name__}: {error}"
        raise DatasetError(f"{file}: scene {number} (from 0): {str(told).splitlines()[0]}") from error


def scene_of(scene: Any) -> tuple[list[bytes], NDArray[np.float32]]:
    """Return JPEGs and cameras (views, 5) of another converter's scene. Raises DatasetError for an unknown kind."""
    frames, cameras = map(_array, scene)
    recorded = recorded_of(cameras)
    if frames.dtype == object:
        jpegs = frames.ravel().tolist()
        if not all(isinstance(jpeg, bytes) and jpeg.startswith(b"\xff\xd8") for jpeg in jpegs):
            raise DatasetError("frames that are neither JPEGs nor pixels")
    else:
        jpegs = [encode_jpeg(frame, quality=100, subsampling="444") for frame in _upright(_bytes_of(frames))]
    sizes = {jpeg_size(jpeg) for jpeg in jpegs}
    if len(sizes) != 1 or len(set(*sizes)) != 1:
        raise DatasetError(f"frames of {sizes or 'no'} pixels, not of one height and width")
    if len(jpegs) != len(recorded):
        raise DatasetError(f"{len(jpegs)} frames and {len(recorded)} cameras")
    return jpegs, recorded


def _array(part: Any) -> NDArray[Any]:
    """Return a part of a scene as an array; bfloat16, which numpy lacks, becomes float32, which is exact."""
    if isinstance(part, torch.Tensor):
        part = part.detach()
        part = part.float() if part.dtype == torch.bfloat16 else part
    return np.asarray(part)


def recorded_of(cameras: NDArray[Any]) -> NDArray[np.float32]:
    """Return cameras (views, 5) of 5 or 7 numbers, after axes of length 1. Raises DatasetError for other numbers."""
    while cameras.ndim > 2 and len(cameras) == 1:
        cameras = cameras[0]
    if cameras.ndim != 2 or cameras.shape[1] not in (CAMERA_RECORDED, 7) or cameras.dtype.kind not in "iuf":
        raise DatasetError(
            f"cameras of shape {cameras.shape} and type {cameras.dtype}: wanted (views, 5), place, yaw and pitch, or "
            "(views, 7), place and sine and cosine of yaw and of pitch"
        )
    cameras = cameras.astype(np.float64)
    if cameras.shape[1] == 7:
        sines, cosines = cameras[:, [3, 5]], cameras[:, [4, 6]]
        if not np.allclose(sines**2 + cosines**2, 1, atol=1e-2):
            raise DatasetError(
                "cameras of 7 numbers that are no place with sine and cosine of yaw and of pitch: a quaternion?"
            )
        cameras = np.concatenate([cameras[:, :3], np.arctan2(sines, cosines)], axis=1)
    with np.errstate(over="ignore"):
        recorded = cameras.astype(np.float32)
    if not np.isfinite(recorded).all():
        raise DatasetError("a camera that is not finite")
    if (largest := np.abs(recorded[:, 3:]).max(initial=0)) > 2 * math.pi + 1e-3:
        raise DatasetError(f"yaw or pitch of {largest:.4g}: wanted radians, within a turn; degrees?")
    return recorded


def _bytes_of(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels of 0 to 255, from integers of that range or floats of 0 to 1. Raises DatasetError for others."""
    if frames.size == 0 or frames.dtype.kind not in "iuf":
        raise DatasetError(f"frames of type {frames.dtype} and shape {frames.shape}: wanted bytes, or floats of 0 to 1")
    if not np.isfinite(frames).all():
        raise DatasetError("a pixel that is not finite")
    floats, least, most = frames.dtype.kind == "f", frames.min(), frames.max()
    if least < 0 or most > (1 if floats else 255):
        wanted = "floats of 0 to 1" if floats else "integers of 0 to 255"
        raise DatasetError(f"pixels of {least:.4g} to {most:.4g}, type {frames.dtype}: wanted {wanted}")
    return (255 * frames.astype(np.float64)).round().astype(np.uint8) if floats else frames.astype(np.uint8)


def _upright(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels (views, h, w, 3) of frames in any of the known shapes, after axes of length 1."""
    while frames.ndim > 4 and len(frames) == 1:
        frames = frames[0]
    if frames.ndim != 4 or (frames.shape[-1] == 3) == (frames.shape[1] == 3 and frames.shape[2] == frames.shape[3]):
        raise DatasetError(f"frames of shape {frames.shape}: wanted (views, h, w, 3) or (views, 3, h, w)")
    if frames.shape[-1] == 3:
        return frames
    views, _, height, width = frames.shape
    # Bytes were moved, or only given another shape: the smoother of the two pictures is the true one.
    return min(frames.transpose(0, 2, 3, 1), frames.reshape(views, height, width, 3), key=_roughness)


def _roughness(frames: NDArray[np.uint8]) -> float:
    signed = frames.astype(np.int16)
    return float(np.abs(np.diff(signed, axis=1)).mean() + np.abs(np.diff(signed, axis=2)).mean())


def _foreign_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (file for file in folder.iterdir() if FOREIGN_FILE.fullmatch(file.name) and file.is_file())


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts 9.pt before 10.pt."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", path.name)]
