"""Batches for a graph: what its senses observe and what its tasks are asked, as a function of the step.

A sense and a task name their data. Of data that are observed (frames, touch), a scene gives context to senses and
queries to tasks, and no query lies among the context; data that are an answer are asked once a scene, without a query.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gqn.core.views import EncodedViews, GraphBatch, Views
from gqn.data.batches import StepBatches, pieces


class GraphScenes(Protocol):
    """Scenes of which data are asked for by name."""

    def __len__(self) -> int: ...

    def observations(self, data: str) -> int:
        """How many a scene has; 0 where the data are an answer. Raises ValueError for data that there are not."""
        ...

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Some observations (n, ...) of a scene and their poses (n, k); None where this scene has none."""
        ...

    def answer(self, data: str, scene: int) -> Tensor | None:
        """The answer (...) of a scene; None where it is not known."""
        ...


class Asked(NamedTuple):
    """What a graph wants of scenes: the data of senses and of tasks, by name."""

    senses: Mapping[str, str]
    tasks: Mapping[str, str]


class Encoded(NamedTuple):
    """What a sense made of all observations of all scenes beforehand."""

    features: Tensor  # (scenes, n, c, h, w)
    present: Tensor  # (scenes,), False where a scene has none


class GraphBatches(StepBatches[GraphBatch]):
    """What the senses of a graph observe of scenes, and what its tasks are asked.

    context_views: fewest and most observations; a number is drawn a step and data, for all processes alike.
    queries: queries a scene of each task whose data are observed. alternate: ask one task a step, in turn.
    Attribute `encoded`: senses that were encoded beforehand, by name.
    Raises ValueError where scenes have no such data or too few, and as `StepBatches`.
    """

    def __init__(
        self,
        scenes: GraphScenes,
        asked: Asked,
        *,
        batch: int,
        context_views: tuple[int, int],
        queries: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        alternate: bool = False,
    ) -> None:
        super().__init__(scenes, batch=batch, seed=seed, rank=rank, processes=processes)
        check_data(scenes, asked, context_views[1], queries, "--context-views")
        self.scenes, self.asked, self.context_views, self.queries = scenes, asked, context_views, queries
        self.alternate = alternate
        self.encoded: Mapping[str, Encoded] = {}

    def __getitem__(self, step: int) -> GraphBatch:
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


class GraphEvaluationBatch(NamedTuple):
    """Held-out scenes first, first + 1, ... and, as a control, what another scene shows to the senses."""

    first: int
    batch: GraphBatch
    foreign: Mapping[str, Views]


def graph_evaluation_batches(
    scenes: GraphScenes,
    asked: Asked,
    *,
    batch: int,
    context: int | Mapping[str, int],
    seed: int,
    limit: int | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[GraphEvaluationBatch]:
    """The first `limit` scenes in order, each with observations that depend on the seed and the scene alone.

    context: observations of each sense, or by data. A task whose data are observed gets one query. The foreign scene is
    the next one, the first for the last. The batches are dealt to the processes in turn; those of `rank` are read.
    """
    kinds = set(asked.senses.values())
    counts = dict.fromkeys(kinds, context) if isinstance(context, int) else context
    check_data(scenes, asked, max(counts.values(), default=0), 1, "--evaluation-context")
    total = len(scenes) if limit is None else min(limit, len(scenes))
    for numbers in pieces(total, batch)[rank::processes]:
        own, foreign = (
            gather(scenes, asked, [(n % total, [seed, n % total]) for n in chosen], counts, 1, {})
            for chosen in (numbers, [number + 1 for number in numbers])
        )
        yield GraphEvaluationBatch(numbers.start, own, foreign.senses)


def gather(
    scenes: GraphScenes,
    asked: Asked,
    drawn: Sequence[tuple[int, Sequence[int]]],
    counts: Mapping[str, int],
    queries: int,
    encoded: Mapping[str, Encoded],
) -> GraphBatch:
    """A batch of scenes, each by its number and a seed: of each data so many observations for senses, then queries."""
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

    def observed(data: str, part: slice) -> Views | None:
        found = [
            scenes.observe(data, scene, places[data][part]) for (scene, _), places in zip(drawn, chosen, strict=True)
        ]
        return stack_known(found)

    senses: dict[str, Views | None] = {}
    for name, data in asked.senses.items():
        count = counts[data]
        if name in encoded:
            known = encoded[name]
            features = torch.stack(
                [known.features[s, p[data][:count]] for (s, _), p in zip(drawn, chosen, strict=True)]
            )
            poses = features.new_zeros(*features.shape[:2], 0)
            present = known.present[[scene for scene, _ in drawn]][:, None].expand(*features.shape[:2])
            senses[name] = EncodedViews(features, poses, None if present.all() else present)
        else:
            senses[name] = observed(data, slice(count))
    tasks: dict[str, Views | None] = {}
    for name, data in asked.tasks.items():
        if lengths[data]:
            tasks[name] = observed(data, slice(first[data], None))
        else:
            answers = [scenes.answer(data, scene) for scene, _ in drawn]
            tasks[name] = stack_known([None if a is None else (a[None], torch.zeros(1, 0)) for a in answers])
    return GraphBatch(*({n: v for n, v in views.items() if v is not None} for views in (senses, tasks)))


def stack_known(found: Sequence[tuple[Tensor, Tensor] | None]) -> Views | None:
    """What is known of scenes as one, with zeros and a mask for those of which nothing is; None where nothing is."""
    known = [one for one in found if one is not None]
    if not known:
        return None
    blank = torch.zeros_like(known[0][0]), torch.zeros_like(known[0][1])
    frames, cameras = (torch.stack(part) for part in zip(*(one or blank for one in found), strict=True))
    if len(known) == len(found):
        return Views(frames, cameras)
    present = torch.tensor([one is not None for one in found])[:, None].expand(*cameras.shape[:2])
    return Views(frames, cameras, present)


def check_data(scenes: GraphScenes, asked: Asked, context: int, queries: int, option: str) -> None:
    """Raises ValueError where scenes lack the data or have too few of them; option: what sets the context."""
    for name, data in {**asked.senses, **asked.tasks}.items():
        have = scenes.observations(data)
        if not have and name in asked.tasks:
            continue
        read = context if any(scenes.observations(sensed) == have for sensed in asked.senses.values()) else 0
        need = read + (queries if data in asked.tasks.values() else 0)
        if have < need:
            raise ValueError(
                f"'{name}' needs {need} observations of '{data}' a scene; the dataset has {have}: "
                f"lower {option} or --queries, or name other data in the graph"
            )
