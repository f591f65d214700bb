"""What the networks eat: views of scenes, split into the context that is seen and the query that is asked.

Letters: b scenes, m context views, q query views, c channels, h w pixels, k camera numbers (7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """Frames and the cameras that took them; of another sense than vision, its readings and the poses of its probe.

    frames: (b, m, c, h, w), floating point in [0, 1]; of another sense or task (b, m, ...).
    cameras: (b, m, k), as `gqn.core.camera.camera_vector` gives them; of another sense or task any k numbers.
    present: (b, m), False for a view that a scene lacks, whatever stands in its place; None where all are there.
    """

    frames: Tensor
    cameras: Tensor
    present: Tensor | None = None

    def to(self, device: torch.device) -> "Views":
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Views":
        return self._each(Tensor.pin_memory)

    def __getitem__(self, scenes: slice | Tensor) -> "Views":
        """Views of some of the scenes: an index of the first axis."""
        return self._each(lambda tensor: tensor[scenes])

    def part(self, some: slice) -> "Views":
        """Some of the views of every scene: an index of the second axis."""
        return self._each(lambda tensor: tensor[:, some])

    def known(self) -> Tensor:
        """The frames, with zeros for those that are not there, whatever stood in their place."""
        if self.present is None:
            return self.frames
        present = self.present.view(*self.present.shape, *[1] * (self.frames.dim() - 2))
        return torch.where(present, self.frames, torch.zeros_like(self.frames))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Views":
        return replace(self, **{name: change(value) for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Batch:
    """Context views that are shown and query views that are to be predicted, of the same b scenes."""

    context: Views  # (b, m, ...)
    query: Views  # (b, q, ...)

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.context.to(device), self.query.to(device))

    def pin_memory(self) -> "Batch":
        return Batch(self.context.pin_memory(), self.query.pin_memory())

    def parts(self, count: int) -> list["Batch"]:
        """The scenes in so many parts of equal size."""
        return [Batch(self.context[some], self.query[some]) for some in even_slices(len(self.query.cameras), count)]


@dataclass(frozen=True)
class EncodedViews(Views):
    """Views that a sense's encoder has been through already: frames are its outputs, (b, m, c, h', w')."""


@dataclass(frozen=True)
class GraphBatch:
    """What a graph of representations eats: of the same b scenes, observations by sense and questions by task.

    tasks: views whose cameras are the queries and whose frames are the answers, (b, q, ...); present says which are
    known. A task that is asked nothing but the scene has one query of no numbers, cameras (b, 1, 0).
    """

    senses: Mapping[str, Views]
    tasks: Mapping[str, Views]

    def to(self, device: torch.device) -> "GraphBatch":
        return self._each(lambda views: views.to(device))

    def pin_memory(self) -> "GraphBatch":
        return self._each(Views.pin_memory)

    def parts(self, count: int) -> list["GraphBatch"]:
        """The scenes in so many parts of equal size."""
        scenes = len(next(iter((*self.tasks.values(), *self.senses.values()))).cameras)
        return [self._each(itemgetter(some)) for some in even_slices(scenes, count)]

    def _each(self, change: Callable[[Views], Views]) -> "GraphBatch":
        return GraphBatch(*({name: change(v) for name, v in views.items()} for views in (self.senses, self.tasks)))


def even_slices(length: int, count: int) -> list[slice]:
    """Raises ValueError where it does not divide."""
    if length % count:
        raise ValueError(f"{length} scenes do not divide into {count} parts")
    return [slice(start, start + length // count) for start in range(0, length, length // count)]


def split_views(views: Views, context: int, queries: int) -> Batch:
    """The first `context` views of each scene as context, the next `queries` as query; the caller has shuffled them.

    Raises ValueError where the scenes have fewer than context + queries views: a query never lies among its context.
    """
    have = views.cameras.shape[1]
    if context < 0 or queries < 1 or context + queries > have:
        raise ValueError(f"{context} context and {queries} query views asked of scenes that have {have} views")
    return Batch(views.part(slice(context)), views.part(slice(context, context + queries)))
