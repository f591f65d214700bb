"""Recipes for a GQN against each other at equal time: which of them learns to use its context, and how soon.

Seconds depend on what else a machine does, steps do not. So the seconds of a step are measured once for all recipes,
with nothing else running (`step_seconds`), and a recipe gets as many steps as fit in the study's minutes: its curve is
the same whatever runs beside it.
"""

import json
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gqn.core.distributed import processes
from gqn.core.tables import NONE, table
from gqn.figures import curves as charts
from gqn.studies.comparison import spread
from gqn.studies.runner import Line, Study, StudyError, flat, plain
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, from_dict, to_dict
from gqn.training.trainer import METRICS, Trainer, train

WARM_UP, TIMED = 4, 12  # steps before, and of, the measurement
USED = 1.0  # dB of context gain from which the context counts as used


@dataclass(frozen=True)
class Experiment:
    """A file of recipes."""

    minutes: float
    """Of training."""
    recipes: dict[str, dict[str, Any]]
    """By name: a preset, what differs from it as in `gqn.training.config`, and minutes where it has its own."""
    seeds: tuple[int, ...] = (0, 1, 2)
    every_minutes: float = 2.0
    """From one evaluation to the next."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """How all recipes are evaluated: differences from `gqn.training.config.EvaluationConfig`."""

    def __post_init__(self) -> None:
        folders: dict[str, str] = {}
        for name in self.recipes:
            try:
                self.configuration(name)
            except (ValueError, TypeError) as error:
                raise StudyError(f"recipe '{name}': {error}") from None
            if (other := folders.setdefault(slug(name), name)) != name:
                raise StudyError(f"recipes '{other}' and '{name}' would share a folder: name them otherwise")

    def timing(self, recipe: str, name: str) -> float:
        """Return a recipe's own minutes or every_minutes, or else the study's."""
        return float(self.recipes[recipe].get(name, getattr(self, name)))

    def configuration(self, recipe: str) -> Config:
        """Return what a recipe is, without data and steps."""
        changes = dict(self.recipes[recipe])
        preset, *_ = (changes.pop(name, None) for name in ("preset", "minutes", "every_minutes"))
        if "evaluation" in changes:
            raise ValueError("evaluation is the study's, for all recipes alike")
        if preset not in PRESETS:
            raise ValueError(f"preset {preset!r}: there are {', '.join(PRESETS)}")
        return from_dict(merged(to_dict(PRESETS[preset]), {**changes, "evaluation": self.evaluation}))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the values with changes at any depth."""
    inner = {
        name: merged(values[name], change)
        if isinstance(change, dict) and isinstance(values.get(name), dict)
        else change
        for name, change in changes.items()
    }
    return {**values, **inner}


def slug(name: str) -> str:
    """Return a recipe's name as that of a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def step_seconds(plan: Experiment, data: Path, work: Path) -> dict[str, float]:
    """Return the mean seconds of a training step of each recipe, measured in turn; nothing else should run."""
    found = {}
    for name in plan.recipes:
        config = replace(plan.configuration(name), data=str(data), runs=str(work), name=f"timing-{slug(name)}")
        with processes(config.device) as group:
            run = Trainer(config, group)
            parallel, times = run.parallel(), []
            for step in range(WARM_UP + TIMED):
                batch = run.batches[step].to(group.device)
                begun = time.perf_counter()
                run.learn(parallel, batch).tolist()
                times.append(time.perf_counter() - begun)
        found[name] = round(statistics.fmean(times[WARM_UP:]), 4)
    return found


@dataclass(frozen=True)
class Cell:
    """One run."""

    recipe: str
    seed: int


@dataclass
class Recipes(Study[Cell]):
    """The study of a file of recipes.

    Attributes:
        plan: The file.
        results: NAME.jsonl.
        seconds: Of a training step, by recipe; see `step_seconds`.
        data: A converted dataset, None to report alone.
        work: Keeps the runs; one that was broken off goes on from its checkpoint there.
    """

    plan: Experiment
    results: Path
    seconds: dict[str, float] = field(default_factory=dict)
    data: Path | None = None
    work: Path = Path("runs/recipes")

    cell = Cell
    unit = "context gain in dB"
    tolerance = 0.5

    def cells(self) -> list[Cell]:
        """Return all runs, every recipe once before any seed's second."""
        return [Cell(recipe, seed) for seed in self.plan.seeds for recipe in self.plan.recipes]

    def experiment(self, cell: Cell) -> dict[str, Any]:
        """Return the recipe's options, without the steps, which follow from the seconds of one."""
        told = to_dict(self.plan.configuration(cell.recipe))
        timing = {name: self.plan.timing(cell.recipe, name) for name in ("minutes", "every_minutes")}
        del told["training"]["steps"], told["training"]["minutes"]
        return {**timing, "model": told["model"], "training": told["training"], "evaluation": self.plan.evaluation}

    def run(self, cell: Cell) -> Line:
        if self.data is None:
            raise StudyError("runs need a dataset: name it by --data")
        if cell.recipe not in self.seconds:
            raise StudyError(f"the steps of '{cell.recipe}' were never timed: run with --measure first")
        name, seconds = f"{slug(cell.recipe)}-{cell.seed}", self.seconds[cell.recipe]
        config = replace(self.planned(cell, seconds), data=str(self.data), runs=str(self.work), name=name)
        folder = self.work / name
        begun = (folder / checkpoint.FILE).exists()
        if begun and (differing := differences(to_dict(config), checkpoint.read(folder)["config"])):
            raise StudyError(f"{folder} holds a run with another {differing}: remove it")
        # A run that is at its end but not among the results was stopped between the two.
        if not (begun and at_end(folder, config.training.steps)):
            train(config, resume=begun)
        metrics = json.loads((folder / METRICS).read_text())
        return {
            "seconds_a_step": seconds,
            "steps": config.training.steps,
            **{key: metrics[key] for key in ("device", "precision", "parameters", "dataset")},
            "history": [point(report, seconds) for report in metrics["history"]],
        }

    def planned(self, cell: Cell, seconds: float) -> Config:
        """Return a run's configuration without its folders: as many steps as fit in its minutes."""
        config = self.plan.configuration(cell.recipe)
        steps = round(60 * self.plan.timing(cell.recipe, "minutes") / seconds)
        every = round(60 * self.plan.timing(cell.recipe, "every_minutes") / seconds)
        if not 0 < every <= steps:
            raise StudyError(f"'{cell.recipe}': steps of {seconds:g} s are too long for an evaluation in its minutes")
        training = replace(config.training, steps=steps, minutes=0.0).with_schedules()
        evaluation = replace(config.evaluation, eval_every=every, save_every=every)
        return replace(config, seed=cell.seed, training=training, evaluation=evaluation)

    def curve(self, line: Line) -> list[float]:
        return [report["context_gain_db"] for report in line["history"]]

    def told(self, line: Line) -> str:
        last = line["history"][-1]
        return (
            f"{line['cell']['recipe']}, seed {line['cell']['seed']}: context gain {last['context_gain_db']:.2f} dB, "
            f"prior samples {last['prior_sample']:.2f} dB, mean image {last['mean_image']:.2f} dB"
        )

    def table(self, known: dict[Cell, Line]) -> str:
        """Return of each recipe the mean over its seeds, and the lowest and the highest."""
        rows = []
        for recipe, lines in self.by_recipe(known).items():
            last = [line["history"][-1] for line in lines]
            soon = [minutes_to_context(line) for line in lines]
            rows.append(
                {
                    "recipe": recipe,
                    "minutes": f"{self.plan.timing(recipe, 'minutes'):g}",
                    "seeds": str(len(lines)),
                    "weights": f"{lines[0]['parameters'] / 1e6:.1f} M",
                    "a step": f"{lines[0]['seconds_a_step']:.2f} s",
                    "steps": str(lines[0]["steps"]),
                    "context gain (dB)": spread([report["context_gain_db"] for report in last]),
                    "prior sample (dB)": spread([report["prior_sample"] for report in last]),
                    "above the mean image (dB)": spread([one["prior_sample"] - one["mean_image"] for one in last]),
                    "-ELBO over its floor (nats), at sigma": (
                        f"{np.mean([one['negative_elbo_above_floor'] for one in last]):.0f} at {last[0]['sigma']:.2f}"
                    ),
                    f"minutes to a gain of {USED:g} dB": ", ".join(NONE if m is None else f"{m:.0f}" for m in soon),
                }
            )
        return table(list(rows[0]), [list(row.values()) for row in rows]) + "\n"

    def figure(self, known: dict[Cell, Line]) -> Figure:
        """Return PSNR of prior samples and context gain over time, beside the mean image."""
        found = self.by_recipe(known)
        return charts.recipes({recipe: [line["history"] for line in lines] for recipe, lines in found.items()})

    def by_recipe(self, known: dict[Cell, Line]) -> dict[str, list[Line]]:
        """Return the lines of each recipe that has some."""
        found = {name: [line for cell, line in known.items() if cell.recipe == name] for name in self.plan.recipes}
        return {name: lines for name, lines in found.items() if lines}


def point(report: dict[str, Any], seconds: float) -> dict[str, float]:
    """Return what a line keeps of one evaluation."""
    found = report["tasks"]["render"]
    return {
        "minutes": round(report["step"] * seconds / 60, 3),
        "step": report["step"],
        **{key: found[key] for key in ("context_gain_db", "negative_elbo_above_floor", "kl", "sigma")},
        **{key: found[key]["psnr_db"] for key in ("reconstruction", "prior_sample", "prior_mean", "mean_image")},
    }


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return the options of network and training that two configurations have both, and differently."""
    mine, other = (flat(plain({part: one[part] for part in ("model", "training")})) for one in (ours, theirs))
    return ", ".join(name for name, value in mine.items() if name in other and other[name] != value)


def at_end(folder: Path, step: int) -> bool:
    """Return whether a run was evaluated at a step."""
    metrics = folder / METRICS
    return metrics.exists() and any(report["step"] == step for report in json.loads(metrics.read_text())["history"])


def minutes_to_context(line: Line) -> float | None:
    """Return the minutes until the first evaluation from which on the context gain stays at `USED`; None for never."""
    reached = None
    for report in reversed(line["history"]):
        if report["context_gain_db"] < USED:
            break
        reached = report["minutes"]
    return reached
