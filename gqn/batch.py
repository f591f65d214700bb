"""What the networks eat: views of scenes, split into the context that is seen and the query that is asked.

Letters: b scenes, m context views, q query views, c channels, h w pixels, k camera numbers (7).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """Frames and the cameras that took them.

    frames: (b, m, c, h, w), floating point in [0, 1].
    cameras: (b, m, k), as `gqn.camera.camera_vector` gives them.
    """

    frames: Tensor
    cameras: Tensor

    def to(self, device: torch.device) -> "Views":
        return Views(self.frames.to(device, non_blocking=True), self.cameras.to(device, non_blocking=True))

    def pin_memory(self) -> "Views":
        return Views(self.frames.pin_memory(), self.cameras.pin_memory())

    def __getitem__(self, scenes: slice | Tensor) -> "Views":
        """Views of some of the scenes: an index of the first axis."""
        return Views(self.frames[scenes], self.cameras[scenes])


@dataclass(frozen=True)
class Batch:
    """Context views that are shown and query views that are to be predicted, of the same b scenes."""

    context: Views  # (b, m, ...)
    query: Views  # (b, q, ...)

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.context.to(device), self.query.to(device))

    def pin_memory(self) -> "Batch":
        return Batch(self.context.pin_memory(), self.query.pin_memory())


def split_views(views: Views, context: int, queries: int) -> Batch:
    """The first `context` views of each scene as context, the next `queries` as query; the caller has shuffled them.

    Raises ValueError where the scenes have fewer than context + queries views: a query never lies among its context.
    """
    have = views.cameras.shape[1]
    if context < 0 or queries < 1 or context + queries > have:
        raise ValueError(f"{context} context and {queries} query views asked of scenes that have {have} views")
    end = context + queries
    return Batch(
        Views(views.frames[:, :context], views.cameras[:, :context]),
        Views(views.frames[:, context:end], views.cameras[:, context:end]),
    )
