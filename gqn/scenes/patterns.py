"""Formulas of patterns: a colour between 0 and 1 at each point (u, v) of a square tile that repeats, u and v in [0, 1).

The first eight are ours, of several colours each. The others are drawn after what genuine rooms and mazes wear
(results/worlds): levels of grey that a surface's colour multiplies; a tile is as wide as the wall is high.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pattern = Callable[[Array, Array], Array]

TEXELS = 256  # along the side of a tile


def _mix(level: Array, dark: tuple[float, float, float], light: tuple[float, float, float]) -> Array:
    return np.asarray(dark) + level[..., None] * (np.asarray(light) - np.asarray(dark))


@cache
def _noise(roughness: float, stretch: float = 1.0, seed: int = 0) -> Array:
    """Return smooth noise (TEXELS, TEXELS) in [0, 1] that repeats; `stretch` draws it out along u."""
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


def _grey(level: Array) -> Array:
    return np.repeat(np.clip(level, 0, 1)[..., None], 3, axis=-1)


def _skirting(v: Array) -> Array:
    """Darkness of a wall's foot and, less, of its top."""
    return np.where(v > 0.95, 0.55, np.where(v < 0.02, 0.85, 1.0))


def _circles(u: Array, v: Array) -> Array:
    """Two by two dark discs with bright rims between pilasters."""
    away = np.hypot((2 * (u * 1.16 - 0.08)) % 1 - 0.5, ((2 * v) % 1 - 0.5)) / 2
    inside = (u > 0.07) & (u < 0.93)
    level = np.where(inside & (away < 0.14), 0.5, 0.85)
    level = np.where(inside & (np.abs(away - 0.15) < 0.014), 1.0, level)
    return _grey(np.where(inside, level, 0.97 - 0.25 * (np.abs(u - 0.5) < 0.45)) * _skirting(v))


def _grooves(u: Array, v: Array, count: int, longest: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask of dark lines along u and along v at random places, which repeat with the tile."""
    random = np.random.default_rng(seed)
    lines = np.zeros(u.shape, bool)
    for number in range(count):
        (at, start), length = random.random(2), longest * random.uniform(0.3, 1)
        along, across = (u, v) if number % 2 else (v, u)
        lines |= (np.abs((across - at + 0.5) % 1 - 0.5) < 0.006) & ((along - start) % 1 < length)
    return lines


def _circuits(u: Array, v: Array) -> Array:
    """Conductors: many short dark lines that turn at right angles, on a field of slightly different slabs."""
    slab = (np.floor(5 * u + 0.4 * np.floor(4 * v)) * 3 + np.floor(4 * v) * 7) % 5 / 5
    level = 0.84 + 0.08 * slab + 0.1 * (_noise(0.8, seed=6) - 0.5)
    return _grey(np.where(_grooves(u, v, 40, 0.45, 6), 0.68, level) * _skirting(v))


def _panels(u: Array, v: Array) -> Array:
    """Wide panels with a few dark joints, hatched aslant."""
    hatch = np.sin(2 * np.pi * (8 * u + 8 * v)) + np.sin(2 * np.pi * (3 * u - 3 * v))
    level = 0.88 + 0.04 * hatch + 0.08 * (_noise(1.0, seed=7) - 0.5)
    return _grey(np.where(_grooves(u, v, 10, 0.7, 7), 0.6, level) * _skirting(v))


def _weave(u: Array, v: Array) -> Array:
    """Bricks in a herringbone, each of its own shade."""
    column, row = np.floor(8 * u).astype(int), np.floor(8 * v).astype(int)
    part = (column - row) % 4  # first and second half of a lying brick, lower and upper of a standing one
    lying = part < 2
    left, upper = (column - (part == 1)) % 8, (row - (part == 2)) % 8
    along = np.where(lying, (8 * u - left) % 8, (8 * v - upper) % 8) / 2
    across = np.where(lying, (8 * v) % 1, (8 * u) % 1)
    shade = (left * 5 + upper * 3 + lying * 2) % 8 / 8
    joint = (np.abs(across - 0.5) > 0.45) | (np.abs(along - 0.5) > 0.475)
    return _grey(np.where(joint, 0.58, 0.78 + 0.22 * shade) * _skirting(v))


def _mosaic(u: Array, v: Array) -> Array:
    """Small squares, some of them dark."""
    shade = np.random.default_rng(8).random((16, 16))[(16 * v).astype(int) % 16, (16 * u).astype(int) % 16]
    joint = (np.abs((16 * u) % 1 - 0.5) > 0.42) | (np.abs((16 * v) % 1 - 0.5) > 0.42)
    return _grey(np.where(joint, 0.95, np.where(shade < 0.25, 0.72, 0.9)) * _skirting(v))


def _stucco(u: Array, v: Array) -> Array:
    """Fine blotches with some straight edges."""
    level = 0.87 + 0.3 * (_noise(1.0, seed=9) - 0.5)
    return _grey(np.where(_grooves(u, v, 16, 0.25, 9), 0.78, level) * _skirting(v))


def _hexagons(u: Array, v: Array, count: int) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """How far from the middle of a cell of `count` by `count`, in cells, every other row shifted; column and row."""
    row = np.floor(count * v).astype(int)
    shifted = count * u + 0.5 * (row % 2)
    return np.hypot(shifted % 1 - 0.5, (count * v) % 1 - 0.5), np.floor(shifted).astype(int) % count, row


def _spots(u: Array, v: Array) -> Array:
    """Rows of round spots, some of them bright."""
    away, column, row = _hexagons(u, v, 8)
    light = np.random.default_rng(10).random((8, 8))[row, column]
    return _grey(0.76 + 0.06 * (_noise(0.9, seed=10) - 0.5) + (away < 0.42) * np.where(light > 0.7, 0.2, 0.06 * light))


def _rays(u: Array, v: Array) -> Array:
    """A broad bright stripe along v between slabs with fine joints."""
    stripe = np.abs(u - 0.5) < 0.16
    joint = (4 * v + 0.5 * stripe) % 1 < 0.06
    return _grey(0.8 + 0.16 * stripe - 0.05 * joint + 0.04 * (_noise(1.0, seed=12) - 0.5))


def _scales(u: Array, v: Array) -> Array:
    """Rows of small arcs, a few of them dark."""
    row = np.floor(12 * v).astype(int)
    shifted = 6 * u + 0.5 * (row % 2)
    arc = np.hypot(shifted % 1 - 0.5, (12 * v) % 1 / 2)
    shade = np.random.default_rng(13).random((12, 6))[row, np.floor(shifted).astype(int) % 6]
    return _grey(0.88 - 0.1 * (shade > 0.8) * (arc < 0.4) + 0.05 * shade - 0.06 * (np.abs(arc - 0.45) < 0.07))


def _honeycomb(u: Array, v: Array) -> Array:
    """Fine cells, some of them dark."""
    away, column, row = _hexagons(u, v, 8)
    dark = np.random.default_rng(14).random((8, 8))[row, column] > 0.86
    return _grey(0.92 - 0.07 * (away > 0.5) - 0.22 * (dark & (away < 0.5)) + 0.06 * (_noise(1.1, seed=14) - 0.5))


def _marble(u: Array, v: Array) -> Array:
    """Smooth clouds, and slabs with fine joints."""
    joint = ((3 * u) % 1 < 0.03) | ((3 * v + 0.5 * (np.floor(3 * u) % 2)) % 1 < 0.03)
    return _grey(0.93 + 0.14 * (_noise(1.5, seed=15) - 0.5) - 0.08 * joint)


PATTERNS: dict[str, Pattern] = {
    "bricks": _bricks,
    "planks": _planks,
    "checker": _checker,
    "stripes": _stripes,
    "stones": _stones,
    "plaster": _plaster,
    "tiles": _tiles,
    "carpet": _carpet,
    "circles": _circles,
    "circuits": _circuits,
    "panels": _panels,
    "weave": _weave,
    "mosaic": _mosaic,
    "stucco": _stucco,
    "spots": _spots,
    "rays": _rays,
    "scales": _scales,
    "honeycomb": _honeycomb,
    "marble": _marble,
}
