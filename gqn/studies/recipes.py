"""Study of recipes at equal time: which of them learns to use its context, and how soon.

Seconds depend on what else a machine does, steps do not. So the seconds of a step are measured once for all recipes,
with nothing else running (`Recipes.measure`), and a recipe gets as many steps as fit in the study's minutes: its curve
is the same whatever runs beside it.
"""

import json
import statistics
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.core.tables import NONE, table
from gqn.figures import curves as charts
from gqn.studies.comparison import spread
from gqn.studies.runner import Line, Study, StudyError, choose, read_experiment
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, from_dict, to_dict
from gqn.training.history import METRICS
from gqn.training.trainer import Trainer, train

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
    """Evaluation of all recipes: differences from `gqn.training.config.EvaluationConfig`."""

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
            raise Error("evaluation is the study's, for all recipes alike")
        if preset not in PRESETS:
            raise Error(f"preset {preset!r}: there are {', '.join(PRESETS)}")
        config = from_dict(merged(to_dict(PRESETS[preset]), {**changes, "evaluation": self.evaluation}))
        return replace(config, model=config.model.with_channels())


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


@dataclass(frozen=True)
class Cell:
    """One run."""

    recipe: str
    seed: int


@dataclass
class Recipes(Study[Cell]):
    """Compare recipes by how soon they learn to use their context."""

    file: tyro.conf.Positional[Path]
    """A YAML file of `gqn.studies.recipes.Experiment`."""
    data: Path | None = None
    """Converted dataset to train on."""
    work: Path = Path("runs/recipes")
    """Keeps the runs; one that was broken off goes on from its checkpoint there."""
    recipes: tuple[str, ...] = ()
    """Only these."""
    seeds: tuple[int, ...] = ()
    """Only these."""

    cell = Cell
    unit = "context gain in dB"
    tolerance = 0.5

    @cached_property
    def plan(self) -> Experiment:
        """The experiment of the file."""
        return read_experiment(self.file, Experiment)

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds of a training step, by recipe, as they were measured."""
        times = self.file.with_suffix(".seconds.json")
        return json.loads(times.read_text())["seconds_a_step"] if times.exists() else {}

    @cached_property
    def dataset(self) -> str:
        """The dataset to train on."""
        if self.data is None:
            raise StudyError("runs need a dataset: name it by --data")
        return str(self.data)

    def measure(self) -> dict[str, float]:
        """Return the mean seconds of a step of each recipe, timed in turn, and write them; nothing else should run."""
        found = {}
        with TemporaryDirectory() as work, processes("auto") as group:
            for name in self.plan.recipes:
                config = replace(self.plan.configuration(name), data=self.dataset, runs=work, name=slug(name))
                trainer = Trainer(config, Path(work) / slug(name), group)
                times = []
                for step in range(WARM_UP + TIMED):
                    batch = trainer.batches[step].to(group.device)
                    begun = time.perf_counter()
                    trainer.learner.step(batch, step, step).tolist()
                    times.append(time.perf_counter() - begun)
                found[name] = round(statistics.fmean(times[WARM_UP:]), 4)
            write_json(self.file.with_suffix(".seconds.json"), {**provenance(group), "seconds_a_step": found})
        return found

    def fresh(self, folder: Path) -> "Recipes":
        return replace(self, work=folder)

    def chosen(self) -> list[Cell]:
        return choose(self, recipe=self.recipes, seed=self.seeds)

    def cells(self) -> list[Cell]:
        """Return all runs, every recipe once before any seed's second."""
        return [Cell(recipe, seed) for seed in self.plan.seeds for recipe in self.plan.recipes]

    def experiment(self, cell: Cell) -> dict[str, Any]:
        """Return the dataset and the recipe's options, without the steps, which follow from the seconds of one."""
        told = to_dict(self.plan.configuration(cell.recipe))
        timing = {name: self.plan.timing(cell.recipe, name) for name in ("minutes", "every_minutes")}
        del told["training"]["steps"], told["training"]["minutes"]
        named = {} if self.data is None else {"dataset": self.data.name}
        return {
            **named,
            **timing,
            "model": told["model"],
            "training": told["training"],
            "evaluation": self.plan.evaluation,
        }

    def run(self, cell: Cell) -> Line:
        if cell.recipe not in self.seconds:
            raise StudyError(f"the steps of '{cell.recipe}' were never timed: run with --measure first")
        seconds = self.seconds[cell.recipe]
        config = self.planned(cell, seconds)
        # Another configuration or dataset is another folder: nothing goes on with what was begun otherwise.
        described = json.dumps([to_dict(config), str(Path(self.dataset).resolve())])
        digest = sha256(described.encode()).hexdigest()[:8]
        name = f"{slug(cell.recipe)}-{cell.seed}-{digest}"
        config = replace(config, data=self.dataset, runs=str(self.work / self.file.stem), name=name)
        folder = Path(config.runs) / name
        # A run that is at its end but not among the results was stopped between the two.
        if not at_end(folder, config.training.steps):
            train(config, resume=(folder / checkpoint.FILE).exists())
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
            if "object_gain_db" in last[0]:
                rows[-1]["object gain (dB)"] = spread([report["object_gain_db"] for report in last])
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
    """Return what a line keeps of one evaluation; of scenes with twins the object gain too."""
    found = report["tasks"]["render"]
    objects = {"object_gain_db": found["objects"]["gain_db"]} if found.get("objects") else {}
    return {
        "minutes": round(report["step"] * seconds / 60, 3),
        "step": report["step"],
        **{key: found[key] for key in ("context_gain_db", "negative_elbo_above_floor", "kl", "sigma")},
        **{key: found[key]["psnr_db"] for key in ("reconstruction", "prior_sample", "prior_mean", "mean_image")},
        **objects,
    }


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
