"""The head-up display of the mazes, drawn over frames: boxes with figures, marks, and a clock that goes on.

Its places and colours follow the genuine frames (results/worlds); its figures and signs are ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIDE = 84  # pixels, of the frames that it is laid out for
# Left, upper, right, lower in pixels, colour, opacity.
SIGNS: tuple[tuple[int, int, int, int, tuple[int, int, int], float], ...] = (
    (1, 76, 13, 83, (112, 100, 20), 0.85),  # a figure that stays the same
    (14, 76, 18, 80, (150, 255, 250), 0.95),
    (15, 77, 16, 78, (60, 110, 110), 0.9),
    (25, 76, 37, 83, (130, 135, 120), 0.6),  # a figure that counts
    (38, 76, 43, 80, (52, 150, 168), 0.95),
    (39, 75, 42, 81, (62, 165, 182), 0.95),
    (40, 74, 41, 82, (40, 120, 135), 0.95),
    (38, 67, 40, 71, (220, 218, 190), 0.8),
    (41, 66, 47, 73, (150, 160, 80), 0.35),
    (79, 71, 84, 75, (72, 84, 120), 0.9),
    (82, 72, 83, 74, (250, 250, 255), 0.95),
    (76, 1, 77, 3, (70, 130, 190), 0.6),
    (80, 1, 81, 3, (235, 225, 150), 0.7),
)
FIGURES = (  # rows of three dots, from 0 to 9
    *("111101101101111", "010110010010111", "111001111100111", "111001011001111", "101101111001001"),
    *("111100111001111", "111100111101111", "111001010010010", "111101111101111", "111101111001111"),
)


def draw(frames: NDArray[np.uint8], views: Sequence[int]) -> NDArray[np.uint8]:
    """Return frames (n, size, size, 3) of one walk under the display; views: the place of each along the walk."""
    drawn = [_under(frame, view, len(frame)) for frame, view in zip(frames, views, strict=True)]
    return np.stack(drawn) if drawn else frames


def _under(frame: NDArray[np.uint8], number: int, size: int) -> NDArray[np.uint8]:
    colour, opacity = _layer(100 + number // 10 % 30, number % 2, size)
    return (frame * (1 - opacity) + colour + 0.5).astype(np.uint8)


@cache
def _layer(count: int, tick: int, size: int) -> tuple[Array, Array]:
    """Return the display's light (size, size, 3), which is added to a frame, and its opacity (size, size, 1)."""
    colour, opacity = np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE, 1))

    def put(rows: slice, columns: slice, tint: tuple[int, int, int], part: float) -> None:
        colour[rows, columns] = colour[rows, columns] * (1 - part) + part * np.array(tint)
        opacity[rows, columns] = opacity[rows, columns] * (1 - part) + part

    for left, upper, right, lower, tint, part in SIGNS:
        put(slice(upper, lower), slice(left, right), tint, part)
    put(slice(1, 3), slice(82, 83), (250, 250, 250) if tick else (150, 190, 210), 0.7)
    for figure, start, tint in ((100, 2, (200, 150, 25)), (count, 26, (190, 195, 185))):
        for place, digit in enumerate(str(figure)):
            lit = np.array([int(dot) for dot in FIGURES[int(digit)]], bool).reshape(5, 3)
            for row, column in np.argwhere(lit):
                put(
                    slice(77 + row, 78 + row),
                    slice(start + 4 * place + column, start + 4 * place + column + 1),
                    tint,
                    0.7,
                )
    # Scale by areas: the part of each old pixel that lies over each new one.
    edges = np.arange(size + 1) * SIDE / size
    inner = np.minimum(edges[1:, None], np.arange(1, SIDE + 1)) - np.maximum(edges[:-1, None], np.arange(SIDE))
    weight = inner.clip(0) * size / SIDE
    # Not at once, which would take a hundred times as long.
    scaled = [np.einsum("ij,jkc,lk->ilc", weight, layer, weight, optimize=True) for layer in (colour, opacity)]
    return scaled[0], scaled[1]
