#!/usr/bin/env python3
"""Measure what the library does on this machine: python scripts/benchmark.py {train,scenes,arm,data} --help."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gqn.batch import Batch, Views
from gqn.config import PRESETS, ModelConfig
from gqn.data.generate import generate
from gqn.distributed import processes
from gqn.files import write_json
from gqn.gqn import GenerativeQueryNetwork
from gqn.objective import log_likelihood
from gqn.provenance import provenance
from gqn.scenes import FAMILIES
from gqn.scenes.arm import TASKS
from gqn.training import computes_in_bfloat16

# The literal generator is the tests' reference; it is no part of the library.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from benchmark_data import Data, time_data
from reference import literal_generator


@dataclass(frozen=True)
class Train:
    """Time one training step at the paper's sizes with L=8 and z=64, beside the literal generator in float32."""

    pixels: int = 64
    """Height and width of the frames."""
    batch: int = 4
    """Scenes a step."""
    context: int = 5
    """Context views of a scene."""
    repeats: int = 5
    """Steps of which the fastest counts."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """cpu or cuda."""


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
    commands: dict[str, Any] = {"train": Train, "scenes": Scenes, "arm": Arm, "data": Data}
    options = tyro.extras.subcommand_cli_from_dict(commands, description=__doc__)
    if isinstance(options, Train):
        time_training(options)
    elif isinstance(options, Data):
        time_data(options)
    elif isinstance(options, Scenes):
        time_scenes(options)
    else:
        count_successes(options)


def time_scenes(options: Scenes) -> None:
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


def time_training(options: Train) -> None:
    device = torch.device(options.device)
    bfloat16 = computes_in_bfloat16("auto", device)
    rate = matrix_rate(device, torch.bfloat16 if bfloat16 else torch.float32)
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {device}, {threads} threads; matrix product {rate / 1e9:.0f} GFLOP/s")
    for shared in (False, True):
        sizes = ModelConfig(**{**vars(PRESETS["paper"].model), "generation_steps": 8, "latent": 64, "shared": shared})
        name = "shared cores" if shared else "a core for each step"
        ours, flops = step_seconds(sizes, options, device, bfloat16=bfloat16, literal=False)
        plain, _ = step_seconds(sizes, options, device, bfloat16=False, literal=True)
        print(
            f"{name}: {ours / options.batch:.3f} s a scene in {'bfloat16' if bfloat16 else 'float32'} "
            f"({flops / 1e9 / options.batch:.0f} GFLOP a scene, {flops / ours / rate:.0%} of that rate); "
            f"float32 without the split {plain / options.batch:.3f} s, {plain / ours:.1f} times as long"
        )


def step_seconds(
    sizes: ModelConfig, options: Train, device: torch.device, *, bfloat16: bool, literal: bool
) -> tuple[float, int]:
    """Seconds of the fastest of several training steps, optimizer included, and its floating-point operations."""
    torch.manual_seed(0)
    network = GenerativeQueryNetwork(pixels=options.pixels, **vars(sizes)).to(device)
    if not literal:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batch = random_batch(options).to(device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            mean, kl = literally(network, batch) if literal else ours(network, batch)
        loss = kl.sum(dim=-1).mean() - log_likelihood(batch.query.frames, mean, 0.7).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    return min(seconds(step, device) for _ in range(options.repeats)), counter.get_total_flops()


def ours(network: GenerativeQueryNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    prediction = network(batch)
    return prediction.mean, prediction.kl


def literally(network: GenerativeQueryNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    generator = network.generator
    grid = generator.place_camera.kernel_size[0]
    latent = generator.prior.out_channels // 2
    noise = [
        torch.randn(len(batch.query.cameras), latent, grid, grid, device=batch.query.cameras.device)
        for _ in range(generator.generation_steps)
    ]
    r = network.encode(batch.context)
    mean, kl = literal_generator(generator, batch.query.cameras[:, 0], r, batch.query.frames[:, 0], noise)
    return mean[:, None], kl[:, None]


def random_batch(options: Train) -> Batch:
    def views(count: int) -> Views:
        frames = torch.rand(options.batch, count, 3, options.pixels, options.pixels)
        return Views(frames, torch.randn(options.batch, count, 7))

    return Batch(views(options.context), views(1))


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations a second of a large matrix product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: a @ a, device) for _ in range(10))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
