"""Pictures of a user's own: read from files or arrays, turned upright, cut to a centred square, brought to a size."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gqn.data.dataset import DatasetError

KINDS = ("PNG", "JPEG")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")  # of Pillow, that are read
ORIENTATION = 0x0112  # Exif's tag
SNAP = 1e-3  # pixels by which an edge of the square may miss an edge of the picture and still be that edge
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Lens:
    """A pinhole lens, in pixels of its picture, counted from the outer corner of the upper left one.

    Raises DatasetError for a lens that cannot be.
    """

    width: int
    height: int
    focal_x: float
    focal_y: float
    centre_x: float
    centre_y: float

    def __post_init__(self) -> None:
        numbers = (self.width, self.height, self.focal_x, self.focal_y, self.centre_x, self.centre_y)
        if not all(0 < number < math.inf for number in numbers):
            raise DatasetError(
                f"a lens of {numbers!r:.80}: width, height, focal lengths and centre must be more than 0"
            )
        if self.centre_x >= self.width or self.centre_y >= self.height:
            raise DatasetError(f"an optical centre of {self.centre_x:g}, {self.centre_y:g}: outside the picture")

    @classmethod
    def of_field_of_view(cls, width: int, height: int, degrees: float) -> "Lens":
        """Return the lens of a vertical field of view with square pixels and its centre in the middle."""
        if not 0 < degrees < 180:
            raise DatasetError(f"a field of view of {degrees:g} degrees: must be between 0 and 180")
        focal = height / 2 / np.tan(np.deg2rad(degrees) / 2)
        return cls(width, height, focal, focal, width / 2, height / 2)

    def reach(self, roll: float) -> float:
        """Return half an edge, at distance 1, of the largest centred square that the picture shows upright."""
        across = min(self.centre_x, self.width - self.centre_x) / self.focal_x
        down = min(self.centre_y, self.height - self.centre_y) / self.focal_y
        return min(across, down) / (abs(np.cos(roll)) + abs(np.sin(roll)))

    def square(self, reach: float) -> Box:
        """Return left, upper, right and lower edge of a centred square; an edge next to the picture's is that one."""
        box = (
            self.centre_x - reach * self.focal_x,
            self.centre_y - reach * self.focal_y,
            self.centre_x + reach * self.focal_x,
            self.centre_y + reach * self.focal_y,
        )
        edges = (0, 0, self.width, self.height)
        return tuple(edge if abs(edge - at) < SNAP else at for edge, at in zip(edges, box, strict=True))  # type: ignore[return-value]


@contextmanager
def naming(what: str) -> Iterator[None]:
    """A block whose DatasetError names what it is about."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{what}: {error}") from error


def is_file(frame: Any) -> bool:
    """Return whether a frame is the path of a picture, not its pixels."""
    return isinstance(frame, str | os.PathLike)


def picture_size(frame: Any) -> tuple[int, int]:
    """Return width and height of a picture; of a file only the header is read. Raises DatasetError for another kind."""
    if not is_file(frame):
        height, width = _pixels(frame)[0].shape[:2]
        return width, height
    with _opened(Path(frame)) as image:
        return image.size


def read_picture(frame: Any, background: Sequence[int]) -> tuple[Image.Image, list[str]]:
    """Return a picture of RGB, and in words what was done to make it one; transparent parts show the background.

    Raises DatasetError for what is no picture, or of a kind that is not read.
    """
    told = []
    if is_file(frame):
        with _opened(Path(frame)) as image:
            deep = image.mode.startswith("I;16") or _sixteen(Path(frame))
            image.load()
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if "transparency" in image.info or image.mode in ("P", "PA", "LA"):
                grey = image.mode in ("L", "LA")
                clear = "transparency" in image.info or image.mode in ("PA", "LA")
                image = image.convert("RGBA" if clear else "RGB")
            else:
                grey = image.mode in ("1", "L")
    else:
        pixels, deep = _pixels(frame)
        grey = pixels.shape[2] < 3
        if grey:
            pixels = np.concatenate([*[pixels[..., :1]] * 3, pixels[..., 1:]], axis=2)
        image = Image.fromarray(pixels)
    if deep:
        told.append("16 bits: the upper 8 are kept")
    if grey:
        told.append("grey: the three colours are alike")
    if image.mode == "RGBA":
        told.append(f"alpha: laid over the background {tuple(background)}")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    return image.convert("RGB"), told


def squared(
    image: Image.Image, lens: Lens, reach: float, roll: float, size: int
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the centred square of a picture as pixels (size, size, 3), and in words what was done.

    Args:
        image: of RGB, as large as its lens says.
        lens: that took it.
        reach: half an edge of the square at distance 1.
        roll: of the camera, to turn the picture back by, in radians.
        size: height and width, in pixels.
    """
    told = []
    if roll:
        cos, sin, across = np.cos(roll), np.sin(roll), lens.focal_x / lens.focal_y
        # Where each pixel of the upright picture comes from: a turn about the optical centre, exact for a pinhole.
        x, y = lens.centre_x, lens.centre_y
        rows = [(cos, -sin * across), (sin / across, cos)]
        shifts = [at - a * x - b * y for at, (a, b) in zip((x, y), rows, strict=True)]
        turn = (*rows[0], shifts[0], *rows[1], shifts[1])
        image = image.transform(image.size, Image.Transform.AFFINE, turn, Image.Resampling.BICUBIC)
        told.append("turned upright about the optical centre")
    box = lens.square(reach)
    if box != (0, 0, *image.size):
        told.append("cropped to a square about the optical centre")
    if (round(box[2] - box[0], 3), round(box[3] - box[1], 3)) != (size, size):
        told.append("resized: each pixel is the mean of what it covers")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX, box=box)), told


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=KINDS) as image:
            if image.mode not in MODES:
                raise DatasetError(f"a picture of mode {image.mode}: wanted grey or RGB, with alpha or without")
            if (turned := image.getexif().get(ORIENTATION, 1)) not in (0, 1):
                raise DatasetError(
                    f"its Exif says that it is shown turned (orientation {turned}): save it upright, and give "
                    "the pose and the lens of the upright picture"
                )
            yield image
    except FileNotFoundError:
        raise DatasetError("not there") from None
    except DatasetError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        if isinstance(error, PermissionError):
            raise
        raise DatasetError(f"no whole PNG or JPEG ({str(error).splitlines()[0]})") from error


def _sixteen(path: Path) -> bool:
    """Return whether a PNG has 16 bits a colour, which Pillow cuts to 8 without a word."""
    with path.open("rb") as file:
        head = file.read(25)
    return head.startswith(b"\x89PNG") and head[24] == 16


def _pixels(frame: Any) -> tuple[NDArray[np.uint8], bool]:
    """Return pixels (h, w, channels) of 0 to 255 of an array, and whether it had 16 bits."""
    try:
        array = np.asarray(frame)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(f"a frame of type {type(frame).__name__}: pixels or a path are wanted") from error
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape[2] > 4 >= array.shape[0]:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or array.size == 0:
        raise DatasetError(f"a frame of shape {array.shape}: wanted (h, w), (h, w, c) or (c, h, w), c from 1 to 4")
    if array.dtype == np.uint8:
        return array, False
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8), True
    if array.dtype.kind != "f":
        raise DatasetError(f"a frame of type {array.dtype}: wanted uint8, uint16, or floats of 0 to 1")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise DatasetError(f"pixels of {array.min():.4g} to {array.max():.4g}, {array.dtype}: wanted floats of 0 to 1")
    return (255 * array.astype(np.float64)).round().astype(np.uint8), False
