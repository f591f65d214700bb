"""Patterns of walls and floors, drawn once by formula: square tiles that repeat, with a pyramid of coarser copies.

A pattern is a colour between 0 and 1 for each point of a tile of TILE world units; the colour of the surface multiplies
it. What lies far away or aslant is read from a coarser copy, so that it does not flicker from one view to the next.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pattern = Callable[[Array, Array], Array]

TEXELS = 256  # along the side of a tile
LEVELS = 9  # from 256 texels to 1
TILE = 2.0  # world units, side of a tile


def _mix(level: Array, dark: tuple[float, float, float], light: tuple[float, float, float]) -> Array:
    return np.asarray(dark) + level[..., None] * (np.asarray(light) - np.asarray(dark))


@cache
def _noise(roughness: float, stretch: float = 1.0, seed: int = 0) -> Array:
    """Smooth noise (TEXELS, TEXELS) in [0, 1] that repeats; stretch draws it out along u."""
    white = np.random.default_rng(seed).normal(size=(TEXELS, TEXELS))
    v = np.fft.fftfreq(TEXELS, 1 / TEXELS)[:, None]
    u = np.fft.rfftfreq(TEXELS, 1 / TEXELS)
    frequency = np.maximum(np.hypot(u * stretch, v), 1)
    level = np.fft.irfft2(np.fft.rfft2(white) / frequency**roughness, s=(TEXELS, TEXELS))
    return np.clip(0.5 + level / (5 * level.std()), 0, 1)


def _bricks(u: Array, v: Array) -> Array:
    row = np.floor(8 * v)
    across, along = (8 * v) % 1, (4 * u + 0.5 * (row % 2)) % 1
    mortar = (across < 0.12) | (along < 0.06)
    number = (row * 7 + np.floor(4 * u + 0.5 * (row % 2)) % 4 * 3) % 5 / 5
    level = np.clip(0.25 + 0.35 * number + 0.4 * _noise(1.2), 0, 1)
    return np.where(mortar[..., None], 0.85, _mix(level, (0.42, 0.16, 0.10), (0.85, 0.42, 0.30)))


def _planks(u: Array, v: Array) -> Array:
    plank = np.floor(8 * v)
    gap = ((8 * v) % 1 < 0.06) | ((u + 0.37 * plank) % 1 < 0.008)
    level = np.clip(0.6 * _noise(1.3, stretch=8, seed=1) + 0.08 * (plank * 5 % 8), 0, 1)
    return np.where(gap[..., None], 0.12, _mix(level, (0.42, 0.26, 0.12), (0.85, 0.62, 0.36)))


def _checker(u: Array, v: Array) -> Array:
    level = (np.floor(4 * u) + np.floor(4 * v)) % 2
    return _mix(0.08 * _noise(1.0) + 0.9 * level, (0.25, 0.30, 0.38), (0.95, 0.95, 0.90))


def _stripes(u: Array, v: Array) -> Array:
    level = ((8 * u) % 1 < 0.5).astype(float)
    return _mix(level, (0.20, 0.42, 0.40), (0.88, 0.90, 0.78))


def _stones(u: Array, v: Array) -> Array:
    """Cells round scattered points, their borders dark."""
    points = np.random.default_rng(2).random((40, 2))
    offset = (np.stack([u, v], axis=-1)[..., None, :] - points + 0.5) % 1 - 0.5
    nearest = np.sort(np.hypot(offset[..., 0], offset[..., 1]), axis=-1)
    cell = np.argmin(np.hypot(offset[..., 0], offset[..., 1]), axis=-1)
    level = np.clip(0.35 + 0.4 * (cell * 7 % 11) / 11 + 0.3 * (_noise(1.2, seed=3) - 0.5), 0, 1)
    border = nearest[..., 1] - nearest[..., 0] < 0.018
    return np.where(border[..., None], 0.2, _mix(level, (0.35, 0.36, 0.40), (0.92, 0.90, 0.86)))


def _plaster(u: Array, v: Array) -> Array:
    return _mix(_noise(1.6, seed=4), (0.62, 0.58, 0.42), (0.97, 0.93, 0.78))


def _tiles(u: Array, v: Array) -> Array:
    joint = ((4 * u) % 1 < 0.05) | ((4 * v) % 1 < 0.05)
    number = (np.floor(4 * u) * 3 + np.floor(4 * v) * 5) % 7 / 7
    return np.where(
        joint[..., None], 0.92, _mix(0.7 * number + 0.3 * _noise(1.4), (0.30, 0.42, 0.52), (0.62, 0.74, 0.80))
    )


def _carpet(u: Array, v: Array) -> Array:
    rhombs = np.abs((4 * u) % 1 - 0.5) + np.abs((4 * v) % 1 - 0.5)
    level = (rhombs < 0.35) * 0.75 + 0.25 * _noise(0.4, seed=5)
    return _mix(level, (0.42, 0.12, 0.16), (0.92, 0.72, 0.48))


PATTERNS: dict[str, Pattern] = {
    "bricks": _bricks,
    "planks": _planks,
    "checker": _checker,
    "stripes": _stripes,
    "stones": _stones,
    "plaster": _plaster,
    "tiles": _tiles,
    "carpet": _carpet,
}
WALLS = ("bricks", "stripes", "stones", "plaster", "tiles")
FLOORS = ("planks", "checker", "carpet", "stones")


@cache
def _pyramid(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All texels of a pattern from the finest copy to the coarsest, (texels, 3), and where each copy begins."""
    v, u = np.meshgrid(*2 * [(np.arange(TEXELS) + 0.5) / TEXELS], indexing="ij")
    levels = [PATTERNS[name](u, v)]
    for _ in range(LEVELS - 1):
        half = len(levels[-1]) // 2
        levels.append(levels[-1].reshape(half, 2, half, 2, 3).mean(axis=(1, 3)))
    begins = np.cumsum([0, *(len(level) ** 2 for level in levels[:-1])])
    return np.concatenate([level.reshape(-1, 3) for level in levels]).astype(np.float32), begins


@cache
def _pyramids(names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The texels of several patterns, and where the copies of each begin, (names, LEVELS)."""
    texels, begins = zip(*map(_pyramid, names), strict=True)
    first = np.cumsum([0, *(len(pattern) for pattern in texels[:-1])])
    return np.concatenate(texels), first[:, None] + np.stack(begins)


def look_up(
    names: tuple[str, ...], pattern: NDArray[np.int64], u: Array, v: Array, extent: Array
) -> NDArray[np.float32]:
    """Colours (n, 3) in [0, 1] of patterns at u to the right and v downward (n,), in world units.

    pattern: (n,), which of `names`; extent: of the world that one pixel shows there (n,), in world units. KeyError for
    a name that is not in PATTERNS.
    """
    texels, begins = _pyramids(names)
    # frexp's exponent is one above the whole part of the binary logarithm, and far faster.
    level = np.clip(np.frexp(extent * (TEXELS / TILE))[1] - 1, 0, LEVELS - 1)
    side = TEXELS >> level
    column = np.floor(u * (side / TILE)).astype(np.int64) & (side - 1)
    row = np.floor(v * (side / TILE)).astype(np.int64) & (side - 1)
    return texels[begins[pattern, level] + row * side + column]
