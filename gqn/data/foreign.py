"""Datasets that other PyTorch converters made of DeepMind's, back to record files in DeepMind's schema.

The files are `SOURCE/{train,test}/*.pt` or `*.pt.gz`, each a torch.save, gzipped or not, of

- a list of (frames, cameras) tuples, frames uint8 (views, 3, h, w): wohlert/generative-query-network-pytorch on GitHub,
  which gives the decoder's (h, w, 3) bytes the shape (3, h, w) without moving them; they are put right here;
- one namedtuple Scene(frames, cameras), frames an array of JPEGs: iShohei220/torch-gqn on GitHub;
- either of them with frames (views, h, w, 3), floating point of 0 to 1 too, or cameras of the reader's 7 numbers.
"""

import os
import pickle
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
from tqdm import tqdm

from gqn.data.dataset import CAMERA_RECORDED, SPLITS, DatasetError, claim, record_file_name
from gqn.data.tfrecord import encode_jpeg, encode_scene, jpeg_size, write_records

FOREIGN_FILE = re.compile(r".+\.pt(\.gz)?")
LARGEST = 2**31  # bytes of a file, unzipped
SCENES_PER_FILE = 100  # of a record file, where each scene has a file of its own


class Scene(NamedTuple):
    """What other converters call a scene."""

    frames: Any
    cameras: Any


# Besides tensors and plain values, a file may name what numpy arrays are made of, and a scene; nothing else is called.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_KINDS = {type(np.dtype(kind)) for kind in ("u1", "i4", "i8", "f4", "f8", "O", "S1")}
ALLOWED: list[Any] = [
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((Scene, f"{module}.Scene") for module in ("__main__", "__mp_main__", "gqn_dataset", "convert2torch")),
    *_KINDS,
    np.ndarray,
    np.dtype,
]


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
    jpegs, cameras = scene_of(first[0])
    pixels, _ = jpeg_size(jpegs[0])
    # All names and sizes, and the first file: enough to tell sources apart without reading all of them.
    source_of = sha256(repr([(str(file.relative_to(source)), file.stat().st_size) for file in every]).encode())
    source_of.update(every[0].read_bytes())
    known = {"name": directory.name, "pixels": pixels, "views": len(cameras), "source_sha256": source_of.hexdigest()}
    claim(directory, known)
    together = SCENES_PER_FILE if len(first) == 1 else 1
    groups = [
        (split, files[split][start : start + together], start // together + 1, -(-len(files[split]) // together))
        for split in SPLITS
        for start in range(0, len(files[split]), together)
    ]
    for split, group, number, count in tqdm(groups, desc=directory.name, unit="file", disable=not progress):
        path = directory / split / record_file_name(number, count)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_records(path, _records(group))
    return directory


def _records(group: list[Path]) -> Iterator[bytes]:
    for file in group:
        for number, scene in enumerate(read_foreign(file)):
            try:
                yield encode_scene(*scene_of(scene))
            except (ValueError, TypeError, AttributeError) as error:
                raise DatasetError(f"{file}: scene {number} (from 0): {error}") from error


def read_foreign(path: Path) -> list[Any]:
    """The (frames, cameras) of a file's scenes as they lie in it. Raises DatasetError; executes nothing."""
    try:
        with path.open("rb") as plain:
            zipped = plain.peek(2).startswith(b"\x1f\x8b")
            data = (GzipFile(fileobj=plain) if zipped else plain).read(LARGEST)
        if len(data) == LARGEST:
            raise DatasetError(f"{path}: more than {LARGEST} bytes: no conversion of a dataset")
        with torch.serialization.safe_globals(ALLOWED):
            found = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except (BadGzipFile, zlib.error, EOFError) as error:
        raise DatasetError(f"{path}: damaged ({type(error).__name__}): get it again, or leave it out") from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"refused: it names {unsafe[1]}, which no dataset does"
            if unsafe
            else f"no torch file ({type(error).__name__})"
        )
        raise DatasetError(f"{path}: {what}: leave it out") from error
    scenes = [found] if isinstance(found, Scene) else found
    if not isinstance(scenes, list) or not scenes or not all(isinstance(s, tuple) and len(s) == 2 for s in scenes):
        raise DatasetError(f"{path}: neither a list of (frames, cameras) nor a Scene: leave it out")
    return scenes


def scene_of(scene: Any) -> tuple[list[bytes], NDArray[np.float32]]:
    """JPEGs and cameras (views, 5) of a scene as another converter has it. Raises ValueError."""
    frames, cameras = (np.asarray(part) for part in scene)
    if cameras.shape[-1] == 7 and cameras.ndim > 1:  # x, y, z, sin yaw, cos yaw, sin pitch, cos pitch
        angles = np.arctan2(cameras[..., [3, 5]], cameras[..., [4, 6]])
        cameras = np.concatenate([cameras[..., :3], angles], axis=-1)
    cameras = cameras.astype(np.float32).reshape(-1, CAMERA_RECORDED)
    if not np.isfinite(cameras).all():
        raise ValueError("a camera that is not finite")
    if frames.dtype == object:
        jpegs = frames.ravel().tolist()
        if not all(isinstance(jpeg, bytes) for jpeg in jpegs):
            raise ValueError("frames that are neither JPEGs nor pixels")
        return jpegs, cameras
    return [encode_jpeg(frame, quality=100, subsampling="444") for frame in _upright(frames)], cameras


def _upright(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels (views, h, w, 3) of frames in any of the shapes that they are found in."""
    if np.issubdtype(frames.dtype, np.floating):
        frames = (255 * frames).round().clip(0, 255)
    frames = frames.astype(np.uint8).reshape(-1, *frames.shape[-3:])
    if frames.shape[-1] == 3:
        return frames
    views, channels, height, width = frames.shape
    if channels != 3:
        raise ValueError(f"frames of shape {frames.shape}")
    # Of bytes that were moved and bytes that were only given another shape, the smoother picture is the true one.
    return min(frames.transpose(0, 2, 3, 1), frames.reshape(views, height, width, 3), key=_roughness)


def _roughness(frames: NDArray[np.uint8]) -> float:
    signed = frames.astype(np.int16)
    return float(np.abs(np.diff(signed, axis=1)).mean() + np.abs(np.diff(signed, axis=2)).mean())


def _foreign_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (file for file in folder.iterdir() if FOREIGN_FILE.fullmatch(file.name) and file.is_file())


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that has 9.pt before 10.pt."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", path.name)]
