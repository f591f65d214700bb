"""Recipes for a GQN against each other at equal time: which of them learns to use its context, and how soon.

Seconds depend on what else a machine does, steps do not. So the seconds of a step are measured once for all recipes,
with nothing else running (`step_seconds`), and a recipe gets as many steps as fit in the study's minutes: its curve is
the same whatever runs beside it.
"""

import json
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import dacite
import numpy as np
import yaml
from matplotlib.figure import Figure

from gqn.core.distributed import processes
from gqn.core.files import append_json_line, read_json_lines
from gqn.core.tables import NONE, table
from gqn.figures import curves as charts
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, from_dict, to_dict
from gqn.training.trainer import METRICS, Run, train

WARM_UP, TIMED = 4, 12  # steps before, and of, the measurement
USED = 1.0  # dB of context gain from which the context counts as used


class RecipeError(ValueError):
    """A study that can't be run as it is written; the message says why and what to do."""


@dataclass(frozen=True)
class Study:
    """A file of a study."""

    minutes: float
    """Of training."""
    recipes: dict[str, dict[str, Any]]
    """By name: a preset, what differs from it as in `gqn.training.config`, and minutes where it has its own."""
    seeds: tuple[int, ...] = (0, 1, 2)
    every_minutes: float = 2.0
    """From one evaluation to the next."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """How all recipes are evaluated: differences from `gqn.training.config.EvaluationConfig`."""


class Cell(NamedTuple):
    """One run."""

    recipe: str
    seed: int


def read_study(path: Path) -> Study:
    """Raises RecipeError for a file that is missing or no study, and for options that no configuration has."""
    try:
        study = dacite.from_dict(Study, yaml.safe_load(path.read_text()), dacite.Config(strict=True, cast=[tuple]))
    except (OSError, yaml.YAMLError, dacite.DaciteError, TypeError, AttributeError) as error:
        raise RecipeError(f"{path}: no study of recipes: {' '.join(str(error).split())}") from None
    folders: dict[str, str] = {}
    for name in study.recipes:
        try:
            configuration(study, name)
        except (ValueError, TypeError) as error:
            raise RecipeError(f"{path}: recipe '{name}': {error}") from None
        if (other := folders.setdefault(slug(name), name)) != name:
            raise RecipeError(f"{path}: recipes '{other}' and '{name}' would share a folder: name them otherwise")
    return study


def timing(study: Study, recipe: str, name: str) -> float:
    """A recipe's own minutes or every_minutes, or else the study's."""
    return float(study.recipes[recipe].get(name, getattr(study, name)))


def configuration(study: Study, recipe: str) -> Config:
    """What a recipe is, without data and steps."""
    changes = dict(study.recipes[recipe])
    preset, *_ = (changes.pop(name, None) for name in ("preset", "minutes", "every_minutes"))
    if "evaluation" in changes:
        raise ValueError("evaluation is the study's, for all recipes alike")
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: there are {', '.join(PRESETS)}")
    return from_dict(merged(to_dict(PRESETS[preset]), {**changes, "evaluation": study.evaluation}))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes at any depth."""
    inner = {
        name: merged(values[name], change)
        if isinstance(change, dict) and isinstance(values.get(name), dict)
        else change
        for name, change in changes.items()
    }
    return {**values, **inner}


def step_seconds(study: Study, data: Path, work: Path) -> dict[str, float]:
    """Mean seconds of a training step of each recipe, measured in turn; nothing else should run."""
    found = {}
    for name in study.recipes:
        config = replace(configuration(study, name), data=str(data), runs=str(work), name=f"timing-{slug(name)}")
        with processes(config.device) as group:
            run = Run(config, group, resume=False)
            parallel, times = run.parallel(), []
            for step in range(WARM_UP + TIMED):
                batch = run.batches[step].to(group.device)
                begun = time.perf_counter()
                run.learn(parallel, batch).tolist()
                times.append(time.perf_counter() - begun)
        found[name] = round(statistics.fmean(times[WARM_UP:]), 4)
    return found


def cells(study: Study) -> list[Cell]:
    """All runs, every recipe once before any seed's second."""
    return [Cell(recipe, seed) for seed in study.seeds for recipe in study.recipes]


def make(
    study: Study, chosen: Iterable[Cell], seconds: dict[str, float], data: Path, work: Path, results: Path
) -> Iterator[dict[str, Any]]:
    """Those of the chosen runs that the file of results lacks, each added to it as soon as it is done.

    A run that was broken off goes on from its checkpoint in `work`.
    """
    for cell in chosen:
        if cell in read_results(results, study):
            continue
        if cell.recipe not in seconds:
            raise RecipeError(f"the steps of '{cell.recipe}' were never timed: run with --measure first")
        line = run(study, cell, seconds[cell.recipe], data, work)
        append_json_line(results, line)
        yield line


def run(study: Study, cell: Cell, seconds: float, data: Path, work: Path) -> dict[str, Any]:
    """Train one recipe with one seed; what the results keep of it."""
    name = f"{slug(cell.recipe)}-{cell.seed}"
    config = replace(planned(study, cell, seconds), data=str(data), runs=str(work), name=name)
    folder = work / name
    begun = (folder / checkpoint.FILE).exists()
    if begun and (differing := differences(told(config), checkpoint.read(folder)["config"])):
        raise RecipeError(f"{folder} holds a run with another {differing}: remove it")
    # A run that is at its end but not among the results was stopped between the two.
    if not (begun and at_end(folder, config.training.steps)):
        train(config, resume=begun)
    metrics = json.loads((folder / METRICS).read_text())
    return {
        **cell._asdict(),
        "seconds_a_step": seconds,
        "steps": config.training.steps,
        "config": told(config),
        **{key: metrics[key] for key in ("commit", "device", "threads", "torch", "precision", "parameters", "dataset")},
        "history": [
            {
                "minutes": round(report["step"] * seconds / 60, 3),
                **{key: report[key] for key in ("step", "context_gain_db", "negative_elbo_above_floor", "kl", "sigma")},
                **{
                    key: report[key]["psnr_db"]
                    for key in ("reconstruction", "prior_sample", "prior_mean", "mean_image")
                },
            }
            for report in metrics["history"]
        ],
    }


def planned(study: Study, cell: Cell, seconds: float) -> Config:
    """A run's configuration without its folders: as many steps as fit in its minutes. Raises RecipeError."""
    config = configuration(study, cell.recipe)
    steps = round(60 * timing(study, cell.recipe, "minutes") / seconds)
    every = round(60 * timing(study, cell.recipe, "every_minutes") / seconds)
    if not 0 < every <= steps:
        raise RecipeError(f"'{cell.recipe}': steps of {seconds:g} s are too long for an evaluation within its minutes")
    training = replace(config.training, steps=steps, minutes=0.0).with_schedules()
    evaluation = replace(config.evaluation, evaluate_every=every, save_every=every)
    return replace(config, seed=cell.seed, training=training, evaluation=evaluation)


def told(config: Config) -> dict[str, Any]:
    """What the results keep of a configuration."""
    values = to_dict(config)
    return {part: values[part] for part in ("model", "training")}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The options that two configurations have both, and differently."""
    return ", ".join(
        f"{part} {name}"
        for part, options in ours.items()
        for name, value in options.items()
        if name in theirs[part] and json.dumps(theirs[part][name]) != json.dumps(value)
    )


def at_end(folder: Path, step: int) -> bool:
    """Whether a run was evaluated at a step."""
    metrics = folder / METRICS
    return metrics.exists() and any(report["step"] == step for report in json.loads(metrics.read_text())["history"])


def read_results(results: Path, study: Study) -> dict[Cell, dict[str, Any]]:
    """The runs of a study. Raises RecipeError for one that is configured otherwise than the study says."""
    known = {Cell(line["recipe"], line["seed"]): line for line in read_json_lines(results)}
    for cell in known.keys() & set(cells(study)):
        line = known[cell]
        if differing := differences(told(planned(study, cell, line["seconds_a_step"])), line["config"]):
            raise RecipeError(
                f"{results}: '{cell.recipe}', seed {cell.seed} was made with another {differing}: remove its line"
            )
    return known


def slug(name: str) -> str:
    """A recipe's name as that of a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def minutes_to_context(line: dict[str, Any]) -> float | None:
    """Minutes until the first evaluation from which on the context gain stays at or above `USED`; None for never."""
    reached = None
    for report in reversed(line["history"]):
        if report["context_gain_db"] < USED:
            break
        reached = report["minutes"]
    return reached


def report(study: Study, results: dict[Cell, dict[str, Any]]) -> str:
    """A table in Markdown: of each recipe the mean over its seeds, and the lowest and the highest."""
    rows = []
    for recipe in study.recipes:
        lines = of_recipe(results, recipe)
        if not lines:
            continue
        last = [line["history"][-1] for line in lines]
        minutes = f"{timing(study, recipe, 'minutes'):g}"
        soon = [minutes_to_context(line) for line in lines]
        above = [report["prior_sample"] - report["mean_image"] for report in last]
        rows.append(
            [
                recipe,
                minutes,
                str(len(lines)),
                f"{lines[0]['parameters'] / 1e6:.1f} M",
                f"{lines[0]['seconds_a_step']:.2f} s",
                str(lines[0]["steps"]),
                spread([report["context_gain_db"] for report in last], 2),
                spread([report["prior_sample"] for report in last], 2),
                spread(above, 2),
                f"{np.mean([r['negative_elbo_above_floor'] for r in last]):.0f} at {last[0]['sigma']:.2f}",
                ", ".join(NONE if one is None else f"{one:.0f}" for one in soon),
            ]
        )
    head = [
        "recipe",
        "minutes",
        "seeds",
        "weights",
        "a step",
        "steps",
        "context gain (dB)",
        "prior sample (dB)",
        "above the mean image (dB)",
        "-ELBO over its floor (nats), at sigma",
        f"minutes to a gain of {USED:g} dB",
    ]
    return table(head, rows) + "\n"


def spread(values: list[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def of_recipe(results: dict[Cell, dict[str, Any]], recipe: str) -> list[dict[str, Any]]:
    return [line for cell, line in sorted(results.items()) if cell.recipe == recipe]


def curves(study: Study, results: dict[Cell, dict[str, Any]]) -> Figure:
    """PSNR of prior samples and context gain over time, beside the mean image."""
    lines = {recipe: of_recipe(results, recipe) for recipe in study.recipes}
    histories = {recipe: [line["history"] for line in found] for recipe, found in lines.items() if found}
    return charts.recipes(histories)
