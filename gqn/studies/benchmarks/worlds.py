"""Time the drawing of scenes, and count how often answers to the arm's tasks succeed."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gqn.data.batches import TrainingBatches
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.endless import EndlessScenes
from gqn.data.generate import generate, stream
from gqn.data.labelled_scenes import LabelledScenes
from gqn.scenes import FAMILIES
from gqn.scenes.arm import TASKS
from gqn.scenes.family import Family
from gqn.studies.benchmarks.timing import CPU, USUAL_PIXELS, Step, Work, fastest, random_batch
from gqn.training.config import PRESETS
from gqn.training.setup import computes_in_bfloat16


@dataclass(frozen=True)
class Scenes:
    """Time the drawing of scenes: frames a second of one core for each family, JPEG and files apart."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families to draw."""
    size: int = 64
    """Height and width of the frames."""
    seconds: float = 5.0
    """Seconds of drawing for each family."""
    dataset: int = 0
    """Also write a shepard_metzler_5_parts dataset of that many scenes, by all cores, in a temporary folder."""
    presets: tuple[str, ...] = ("quick", "small")
    """Presets of which to time a step, and the drawing of the scenes that one takes of an endless world."""
    output: Path | None = None
    """A JSON file to write the figures to."""


@dataclass(frozen=True)
class Arm:
    """Carry true and random answers to the arm's tasks out, and count how many succeed."""

    scenes: int = 500
    """Scenes to draw."""
    seed: int = 0
    """Equal seeds give equal scenes."""
    output: Path | None = None
    """A JSON file to write the figures to."""


def time_scenes(options: Scenes) -> dict[str, Any]:
    """Return the rates of drawing."""
    for name in options.families:
        FAMILIES[name](size=options.size).setting(np.random.default_rng(0))  # what a family needs is there
    report: dict[str, Any] = {"size": options.size, "frames_a_second": {}}
    for name in options.families:
        report["frames_a_second"][name] = rate = round(frames_a_second(name, options.size, options.seconds), 1)
        print(f"{name}: {rate:.0f} frames/s a core at {options.size}x{options.size}", flush=True)
    report["endless"] = {name: endless(name, options) for name in options.presets}
    if options.dataset:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            generate("shepard_metzler_5_parts", folder, options.dataset, seed=0, test_scenes=0, progress=False)
            taken = round(time.perf_counter() - begun, 1)
        report["dataset"] = {"scenes": options.dataset, "seconds": taken, "cores": os.cpu_count()}
        print(f"{options.dataset} scenes of shepard_metzler_5_parts written in {taken:.0f} s by {os.cpu_count()} cores")
    return report


def frames_a_second(family: str, size: int, duration: float) -> float:
    """Return the frames of whole scenes, their making included, that this process draws in a second of a core."""
    drawn, random = FAMILIES[family](size=size), np.random.default_rng(0)
    drawn.scene(random)  # what is compiled once does not count
    return drawn.views / mean_seconds(lambda _: drawn.scene(random), duration)


def endless(preset: str, options: Scenes) -> dict[str, Any]:
    """Return the processor's seconds of a preset's step, and of drawing what it takes of each world without end.

    With all views drawn, as a dataset has them, and with those alone that the step asks for.
    """
    settings, pixels = PRESETS[preset].training, USUAL_PIXELS[preset]
    work = Work(pixels, settings.batch, sum(settings.context_views) // 2, settings.queries)
    step = Step(PRESETS[preset], random_batch(work), bfloat16=computes_in_bfloat16("auto", CPU))
    taken = fastest(step.learn, 5, clock=time.process_time)
    report: dict[str, Any] = {"pixels": pixels, "step_seconds": round(taken, 3), "drawing_seconds": {}}
    for name in options.families:
        with tempfile.TemporaryDirectory() as folder:
            drawn = generate(name, folder, 1, 0, test_scenes=0, workers=1, progress=False, size=pixels)
            convert(drawn, 1, workers=1, progress=False)
            batches = TrainingBatches(
                EndlessScenes(LabelledScenes(SceneDataset(drawn, "train"))),
                batch=settings.batch,
                context_views=settings.context_views,
                queries=settings.queries,
                seed=0,
            )
            asked = mean_seconds(batches.__getitem__, options.seconds)
        whole = batches.batch * mean_seconds(partial(draw, FAMILIES[name](size=pixels)), options.seconds)
        report["drawing_seconds"][name] = row = {"all_views": round(whole, 3), "asked_views": round(asked, 3)}
        print(f"a step of {preset}: {taken:.3f} s; its scenes of {name}: {row} s", flush=True)
    return report


def draw(family: Family, number: int) -> None:
    """Draw a scene with all its views."""
    family.scene(stream(0, "train", number))


def mean_seconds(work: Callable[[int], object], duration: float) -> float:
    """Return the processor's seconds of a piece of work, over those that a duration holds."""
    # The processor's time, so that what else runs on the machine counts little.
    begun, done = time.process_time(), 0
    while time.process_time() - begun < duration:
        work(done)
        done += 1
    return (time.process_time() - begun) / done


def count_successes(options: Arm) -> dict[str, Any]:
    """Return of each task how often true and random answers succeed."""
    report: dict[str, Any] = {"scenes": options.scenes, "seed": options.seed}
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
    return report
