"""Head-up displays: the parts of frames that belong to no scene, which a measure of pictures need not count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[float, float, float, float]  # left, upper, right and lower edge, parts of the width and the height

# Of the mazes, on frames of 84 pixels: three figures below, marks over them, a corner to the right, a clock above.
MAZES_DISPLAY: tuple[Rectangle, ...] = tuple(
    (left / 84, upper / 84, right / 84, lower / 84)
    for left, upper, right, lower in (
        (0, 75, 20, 84),
        (24, 74, 44, 84),
        (36, 65, 48, 73),
        (78, 70, 84, 76),
        (75, 0, 84, 4),
    )
)


def mask(display: Sequence[Rectangle], pixels: int) -> NDArray[np.bool_]:
    """Return which pixels (pixels, pixels) of a frame a display touches."""
    touched = np.zeros((pixels, pixels), bool)
    for left, upper, right, lower in display:
        rows = slice(int(np.floor(upper * pixels)), int(np.ceil(lower * pixels - 1e-9)))
        touched[rows, int(np.floor(left * pixels)) : int(np.ceil(right * pixels - 1e-9))] = True
    return touched
