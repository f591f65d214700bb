"""The transfer study: how many steps, or labelled scenes, a task costs under each condition."""

import time
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor

from gqn.core.errors import unknown
from gqn.core.modes import evaluating
from gqn.data.task_scenes import TaskScenes
from gqn.models.graph import RecursiveGQN
from gqn.scenes.arm import TASKS
from gqn.studies.runner import Line, Study, StudyError, choose, load_layer_1, read_experiment
from gqn.studies.transfer import report
from gqn.studies.transfer.experiment import CONDITIONS, Cell, Condition, Experiment
from gqn.studies.transfer.workbench import (
    VISION,
    Standard,
    Trained,
    Workbench,
    add_head,
    chosen_scenes,
    fixed_views,
    is_volume,
    learn,
)
from gqn.training import checkpoint
from gqn.training.setup import computes_in_bfloat16
from gqn.training.sharing import save

COSTLY = ("grasp",)  # tasks whose answers are carried out by physics: for the last answers and few scenes only


class Laboratory:
    """The scenes, a trained layer 1, and the runs that are made of them.

    Args:
        experiment: What is run.
        scenes, held_out: With answers to the tasks, to all where there are second layers, which learn from the others.
        layer_1: A graph with a sense `vision`, and the seconds of its training.
    """

    def __init__(self, experiment: Experiment, scenes: TaskScenes, held_out: TaskScenes, layer_1: Trained) -> None:
        self.experiment, self.scenes, self.held_out = experiment, scenes, held_out
        views = scenes.frames.shape[1]
        if experiment.context > views:
            raise StudyError(f"{experiment.context} context views of scenes that have {views}: lower context")
        if max(experiment.labelled) > len(scenes):
            raise StudyError(f"{max(experiment.labelled)} labelled scenes of {len(scenes)}: lower labelled")
        self.bfloat16 = computes_in_bfloat16("auto", torch.device("cpu"))
        self.bench = Workbench(experiment, scenes, layer_1, self.bfloat16)
        if is_volume(self.bench.layer_1, VISION) and experiment.autoencoders():
            raise StudyError("layer 1 is a volume, and an autoencoder's picture is read from a grid: leave it out")
        self.seen = torch.arange(min(experiment.held_out, len(held_out)))
        self.views = fixed_views(held_out, experiment.context)

    @classmethod
    def open(cls, experiment: Experiment, data: Path, layer_1: Path, work: Path) -> "Laboratory":
        """Return the laboratory of a drawn dataset of the arm and a run or checkpoint; `work` keeps true answers."""
        tasks = list(TASKS) if experiment.second_layers() else experiment.tasks
        scenes, held_out = (TaskScenes.read(data, split, tasks, work) for split in ("train", "test"))
        trained = Trained(load_layer_1(layer_1), checkpoint.read(layer_1)["seconds"])
        return cls(experiment, scenes, held_out, trained)

    def run(self, cell: Cell) -> Line:
        """Make one run and return its result."""
        condition, task, pauses = CONDITIONS[cell.condition], cell.task, self.experiment.pauses
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
        add_head(graph, task, reads, standard, condition.hidden)
        exam = Exam(self, graph, condition, task, standard, cell.seed)
        curve: list[dict[str, float]] = []
        begun, examining = time.monotonic(), 0.0

        def pause(step: int) -> None:
            nonlocal examining
            if step in pauses:
                paused = time.monotonic()
                curve.append(exam.marks())
                examining += time.monotonic() - paused

        rate, warm_up = cell.learning_rate, self.experiment.warm_up
        learn(graph, draw, steps=pauses[-1], learning_rate=rate, warm_up=warm_up, bfloat16=self.bfloat16, pause=pause)
        seconds = time.monotonic() - begun - examining
        return {
            "steps": pauses,
            **{name: [round(point[name], 5) for point in curve] for name in curve[0]},
            "constant_error_cm": round(exam.constant_error(), 5),
            **({"executed": exam.execute()} if task in COSTLY else {}),
            "seconds": round(seconds, 2),
            "pretraining_seconds": round(pretraining, 1),
            "parameters": sum(p.numel() for p in graph.parameters() if p.requires_grad),
        }


@dataclass(frozen=True)
class Exam:
    """Examination of a graph that learns a task: its answers for the held-out scenes and their errors."""

    laboratory: Laboratory
    graph: RecursiveGQN
    condition: Condition
    task: str
    standard: Standard
    seed: int

    @torch.no_grad()
    def answers(self) -> tuple[Tensor, Tensor]:
        """Return the graph's answers and the true ones, standardised, (n, numbers) each."""
        lab = self.laboratory
        truth = self.standard.apply(lab.held_out.answers[self.task])
        draw = lab.bench.draw(self.condition, {self.task: truth}, self.seed, scenes=lab.held_out)
        found = []
        with evaluating(self.graph):
            for part in lab.seen.split(50):
                batch = draw.batch_of(part, lab.views[part])
                with torch.autocast("cpu", torch.bfloat16, enabled=lab.bfloat16):
                    found.append(self.graph(batch)[self.task].mean[:, 0].float())
        return torch.cat(found), truth[lab.seen]

    def marks(self) -> dict[str, float]:
        """Return the mean error in centimetres, and the shares of successes and of unexplained variance."""
        answered, truth = self.answers()
        known = truth.isfinite().all(dim=1)
        unexplained = (answered - truth)[known].square().mean().item() / truth[known].square().mean().item()
        error, success = self.score(self.standard.undo(answered))
        return {"error_cm": error, "success": success, "unexplained": unexplained}

    def score(self, learned: Tensor) -> tuple[float, float]:
        """Return the mean error in centimetres and the share of successes of answers (n, numbers).

        Of a grasp, the distance of the answer's place from the true answer's, and how often that is below 5 cm:
        whether it holds is for physics to say.
        """
        outcomes, task, held_out = [], TASKS[self.task], self.laboratory.held_out
        for number, numbers in enumerate(learned.double().numpy()):
            if self.task in COSTLY:
                true = held_out.answers[self.task][number, :3].double().numpy()
                if np.isfinite(true).all():
                    away = float(np.linalg.norm(numbers[:3] - true))
                    outcomes.append((away, away < 0.05))
                continue
            outcome = task.execute(held_out.labels[number], task.decode(numbers))
            outcomes.append((outcome.error, outcome.success))
        errors, successes = np.array(outcomes, float).T
        return 100 * float(errors.mean()), float(successes.mean())

    def constant_error(self) -> float:
        """Return the error of the mean answer, which looks at nothing."""
        return self.score(self.standard.mean.expand(len(self.laboratory.seen), -1))[0]

    def execute(self) -> dict[str, float | None]:
        """Return the outcome of answers that physics carries out; impossible ones are failures without a distance."""
        answered, _ = self.answers()
        count, task = min(self.laboratory.experiment.executed, len(answered)), TASKS[self.task]
        outcomes = [
            task.execute(self.laboratory.held_out.labels[number], task.decode(numbers))
            for number, numbers in enumerate(self.standard.undo(answered[:count]).double().numpy())
        ]
        errors = np.array([outcome.error for outcome in outcomes])
        possible = errors[np.isfinite(errors)]
        return {
            "scenes": count,
            "success": float(np.mean([outcome.success for outcome in outcomes])),
            "possible": len(possible) / count,
            "median_error_cm": 100 * float(np.median(possible)) if len(possible) else None,
        }


@dataclass
class Transfer(Study[Cell]):
    """Measure whether what one task taught makes another cheaper."""

    file: tyro.conf.Positional[Path]
    """A YAML file of `gqn.studies.transfer.experiment.Experiment`."""
    data: Path | None = None
    """Converted dataset of the arm, drawn by scripts/generate-scenes.py."""
    layer_1: Path | None = None
    """Run or checkpoint trained on it by rendering alone; layer-1.pt beside FILE where none is given."""
    work: Path = Path("runs/transfer")
    """Keeps true answers."""
    conditions: tuple[str, ...] = ()
    """Only these."""
    tasks: tuple[str, ...] = ()
    """Only these."""
    seeds: tuple[int, ...] = ()
    """Only these."""

    cell = Cell
    unit = "error, of a constant answer's"
    tolerance = 0.1  # rounding differs by processor, and learning magnifies it

    @cached_property
    def plan(self) -> Experiment:
        """The experiment of the file."""
        return read_experiment(self.file, Experiment)

    @property
    def trained(self) -> Path:
        """The file of layer 1."""
        return checkpoint.found(self.layer_1 or self.file.with_name("layer-1.pt"))

    @cached_property
    def checksum(self) -> str:
        """The checksum of layer 1, of which every line of results is asked again before each run."""
        return sha256(self.trained.read_bytes()).hexdigest()

    @cached_property
    def laboratory(self) -> Laboratory:
        """The laboratory, opened before the first run, and not for a report alone."""
        if self.data is None:
            raise StudyError("runs need a dataset of the arm: name it by --data")
        return Laboratory.open(self.plan, self.data, self.trained, self.work)

    def chosen(self) -> list[Cell]:
        return choose(self, condition=self.conditions, task=self.tasks, seed=self.seeds)

    def cells(self) -> list[Cell]:
        return self.plan.cells()

    def experiment(self, cell: Cell) -> dict[str, Any]:
        """Return the numbers that all runs share and, unless only a report is asked for, the checksum of layer 1."""
        if self.data is None and self.layer_1 is None:
            return self.plan.shared()
        return {**self.plan.shared(), "layer_1_sha256": self.checksum}

    def open(self) -> None:
        _ = self.laboratory

    def run(self, cell: Cell) -> Line:
        return self.laboratory.run(cell)

    def curve(self, line: Line) -> list[float]:
        return report.relative(line)

    def table(self, known: dict[Cell, Line]) -> str:
        return report.report(self.plan, known)

    def figure(self, known: dict[Cell, Line]) -> Figure | None:
        """Return the learning curves, None where learning rates are tuned."""
        return None if self.plan.tuned() else report.curves(self.plan, known)


def keep_layer_2(study: Transfer, task: str, folder: Path) -> str:
    """Train a second layer for the other tasks than `task`, write it, and return a line about it."""
    if task not in TASKS:
        raise StudyError(f"--keep-layer-2: {unknown('task', task, TASKS)}")
    kept = study.laboratory.bench.second_layer(CONDITIONS["layer-2"], task, study.plan.seeds[0])
    save(kept.graph, folder, run=study.trained)
    return f"{folder}: a second layer that was trained for other tasks than {task}, in {kept.seconds:.0f} s"
