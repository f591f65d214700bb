"""Views of scenes and batches of them: the context that a network sees and the queries that it is asked.

Letters: b scenes, m context views, q query views, c channels, h w pixels, k camera numbers (7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.camera import CAMERA_RECORDED, camera_vector
from gqn.core.checked import checked
from gqn.core.errors import Error


@dataclass(frozen=True)
class Views:
    """Frames and the cameras that took them; of another sense than vision, its readings and the poses of its probe.

    Args:
        frames: (b, m, c, h, w), floating point in [0, 1]; of another sense or task (b, m, ...).
        cameras: (b, m, k), as `gqn.core.camera.camera_vector` gives them; of another sense or task any k numbers.
        present: (b, m), False for a view that a scene lacks, whatever stands in its place; None where all are there.
    """

    frames: Tensor
    cameras: Tensor
    present: Tensor | None = None

    def __post_init__(self) -> None:
        # Take what a notebook has, where its meaning is plain: arrays, bytes for frames, recorded cameras.
        for name in ("frames", "cameras"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                object.__setattr__(self, name, tensor_of(name, value))
        if self.frames.dtype == torch.uint8:
            object.__setattr__(self, "frames", self.frames.float() / 255)
        if self.frames.dim() < 2 or self.cameras.dim() != 3 or self.frames.shape[:2] != self.cameras.shape[:2]:
            raise Error(
                f"views of frames {tuple(self.frames.shape)} and cameras {tuple(self.cameras.shape)}: "
                "(scenes, views, ...) and (scenes, views, numbers) are wanted"
            )
        there = self.present
        if there is not None and not (
            isinstance(there, Tensor) and there.dtype == torch.bool and there.shape == self.cameras.shape[:2]
        ):
            raise Error(f"present: a tensor of truth values for each view is wanted, {tuple(self.cameras.shape[:2])}")
        if self.frames.dim() == 5 and self.frames.shape[2] == 3 and self.cameras.shape[-1] == CAMERA_RECORDED:
            object.__setattr__(self, "cameras", camera_vector(self.cameras))

    def to(self, device: torch.device) -> "Views":
        """Return the views on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Views":
        """Return the views in pinned memory."""
        return self._each(Tensor.pin_memory)

    def __getitem__(self, scenes: slice | Tensor) -> "Views":
        """Return the views of some of the scenes, by an index of the first axis."""
        return self._each(lambda tensor: tensor[scenes])

    def part(self, some: slice) -> "Views":
        """Return some of the views of every scene, by an index of the second axis."""
        return self._each(lambda tensor: tensor[:, some])

    def and_views(self, others: "Views") -> "Views":
        """Return these views and others of the same scenes, in this order."""
        parts = self, others
        frames, cameras = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("frames", "cameras"))
        if self.present is None and others.present is None:
            return Views(frames, cameras)
        every = [torch.ones(part.cameras.shape[:2], dtype=torch.bool, device=cameras.device) for part in parts]
        there = [one if part.present is None else part.present for part, one in zip(parts, every, strict=True)]
        return Views(frames, cameras, torch.cat(there, dim=1))

    def are_finite(self) -> bool:
        """Return whether the cameras of all views that are there are finite."""
        cameras = self.cameras if self.present is None else self.cameras[self.present]
        return bool(cameras.isfinite().all())

    def known(self) -> Tensor:
        """Return the frames, with zeros for those that are not there, whatever stood in their place."""
        if self.present is None:
            return self.frames
        present = self.present.view(*self.present.shape, *[1] * (self.frames.dim() - 2))
        return torch.where(present, self.frames, torch.zeros_like(self.frames))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Views":
        return replace(self, **{name: change(value) for name, value in vars(self).items() if value is not None})


def tensor_of(name: str, value: Any) -> Tensor:
    """Return an array as a tensor, float64 as float32. Raises Error for anything else."""
    try:
        array = np.asarray(value)
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Error(f"{name} of type {type(value).__name__}: a tensor or an array is wanted") from error


@dataclass(frozen=True)
class EncodedViews(Views):
    """Views that a sense has encoded already: frames are the features of each, or one r of all, (b, m, c, h', w')."""


@dataclass(frozen=True)
class Batch:
    """Observations and questions about the same b scenes, by the names of a network's senses and tasks.

    Args:
        senses: context views of each sense, (b, m, ...).
        tasks: query views of each task: cameras are the questions and frames the answers, (b, q, ...); present says
            which are known. A task that is asked nothing but the scene has one query of no numbers, cameras (b, 1, 0).
    """

    senses: Mapping[str, Views]
    tasks: Mapping[str, Views]

    def __post_init__(self) -> None:
        for part in ("senses", "tasks"):
            views = getattr(self, part)
            if not isinstance(views, Mapping) or not all(isinstance(value, Views) for value in views.values()):
                raise Error(f"a batch's {part} are {type(views).__name__}: Views by name are wanted")

    @classmethod
    @checked
    def of(cls, context: Views, query: Views) -> "Batch":
        """Return the batch of a flat network: `context` for its sense `vision`, `query` for its task `render`."""
        return cls({"vision": context}, {"render": query})

    @property
    def context(self) -> Views:
        """The context views, where there is one sense."""
        (views,) = self.senses.values()
        return views

    @property
    def query(self) -> Views:
        """The query views, where there is one task."""
        (views,) = self.tasks.values()
        return views

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return self._each(lambda views: views.to(device))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory."""
        return self._each(Views.pin_memory)

    def parts(self, count: int) -> list["Batch"]:
        """Return the scenes in `count` batches of equal size. Raises ValueError where they do not divide."""
        scenes = len(next(iter((*self.tasks.values(), *self.senses.values()))).cameras)
        return [self._each(itemgetter(some)) for some in even_slices(scenes, count)]

    def shown(self, views: int) -> "Batch":
        """Return the same questions with the first `views` context views of each sense."""
        return Batch({name: seen.part(slice(views)) for name, seen in self.senses.items()}, self.tasks)

    def _each(self, change: Callable[[Views], Views]) -> "Batch":
        return Batch(*({name: change(v) for name, v in views.items()} for views in (self.senses, self.tasks)))


def even_slices(length: int, count: int) -> list[slice]:
    """Return `count` slices of equal length that cover `length` items. Raises ValueError where it does not divide."""
    if length % count:
        raise Error(f"{length} scenes do not divide into {count} parts")
    return [slice(start, start + length // count) for start in range(0, length, length // count)]
