"""Batches as a function of the step: which scenes, how many context views, which views, all from one seed.

A resumed run, any number of loader workers and any number of processes see the same batches.
"""

from collections.abc import Iterator, Sequence, Sized
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gqn.core.camera import camera_vector
from gqn.core.signals import leave_signals_to_parent
from gqn.core.views import Batch, GraphBatch, Views, split_views

Item = TypeVar("Item", Batch, GraphBatch)


class Scenes(Protocol):
    """What `gqn.data.dataset.SceneDataset` offers: scenes by number, of one size."""

    views: int

    def __len__(self) -> int: ...

    def scene(self, index: int, views: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """frames uint8 (views, 3, h, w) and recorded cameras float32 (views, 5), of the views named or of all."""
        ...


class StepBatches(Dataset[Item]):
    """Item s is the batch of step s: this process's share of `batch` scenes, for ever, epoch after epoch.

    Raises ValueError where there are no scenes, or the batch does not divide by the processes.
    """

    def __init__(self, scenes: Sized, *, batch: int, seed: int, rank: int, processes: int) -> None:
        check_scenes(scenes)
        if batch % processes:
            raise ValueError(f"a batch of {batch} scenes does not divide by {processes} processes")
        self.batch, self.seed, self.rank, self.processes = batch, seed, rank, processes
        self._count = len(scenes)
        self._epoch: tuple[int, np.ndarray] | None = None

    def drawn(self, step: int) -> list[tuple[int, list[int]]]:
        """Of each scene of a step its number, and a seed of its own for what is drawn of it."""
        share = self.batch // self.processes
        first = step * self.batch + self.rank * share
        return [(self._scene(position), [self.seed, 1, position]) for position in range(first, first + share)]

    def _scene(self, position: int) -> int:
        """Scene at a position of the endless sequence of shuffled epochs."""
        epoch, place = divmod(position, self._count)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, 2, epoch]).permutation(self._count)
        return int(self._epoch[1][place])

    def loader(self, start: int, stop: int, *, workers: int, pin_memory: bool) -> DataLoader[Item]:
        """Batches of steps start to stop - 1, in order."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=pin_memory,
            prefetch_factor=4 if workers else None,
            worker_init_fn=leave_signals_to_parent,
        )


class TrainingBatches(StepBatches[Batch]):
    """Views of scenes, context and query.

    context_views: fewest and most context views; one number is drawn a step, for all processes alike.
    queries: query views a scene, which never lie among its context.
    Raises ValueError where scenes have too few views, and as `StepBatches`.
    """

    def __init__(
        self,
        scenes: Scenes,
        *,
        batch: int,
        context_views: tuple[int, int],
        queries: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__(scenes, batch=batch, seed=seed, rank=rank, processes=processes)
        check_views(scenes, context_views[1], queries, "--context-views")
        self.scenes, self.context_views, self.queries = scenes, context_views, queries

    def __getitem__(self, step: int) -> Batch:
        context = int(np.random.default_rng([self.seed, 0, step]).integers(*self.context_views, endpoint=True))
        drawn = [draw_views(self.scenes, scene, context + self.queries, seed) for scene, seed in self.drawn(step)]
        return split_views(stack(drawn), context, self.queries)


class EvaluationBatch(NamedTuple):
    """Held-out scenes first, first + 1, ... and, as a control, the context of another scene for each."""

    first: int
    batch: Batch
    foreign: Views  # (b, m, ...)


def evaluation_batches(
    scenes: Scenes,
    *,
    batch: int,
    context: int,
    queries: int,
    seed: int,
    limit: int | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[EvaluationBatch]:
    """The first `limit` scenes in order, each with views that depend on the seed and the scene alone.

    The batches are dealt to the processes in turn; those of process `rank` are read.
    The foreign context of a scene is the next scene's own, the first one's for the last.
    """
    check_views(scenes, context, queries, "--evaluation-context")
    total = len(scenes) if limit is None else min(limit, len(scenes))
    for numbers in pieces(total, batch)[rank::processes]:
        yield evaluation_batch(scenes, numbers, total, context=context, queries=queries, seed=seed)


def evaluation_batch(
    scenes: Scenes, numbers: range, total: int, *, context: int, queries: int, seed: int
) -> EvaluationBatch:
    """One batch of `evaluation_batches` over `total` scenes: those of `numbers`."""

    def split(chosen: list[int]) -> Batch:
        views = [draw_views(scenes, number, context + queries, [seed, number]) for number in chosen]
        return split_views(stack(views), context, queries)

    return EvaluationBatch(
        numbers.start, split([*numbers]), split([(number + 1) % total for number in numbers]).context
    )


def pieces(total: int, size: int) -> list[range]:
    """0 to total - 1 in ranges of at most `size`."""
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def draw_views(scenes: Scenes, index: int, count: int, seed: list[int]) -> Views:
    """`count` different views of one scene in random order: frames (count, 3, h, w), cameras (count, 7)."""
    frames, cameras = scenes.scene(index, np.random.default_rng(seed).permutation(scenes.views)[:count].tolist())
    return Views(frames.float() / 255, camera_vector(cameras))


def stack(views: list[Views]) -> Views:
    return Views(torch.stack([v.frames for v in views]), torch.stack([v.cameras for v in views]))


def check_scenes(scenes: Sized) -> None:
    """Raises ValueError for a dataset without scenes."""
    if not len(scenes):
        raise ValueError("the dataset has no scenes: convert its record files first, see data.sh")


def check_views(scenes: Scenes, context: int, queries: int, option: str) -> None:
    """Raises ValueError for a dataset without scenes or with too few views; option: what sets the context."""
    check_scenes(scenes)
    if context + queries > scenes.views:
        raise ValueError(
            f"{context} context and {queries} query views need {context + queries} views a scene; "
            f"the dataset has {scenes.views}: lower {option} or --queries"
        )
