"""A trained network under examination: the scenes, the options, and the processes that share the work."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from gqn.core.checked import fits
from gqn.core.distributed import Processes
from gqn.core.views import Views
from gqn.data.batches import Asked, EvaluationBatch, evaluation_batch, pieces
from gqn.data.labelled_scenes import LabelledScenes
from gqn.models.generator import Generator
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.scenes.family import Family
from gqn.scenes.shepard_metzler import ShepardMetzler
from gqn.training.config import check_options, check_types
from gqn.training.validation import shared_out

# Plain values for the report, and pictures by name: a figure, or the frames (n, c, h, w) of one that moves.
Picture = Figure | Tensor
Findings = tuple[dict[str, Any], dict[str, Picture]]

NO_OBJECTS = {"left_out": "the trials are Shepard-Metzler objects of four parts or more, the dataset's scenes are not"}


@dataclass(frozen=True)
class Options:
    """Options of an evaluation: how many scenes, samples and trials it takes."""

    context: int = 3
    """Context views of all that is not against their number."""
    most_context: int = 5
    """Most context views where figures are given against their number, from 0 on."""
    samples: int = 16
    """Prior samples of a view."""
    draws: int = 100
    """Posterior draws of a view, for the likelihood."""
    fewer_draws: int = 10
    """Posterior draws of a view for other numbers of context views than --context."""
    importance: tuple[int, ...] = (1, 10, 100)
    """Importance samples K of the bounds; each divides the draws. What does not divide the fewer is left out there."""
    trials: int = 96
    """Trials of each kind that are drawn for the purpose, where the dataset is of Shepard-Metzler objects."""
    probe_scenes: int = 2000
    """Training scenes from which the probes of the representation learn."""
    limit: int | None = None
    """First held-out scenes to evaluate; all where not given."""
    batch: int = 32
    """Scenes at a time."""
    seed: int = 0
    """Seed of the views and the noise."""

    def __post_init__(self) -> None:
        check_types(self)
        checks = [
            ("context", 1 <= self.context <= self.most_context, "from 1 to most-context"),
            ("samples", self.samples > 1, "at least 2"),
            ("draws", self.draws > 0, "at least 1"),
            ("fewer_draws", self.fewer_draws > 0, "at least 1"),
            (
                "importance",
                all(fits(k, int) and k > 0 and self.draws % k == 0 for k in self.importance),
                "divisors of draws",
            ),
            ("trials", self.trials > 1, "at least 2"),
            ("probe_scenes", self.probe_scenes > 9, "at least 10"),
            ("limit", self.limit is None or self.limit > 0, "at least 1"),
            ("batch", self.batch > 0, "at least 1"),
            ("seed", 0 <= self.seed < 2**63, "from 0 to less than 2**63"),
        ]
        check_options(checks)


@dataclass(frozen=True)
class Subject:
    """A trained network, and the scenes and options by which it is examined."""

    network: RecursiveGQN  # of one sense and a task that renders
    untrained: RecursiveGQN  # the same before it learned anything
    asked: Asked
    scenes: LabelledScenes
    baseline: Tensor  # mean image of the training scenes, (3, h, w)
    sigma: float  # of the pixels, as the network was trained at last
    options: Options
    processes: Processes
    dataset: Path
    family: Family | None  # that the scenes were drawn by, if they were

    @property
    def total(self) -> int:
        return len(self.scenes) if self.options.limit is None else min(self.options.limit, len(self.scenes))

    @property
    def generator(self) -> Generator:
        """The generator of the task that renders."""
        (task,) = self.asked.tasks
        return cast(Render, self.network.nodes[task]).generator

    def informed(self, context: Views, query: Views) -> Tensor | None:
        """Return r of context and query together, for a generator whose posterior takes it; else None."""
        ((sense,), (task,)) = self.asked.senses, self.asked.tasks
        return self.network.informed(task, {sense: context}, query)

    @property
    def objects(self) -> ShepardMetzler | None:
        """The world, where its scenes are objects of which trials can be made: three parts lie in one plane."""
        return self.family if isinstance(self.family, ShepardMetzler) and self.family.parts > 3 else None

    def batch(self, numbers: range) -> EvaluationBatch:
        """Return scenes with as many context views as are ever shown, and one query view; on the device."""
        options = self.options
        item = evaluation_batch(
            self.scenes, self.asked, numbers, self.total, context=options.most_context, seed=options.seed
        )
        return item.to(self.processes.device)

    def over_scenes(self, work: Callable[[range], dict[str, Tensor]], title: str) -> dict[str, Tensor]:
        """Return the rows of `work` for all scenes."""
        return shared_out(
            self.processes, pieces(self.total, self.options.batch), work, seed=self.options.seed, title=title
        )

    def over_trials(self, work: Callable[[np.random.Generator], dict[str, Tensor]], title: str) -> dict[str, Tensor]:
        """Return the rows of `work` for all trials, each with a random state of its own."""
        states = [np.random.default_rng([self.options.seed, number]) for number in range(self.options.trials)]
        return shared_out(self.processes, states, work, seed=self.options.seed, title=title)
