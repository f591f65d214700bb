"""Patterns of walls and floors, drawn once by formula: square tiles that repeat, with a pyramid of coarser copies.

A pattern is a colour between 0 and 1 for each point of a tile of TILE world units; the colour of the surface multiplies
it. What lies far away or aslant is read from a coarser copy, so that it does not flicker from one view to the next.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.patterns import PATTERNS, TEXELS

Array = NDArray[np.float64]

LEVELS = 9  # from 256 texels to 1
TILE = 2.0  # world units, side of a tile, where a world has no other
WALLS = ("bricks", "stripes", "stones", "plaster", "tiles")
FLOORS = ("planks", "checker", "carpet", "stones")


@cache
def _pyramid(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return all texels of a pattern from the finest copy to the coarsest, (texels, 3), and where each copy begins."""
    v, u = np.meshgrid(*2 * [(np.arange(TEXELS) + 0.5) / TEXELS], indexing="ij")
    levels = [PATTERNS[name](u, v)]
    for _ in range(LEVELS - 1):
        half = len(levels[-1]) // 2
        levels.append(levels[-1].reshape(half, 2, half, 2, 3).mean(axis=(1, 3)))
    begins = np.cumsum([0, *(len(level) ** 2 for level in levels[:-1])])
    return np.concatenate([level.reshape(-1, 3) for level in levels]).astype(np.float32), begins


@cache
def _pyramids(names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the texels of several patterns, and where the copies of each begin, (names, LEVELS)."""
    texels, begins = zip(*map(_pyramid, names), strict=True)
    first = np.cumsum([0, *(len(pattern) for pattern in texels[:-1])])
    return np.concatenate(texels), first[:, None] + np.stack(begins)


def tinted(name: str, colour: Sequence[float]) -> Array:
    """Return the colour (3,), 1 the brightest, of a surface whose mean under a pattern is `colour`.

    colour: (3,) of 255.
    """
    return np.asarray(colour) / 255 / _pyramid(name)[0][-1]


def look_up(
    names: tuple[str, ...], pattern: NDArray[np.int64], u: Array, v: Array, extent: Array
) -> NDArray[np.float32]:
    """Return colours (n, 3) in [0, 1] of patterns at u to the right and v downward (n,), in world units.

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
