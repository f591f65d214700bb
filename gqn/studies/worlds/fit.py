"""A genuine scene beside what was drawn after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.data.dataset import SceneDataset

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Fit:
    """A genuine scene and what was drawn after it."""

    genuine: Frames  # (views, h, w, 3)
    drawn: Frames
    counted: NDArray[np.bool_]  # (h, w), pixels that are of the scene
    found: dict[str, Any]  # plain values

    @property
    def error(self) -> float:
        """Root mean squared error over the pixels that count, in levels of 0 to 255."""
        apart = self.genuine.astype(float) - self.drawn
        return float(np.sqrt((apart**2)[:, self.counted].mean()))


def read(dataset: SceneDataset, scene: int, views: Sequence[int] | None = None) -> tuple[Frames, Array]:
    """Return frames (views, h, w, 3) and cameras (views, 5) of a scene."""
    frames, cameras = dataset.scene(scene, views)
    return frames.permute(0, 2, 3, 1).numpy(), cameras.numpy().astype(float)
