"""Families of scenes that we draw ourselves, by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.shepard_metzler import ShepardMetzler


class Family(Protocol):
    """A family of scenes: a frozen dataclass of options; `scene` draws one."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> int:
        """Pixels, height and width of a frame."""

    @property
    def views(self) -> int:
        """Frames, and cameras, of a scene."""

    def scene(self, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Frames (views, size, size, 3) and recorded cameras (views, 5): the same for the same state of `random`."""


FAMILIES: dict[str, Callable[..., Family]] = {
    "shepard_metzler_5_parts": partial(ShepardMetzler, parts=5),
    "shepard_metzler_7_parts": partial(ShepardMetzler, parts=7),
}
