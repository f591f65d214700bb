"""The transfer protocol: how many steps, or labelled scenes, a task costs under each condition.

A *cell* is a condition, a task, a number of labelled scenes, a learning rate and a seed. Each is one short run, whose
learning curve is one line of a file of results; a run that is in the file is not made again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import dacite
import numpy as np
import torch
import yaml
from torch import Tensor

from gqn.core.distributed import processes
from gqn.core.files import append_json_line, read_json_lines
from gqn.core.provenance import provenance
from gqn.data.task_scenes import TaskScenes
from gqn.models.graph import RecursiveGQN
from gqn.scenes.arm import TASKS
from gqn.studies.conditions import CONDITIONS, Condition, Standard, Workbench, add_head, chosen_scenes, gather, learn
from gqn.training import checkpoint
from gqn.training.config import check_options
from gqn.training.trainer import computes_in_bfloat16

ALL = 0  # labelled scenes: as many as there are
COSTLY = ("grasp",)  # tasks whose answers are carried out by physics: for the last answers and few scenes only
VIEWS_SEED = 0  # which views of the held-out scenes are shown


class TransferError(ValueError):
    """An experiment that can't be done; the message says what to change."""


class Cell(NamedTuple):
    """One run of an experiment."""

    condition: str
    task: str
    labelled: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Experiment:
    """Which cells to run and how, and which conditions to compare."""

    conditions: dict[str, list[float]]
    """Learning rates of Adam by condition (`gqn.studies.conditions.CONDITIONS`); several where they are tuned."""
    tasks: list[str]
    """Names of `gqn.scenes.arm.TASKS`."""
    seeds: list[int]
    """Of the networks' weights, of the batches and of the choice of labelled scenes."""
    pauses: list[int]
    """Steps after which a run is evaluated; the last one ends it."""
    labelled: list[int] = field(default_factory=lambda: [ALL])
    """Numbers of labelled scenes; 0 for all."""
    batch: int = 32
    """Scenes a step."""
    context: int = 3
    """Views of a scene."""
    held_out: int = 250
    """Scenes on which a run is evaluated."""
    executed: int = 24
    """Scenes of them in which the last answers of a task that needs physics are carried out."""
    second_steps: int = 2000
    """Steps of training a second layer."""
    second_learning_rate: float = 1e-3
    """Its learning rate."""
    autoencoder_steps: int = 2000
    """Steps of training the autoencoder."""
    thresholds: list[float] = field(default_factory=lambda: [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    """Errors to get below, as shares of the error of an answer that looks at nothing."""
    compare: list[list[str]] = field(default_factory=list)
    """Pairs of conditions, of which the first may save steps over the second."""

    def __post_init__(self) -> None:
        for kind, names, known in (("condition", self.conditions, CONDITIONS), ("task", self.tasks, TASKS)):
            for name in names:
                if name not in known:
                    raise TransferError(f"no {kind} '{name}': there are {', '.join(known)}")
        for name in (name for pair in self.compare for name in pair):
            if name not in self.conditions:
                raise TransferError(f"compare: '{name}' is no condition of it: there are {', '.join(self.conditions)}")
        check_options(
            [
                ("seeds", len(set(self.seeds)) == len(self.seeds) > 0, "different numbers"),
                ("pauses", self.pauses == sorted(set(self.pauses)) and len(self.pauses) > 1, "two or more, rising"),
                ("labelled", all(count >= 0 for count in self.labelled) and bool(self.labelled), "0 or more"),
                ("compare", all(len(pair) == 2 for pair in self.compare), "pairs of conditions"),
            ]
        )

    def cells(self) -> list[Cell]:
        """All runs, in an order in which those that share something follow one another."""
        return [
            Cell(condition, task, labelled, rate, seed)
            for seed in self.seeds
            for condition, rates in self.conditions.items()
            for rate in rates
            for labelled in self.labelled
            for task in self.tasks
        ]

    def scalars(self) -> dict[str, Any]:
        """What all its runs share, as their lines tell it."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}


def read_experiment(path: Path) -> Experiment:
    """An experiment of a YAML file. Raises TransferError, in one line."""
    try:
        return dacite.from_dict(Experiment, yaml.safe_load(path.read_text()), dacite.Config(strict=True))
    except (OSError, yaml.YAMLError, dacite.DaciteError, TypeError, ValueError) as error:
        raise TransferError(f"{path}: no experiment: {' '.join(str(error).split())}") from None


def read_results(path: Path, experiment: Experiment, layer_1: str | None = None) -> dict[Cell, dict[str, Any]]:
    """The runs of a file of results, a line each; none where there is no file.

    layer_1: the checksum that the runs' layer 1 should have, by default that of any one. Raises TransferError for runs
    of another experiment or layer 1, as far as their lines tell, so that no table mixes two.
    """
    runs = {Cell(*(run[name] for name in Cell._fields)): run for run in read_json_lines(path)}
    wanted = experiment.scalars() | {"pauses": experiment.pauses}
    for run in runs.values():
        told = run.get("experiment", {}) | {"pauses": run["steps"]}  # old lines tell their steps alone
        layer_1 = layer_1 or run.get("layer_1_sha256")
        other = [name for name, value in told.items() if value != wanted.get(name)]
        other += ["layer 1"] * (run.get("layer_1_sha256", layer_1) != layer_1)
        if other:
            raise TransferError(
                f"{path} holds runs of other {', '.join(other)}: give the experiment's file another name"
            )
    return runs


class Laboratory:
    """The scenes, a trained layer 1, and the runs that are made of them.

    scenes, held_out: with answers of all tasks, since a second layer learns from the others. layer_1: a graph with a
    sense "vision"; layer_1_seconds: of its training; layer_1_sha256: of its file, where there is one.
    """

    def __init__(
        self,
        experiment: Experiment,
        scenes: TaskScenes,
        held_out: TaskScenes,
        layer_1: RecursiveGQN,
        layer_1_seconds: float,
        layer_1_sha256: str | None = None,
    ) -> None:
        self.experiment, self.scenes, self.held_out = experiment, scenes, held_out
        self.layer_1_sha256 = layer_1_sha256
        views = scenes.frames.shape[1]
        if experiment.context > views:
            raise TransferError(f"{experiment.context} context views of scenes that have {views}: lower context")
        if max(experiment.labelled) > len(scenes):
            raise TransferError(f"{max(experiment.labelled)} labelled scenes of {len(scenes)}: lower labelled")
        with processes("cpu") as group:
            self.about = provenance(group)
        self.bfloat16 = computes_in_bfloat16("auto", torch.device("cpu"))
        self.bench = Workbench(
            layer_1,
            scenes,
            layer_1_seconds=layer_1_seconds,
            second_steps=experiment.second_steps,
            second_learning_rate=experiment.second_learning_rate,
            autoencoder_steps=experiment.autoencoder_steps,
            batch=experiment.batch,
            context=experiment.context,
            bfloat16=self.bfloat16,
        )
        count = min(experiment.held_out, len(held_out))
        self.seen = torch.arange(count)
        random = torch.Generator().manual_seed(VIEWS_SEED)
        self.views = torch.rand(count, views, generator=random).argsort(dim=1)[:, : experiment.context]

    @classmethod
    def open(cls, experiment: Experiment, data: Path, layer_1: Path, work: Path) -> "Laboratory":
        """data: a drawn dataset of the arm; layer_1: a run or checkpoint; work: a folder that keeps true answers."""
        scenes, held_out = (TaskScenes.read(data, split, list(TASKS), work) for split in ("train", "test"))
        file = checkpoint.found(layer_1)
        seconds, digest = checkpoint.read(file)["seconds"], sha256(file.read_bytes()).hexdigest()
        return cls(experiment, scenes, held_out, checkpoint.load_graph(file), seconds, digest)

    def run(self, cell: Cell) -> dict[str, Any]:
        """Make one run: what its line of the results says."""
        experiment, condition, task = self.experiment, CONDITIONS[cell.condition], cell.task
        graph, reads = self.bench.graph(condition, task, cell.seed)
        pretraining = self.bench.seconds_before(condition, task, cell.seed)
        answers = self.scenes.answers[task]
        chosen = chosen_scenes(len(answers), cell.labelled or len(answers), cell.seed)
        standard = Standard.of(answers[chosen])
        targets = standard.apply(answers)
        if condition.shuffled == "answers":
            targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(cell.seed))]
        draw = self.bench.draw(condition, {task: targets}, cell.seed, chosen)
        torch.manual_seed(cell.seed)
        add_head(graph, task, reads, targets.shape[1], condition.hidden)
        curve: list[dict[str, float]] = []
        begun, seconds = time.monotonic(), 0.0

        def pause() -> None:
            nonlocal begun, seconds
            seconds += time.monotonic() - begun
            curve.append(self.examine(graph, condition, task, standard, cell.seed))
            begun = time.monotonic()

        learn(
            graph, draw, steps=experiment.pauses[-1], learning_rate=cell.learning_rate, bfloat16=self.bfloat16,
            pauses=experiment.pauses, pause=pause,
        )  # fmt: skip
        result = cell._asdict() | {
            "steps": experiment.pauses,
            **{name: [round(point[name], 5) for point in curve] for name in curve[0]},
            "constant_error_cm": round(self.constant_error(task, standard), 5),
        }
        if task in COSTLY:
            result["executed"] = self.execute(graph, condition, task, standard, cell.seed)
        parameters = sum(p.numel() for p in graph.parameters() if p.requires_grad)
        return result | {
            "seconds": round(seconds, 2),
            "pretraining_seconds": round(pretraining, 1),
            "parameters": parameters,
            "experiment": experiment.scalars(),
            "layer_1_sha256": self.layer_1_sha256,
            **{key: self.about[key] for key in ("commit", "time", "device", "threads")},
        }

    @torch.no_grad()
    def answer(
        self, graph: RecursiveGQN, condition: Condition, task: str, standard: Standard, seed: int
    ) -> tuple[Tensor, Tensor]:
        """What a graph answers of the held-out scenes and what is true, standardised, (n, numbers) each."""
        features = self.bench.features(condition, self.held_out, seed)
        targets = {task: standard.apply(self.held_out.answers[task])}
        found = []
        for part in self.seen.split(50):
            batch = gather(self.held_out, condition, targets, features, part, self.views[part])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                found.append(graph(batch)[task].mean[:, 0].float())
        return torch.cat(found), targets[task][self.seen]

    def examine(
        self, graph: RecursiveGQN, condition: Condition, task: str, standard: Standard, seed: int
    ) -> dict[str, float]:
        """Errors on held-out scenes: the mean in centimetres, the share of successes, and of unexplained variance."""
        answered, truth = self.answer(graph, condition, task, standard, seed)
        known = truth.isfinite().all(dim=1)
        unexplained = (answered - truth)[known].square().mean().item() / truth[known].square().mean().item()
        errors, successes = self.score(task, standard.undo(answered))
        return {"error_cm": errors, "success": successes, "unexplained": unexplained}

    def score(self, task: str, learned: Tensor) -> tuple[float, float]:
        """Mean error in centimetres and share of successes of answers (n, numbers) to the held-out scenes.

        Of a grasp, how far the answer's place is from the true answer's, and how often that is below 5 cm: whether it
        holds is for physics to say.
        """
        outcomes = []
        for number, numbers in enumerate(learned.double().numpy()):
            labels = self.held_out.labels[number]
            if task in COSTLY:
                true = self.held_out.answers[task][number, :3].double().numpy()
                if np.isfinite(true).all():
                    away = float(np.linalg.norm(numbers[:3] - true))
                    outcomes.append((away, away < 0.05))
                continue
            outcome = TASKS[task].execute(labels, TASKS[task].decode(numbers))
            outcomes.append((outcome.error, outcome.success))
        errors, successes = np.array(outcomes, float).T
        return 100 * float(errors.mean()), float(successes.mean())

    def constant_error(self, task: str, standard: Standard) -> float:
        """The error of the mean answer, which looks at nothing."""
        return self.score(task, standard.mean.expand(len(self.seen), -1))[0]

    def execute(
        self, graph: RecursiveGQN, condition: Condition, task: str, standard: Standard, seed: int
    ) -> dict[str, float | None]:
        """The outcome of answers that physics carries out; impossible ones are failures without a distance."""
        answered, _ = self.answer(graph, condition, task, standard, seed)
        count = min(self.experiment.executed, len(answered))
        outcomes = [
            TASKS[task].execute(self.held_out.labels[number], TASKS[task].decode(numbers))
            for number, numbers in enumerate(standard.undo(answered[:count]).double().numpy())
        ]
        errors = np.array([outcome.error for outcome in outcomes])
        possible = errors[np.isfinite(errors)]
        return {
            "scenes": count,
            "success": float(np.mean([outcome.success for outcome in outcomes])),
            "possible": len(possible) / count,
            "median_error_cm": 100 * float(np.median(possible)) if len(possible) else None,
        }

    def make(self, cells: Sequence[Cell], results: Path) -> Iterator[dict[str, Any]]:
        """Make the runs that the file of results lacks, and append each as it ends; several processes may share it."""
        for cell in cells:
            if cell in read_results(results, self.experiment, self.layer_1_sha256):
                continue
            run = self.run(cell)
            append_json_line(results, run)
            yield run
