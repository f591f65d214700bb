"""Batches as a function of the step: which scenes, how many context views, which views, all from one seed.

A resumed run, any number of loader workers and any number of processes see the same batches.

A sense and a task name their data. Of data that are observed (frames, touch), a scene gives context to senses and
queries to tasks, and no query lies among the context; data that are an answer are asked once a scene, without a query.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gqn.core.checked import checked
from gqn.core.errors import Error
from gqn.core.views import Batch, EncodedViews, Views

FRAMES = "frames"  # the data of vision
ENDLESS = sys.maxsize  # scenes of a world that is drawn as it is asked for, of which none comes twice


class Scenes(Protocol):
    """Interface of scenes by number, whose data are asked for by name."""

    def __len__(self) -> int: ...

    def observations(self, data: str) -> int:
        """Return how many a scene has; 0 where the data are an answer. Raises ValueError for unknown data."""
        ...

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Return some observations (n, ...) of a scene and their poses (n, k); None where this scene has none."""
        ...

    def answer(self, data: str, scene: int) -> Tensor | None:
        """Return the answer (...) of a scene; None where it is not known."""
        ...


class Asked(NamedTuple):
    """The data that a network reads of scenes, by the names of its senses and tasks."""

    senses: Mapping[str, str]
    tasks: Mapping[str, str]


FLAT = Asked({"vision": FRAMES}, {"render": FRAMES})  # a flat network's


class Encoded(NamedTuple):
    """The features of all observations of all scenes, which a frozen sense gave beforehand."""

    features: Tensor  # (scenes, n, c, h, w)
    present: Tensor  # (scenes,), False where a scene has none


class TrainingBatches(Dataset[Batch]):
    """Batches of all steps: item s is this process's share of the batch of step s, for ever, epoch after epoch.

    Attribute `encoded` holds senses that were encoded beforehand, by name.

    Args:
        scenes: where the data come from.
        asked: the data of the network's senses and tasks.
        batch: scenes a step, over all processes together.
        context_views: fewest and most observations of a sense; a number is drawn a step and data, for all processes
            alike.
        queries: queries a scene of each task whose data are observed.
        alternate: ask one task a step, in turn.

    Raises:
        ValueError: where there are no scenes, they have no such data or too few, or the batch does not divide by the
            processes.
    """

    @checked
    def __init__(
        self,
        scenes: Scenes,
        asked: Asked = FLAT,
        *,
        batch: int,
        context_views: tuple[int, int],
        queries: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        alternate: bool = False,
    ) -> None:
        if batch % processes:
            raise Error(f"a batch of {batch} scenes does not divide by {processes} processes")
        if seed < 0:
            raise Error(f"a seed of {seed}: must be 0 or more")
        check_data(scenes, asked, context_views[1], queries, "--context-views")
        self.scenes, self.asked, self.context_views, self.queries = scenes, asked, context_views, queries
        self.batch, self.seed, self.rank, self.processes = batch, seed, rank, processes
        self.alternate = alternate
        self.encoded: Mapping[str, Encoded] = {}
        self._epoch: tuple[int, np.ndarray] | None = None

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng([self.seed, 0, step])
        counts = {
            data: int(random.integers(*self.context_views, endpoint=True))
            for data in sorted(set(self.asked.senses.values()))
        }
        tasks = self.asked.tasks
        if self.alternate:
            name = list(tasks)[step % len(tasks)]
            tasks = {name: tasks[name]}
        asked = self.asked._replace(tasks=tasks)
        return gather(self.scenes, asked, self.drawn(step), counts, self.queries, self.encoded)

    def drawn(self, step: int) -> list[tuple[int, list[int]]]:
        """Return the number of each scene of a step, and the seed by which its views are drawn."""
        share = self.batch // self.processes
        first = step * self.batch + self.rank * share
        return [(self._scene(position), [self.seed, 1, position]) for position in range(first, first + share)]

    def _scene(self, position: int) -> int:
        """Return the scene at a position of the endless sequence of shuffled epochs, or of an endless world."""
        if len(self.scenes) == ENDLESS:
            return position
        epoch, place = divmod(position, len(self.scenes))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.scenes))
        return int(self._epoch[1][place])


class EvaluationBatch(NamedTuple):
    """Held-out scenes first, first + 1, ... and, as a control, the same questions under a shuffled context."""

    first: int
    batch: Batch
    shuffled: Batch  # the senses observe the next scene, the first one for the last

    def to(self, device: torch.device) -> "EvaluationBatch":
        return EvaluationBatch(self.first, self.batch.to(device), self.shuffled.to(device))

    def shown(self, views: int) -> "EvaluationBatch":
        """Return the same with the first `views` context views of each sense."""
        return EvaluationBatch(self.first, self.batch.shown(views), self.shuffled.shown(views))


@checked
def evaluation_batches(
    scenes: Scenes,
    asked: Asked = FLAT,
    *,
    batch: int,
    context: int | Mapping[str, int],
    seed: int,
    limit: int | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[EvaluationBatch]:
    """Return the first `limit` scenes in order, each with observations that depend on the seed and the scene alone.

    Args:
        scenes: held-out scenes.
        asked: the data of the network's senses and tasks; by default those of a flat network.
        batch: scenes at a time.
        context: observations of each sense, or by data. A task whose data are observed gets one query.
        seed: of the observations.
        limit: most scenes; all by default.
        rank: of this process.
        processes: how many there are; the batches are dealt to them in turn.

    Returns:
        An iterator over batches with their number and, as a control, the same queries under a shuffled context.

    Raises:
        Error: where scenes lack the data or have too few observations.
    """
    if batch < 1 or (limit is not None and limit < 1):
        raise Error(f"batches of {batch} scenes, {limit} at most: must be 1 or more")
    if seed < 0:
        raise Error(f"a seed of {seed}: must be 0 or more")
    if min(context.values() if isinstance(context, Mapping) else [context], default=0) < 0:
        raise Error(f"{context} context views: must be 0 or more")
    total = len(scenes) if limit is None else min(limit, len(scenes))
    shares = pieces(total, batch)[rank::processes]
    return (evaluation_batch(scenes, asked, numbers, total, context=context, seed=seed) for numbers in shares)


def evaluation_batch(
    scenes: Scenes, asked: Asked, numbers: range, total: int, *, context: int | Mapping[str, int], seed: int
) -> EvaluationBatch:
    """Return one batch of `evaluation_batches` over `total` scenes: those of `numbers`."""
    kinds = set(asked.senses.values())
    counts = dict.fromkeys(kinds, context) if isinstance(context, int) else context
    check_data(scenes, asked, max(counts.values(), default=0), 1, "--eval-context-views")
    own, other = (
        gather(scenes, asked, [(n % total, [seed, n % total]) for n in chosen], counts, 1, {})
        for chosen in (numbers, [number + 1 for number in numbers])
    )
    return EvaluationBatch(numbers.start, own, Batch(other.senses, own.tasks))


def context_views(scenes: Scenes, numbers: Sequence[int], count: int, *, seed: int) -> Views:
    """Return `count` context views of each of some scenes, drawn as for an evaluation."""
    drawn = [(number, [seed, number]) for number in numbers]
    return gather(scenes, Asked({FRAMES: FRAMES}, {}), drawn, {FRAMES: count}, 0, {}).context


def pieces(total: int, size: int) -> list[range]:
    """Return 0 to total - 1 in ranges of at most `size`."""
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def gather(
    scenes: Scenes,
    asked: Asked,
    drawn: Sequence[tuple[int, Sequence[int]]],
    counts: Mapping[str, int],
    queries: int,
    encoded: Mapping[str, Encoded],
) -> Batch:
    """Return a batch of scenes, of each data `counts` observations for the senses and then `queries` for the tasks.

    Args:
        drawn: the number of each scene, and the seed by which its views are drawn.
        encoded: senses whose observations were encoded beforehand.
    """
    lengths = {data: scenes.observations(data) for data in {*asked.senses.values(), *asked.tasks.values()}}
    # Data of one length may be of the same poses (frames and their depth): no query may be what another sense has seen.
    first = {
        data: max((count for other, count in counts.items() if lengths.get(other) == length), default=0)
        for data, length in lengths.items()
    }
    chosen = [
        {
            data: np.random.default_rng(seed).permutation(length)[: first[data] + queries].tolist()
            for data, length in lengths.items()
        }
        for _, seed in drawn
    ]
    numbers = [scene for scene, _ in drawn]
    shown = {data for name, data in asked.senses.items() if name not in encoded}
    observed: dict[str, Views | None] = {}
    for data in shown | {data for data in asked.tasks.values() if lengths[data]}:
        # One visit to a scene for all that is read of it: those for the senses, those for the tasks, or both.
        part = slice(0 if data in shown else first[data], None if data in asked.tasks.values() else counts[data])
        observed[data] = stack_known(
            [scenes.observe(data, scene, places[data][part]) for scene, places in zip(numbers, chosen, strict=True)]
        )

    senses: dict[str, Views | None] = {}
    for name, data in asked.senses.items():
        if name in encoded:
            senses[name] = beforehand(encoded[name], numbers, [places[data][: counts[data]] for places in chosen])
        else:
            senses[name] = (views := observed[data]) and views.part(slice(counts[data]))
    tasks: dict[str, Views | None] = {}
    for name, data in asked.tasks.items():
        if lengths[data]:
            tasks[name] = (views := observed[data]) and views.part(slice(first[data] if data in shown else 0, None))
        else:
            answers = [scenes.answer(data, scene) for scene in numbers]
            tasks[name] = stack_known([None if a is None else (a[None], torch.zeros(1, 0)) for a in answers])
    return Batch(*({n: v for n, v in views.items() if v is not None} for views in (senses, tasks)))


def beforehand(encoded: Encoded, numbers: Sequence[int], places: Sequence[list[int]]) -> EncodedViews:
    """Return the observations at `places` of each scene as a sense encoded them beforehand."""
    features = torch.stack([encoded.features[scene, place] for scene, place in zip(numbers, places, strict=True)])
    present = encoded.present[list(numbers)][:, None].expand(*features.shape[:2])
    return EncodedViews(features, features.new_zeros(*features.shape[:2], 0), None if present.all() else present)


def stack_known(found: Sequence[tuple[Tensor, Tensor] | None]) -> Views | None:
    """Return the known answers stacked, with zeros and a mask for unknown ones; None where all are unknown."""
    known = [one for one in found if one is not None]
    if not known:
        return None
    blank = torch.zeros_like(known[0][0]), torch.zeros_like(known[0][1])
    frames, cameras = (torch.stack(part) for part in zip(*(one or blank for one in found), strict=True))
    if len(known) == len(found):
        return Views(frames, cameras)
    present = torch.tensor([one is not None for one in found])[:, None].expand(*cameras.shape[:2])
    return Views(frames, cameras, present)


def check_data(scenes: Scenes, asked: Asked, context: int, queries: int, option: str) -> None:
    """Raise Error where there are no scenes, they lack the data or have too few; option: what sets the context."""
    if not len(scenes):
        raise Error(
            "the dataset has no scenes: its record files hold none that is whole, see torch/conversion.json in it"
        )
    for name, data in {**asked.senses, **asked.tasks}.items():
        have = scenes.observations(data)
        if not have and name in asked.tasks:
            continue
        read = context if any(scenes.observations(sensed) == have for sensed in asked.senses.values()) else 0
        need = read + (queries if data in asked.tasks.values() else 0)
        if have < need:
            raise Error(
                f"'{name}' needs {need} observations of '{data}' a scene; the dataset has {have}: "
                f"lower {option} or --queries, or name other data in the graph"
            )
