#!/usr/bin/env python3
"""Measure what the library does on this machine: python scripts/benchmark.py {train,scaling,scenes,arm,data} --help."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.data.generate import generate
from gqn.scenes import FAMILIES
from gqn.scenes.arm import TASKS
from gqn.training.config import PRESETS, check_options

sys.path.insert(0, str(Path(__file__).resolve().parent))
from benchmark_data import Data, time_data
from benchmark_scaling import Scaling, measure_scaling
from benchmark_training import Train, time_training


@dataclass(frozen=True)
class Scenes:
    """Time the drawing of scenes: frames a second of one core for each family, JPEG and files apart."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Which to draw."""
    size: int = 64
    """Height and width of the frames."""
    seconds: float = 5.0
    """How long to draw for, for each family."""
    dataset: int = 0
    """Also write a shepard_metzler_5_parts dataset of that many scenes, by all cores, in a temporary folder."""
    output: Path | None = None
    """A JSON file to write the figures to."""


@dataclass(frozen=True)
class Arm:
    """Carry true and random answers to the arm's tasks out, and count how many succeed."""

    scenes: int = 500
    """How many to draw."""
    seed: int = 0
    """Equal seeds give equal scenes."""
    output: Path | None = None
    """A JSON file to write the figures to."""


def main() -> None:
    commands: dict[str, Any] = {"train": Train, "scaling": Scaling, "scenes": Scenes, "arm": Arm, "data": Data}
    options = tyro.extras.subcommand_cli_from_dict(commands, description=__doc__)
    check(options)
    if isinstance(options, Train):
        time_training(options)
    elif isinstance(options, Scaling):
        measure_scaling(options)
    elif isinstance(options, Data):
        time_data(options)
    elif isinstance(options, Scenes):
        time_scenes(options)
    else:
        count_successes(options)


def check(options: Any) -> None:
    """Raises ValueError or OSError, before any work, for what would fail after it; makes the output's folder."""
    values = vars(options)
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else [value]
        least = 0 if name in ("dataset", "seed") else 1e-9
        fits = all(number >= least for number in numbers if isinstance(number, int | float))
        check_options([(name, fits, "positive" if least else "0 or more")])
    for name, known in (("families", FAMILIES), ("presets", PRESETS), ("compile", PRESETS)):
        if unknown := [asked for asked in values.get(name, ()) if asked not in known]:
            raise Error(f"--{name}: no '{unknown[0]}', only {', '.join(known)}")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        if options.output.is_dir():
            raise Error(f"--output: {options.output} is a folder: name a file")
        with tempfile.TemporaryFile(dir=options.output.parent):
            pass  # it can be written there


def time_scenes(options: Scenes) -> None:
    for name in options.families:
        FAMILIES[name](size=options.size).setting(np.random.default_rng(0))  # what a family needs is there
    with processes("cpu") as group:
        report: dict[str, Any] = {"provenance": provenance(group), "size": options.size, "frames_a_second": {}}
    for name in options.families:
        report["frames_a_second"][name] = rate = round(frames_a_second(name, options.size, options.seconds), 1)
        print(f"{name}: {rate:.0f} frames/s a core at {options.size}x{options.size}", flush=True)
    if options.dataset:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            generate("shepard_metzler_5_parts", folder, options.dataset, seed=0, test_scenes=0, progress=False)
            taken = round(time.perf_counter() - begun, 1)
        report["dataset"] = {"scenes": options.dataset, "seconds": taken, "cores": os.cpu_count()}
        print(f"{options.dataset} scenes of shepard_metzler_5_parts written in {taken:.0f} s by {os.cpu_count()} cores")
    if options.output:
        write_json(options.output, report)


def frames_a_second(family: str, size: int, duration: float) -> float:
    """Frames of whole scenes, their making included, that this process draws in a second."""
    drawn, random = FAMILIES[family](size=size), np.random.default_rng(0)
    drawn.scene(random)  # what is compiled once does not count
    begun, frames = time.perf_counter(), 0
    while time.perf_counter() - begun < duration:
        drawn.scene(random)
        frames += drawn.views
    return frames / (time.perf_counter() - begun)


def count_successes(options: Arm) -> None:
    with processes("cpu") as group:
        report: dict[str, Any] = {"provenance": provenance(group), "scenes": options.scenes, "seed": options.seed}
    family = FAMILIES["jaco"](size=1, views=1)
    seeds = np.random.SeedSequence(options.seed).spawn(options.scenes + 1)
    scenes = [family.setting(np.random.default_rng(seed)).labels for seed in seeds[1:]]
    random = np.random.default_rng(seeds[0])
    for name, task in TASKS.items():
        answers = [task.label(labels) for labels in scenes]
        known = [
            task.execute(labels, answer) for labels, answer in zip(scenes, answers, strict=True) if answer is not None
        ]
        chance = [task.execute(labels, task.random_answer(random)) for labels in scenes]
        report[name] = {
            "scenes_with_an_answer": len(known),
            "true_answers_succeed": round(float(np.mean([outcome.success for outcome in known])), 4),
            "median_error_metres": round(float(np.median([outcome.error for outcome in known])), 4),
            "random_answers_succeed": round(float(np.mean([outcome.success for outcome in chance])), 4),
        }
        print(name, report[name], flush=True)
    if options.output:
        write_json(options.output, report)


if __name__ == "__main__":
    with command():
        main()
