#!/usr/bin/env python3
"""Measure what the library does on this machine: python scripts/benchmark.py {train,scenes,arm,data} --help."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
    """Time training steps: the paper's sizes with L=8 and z=64 beside the literal generator in float32, and presets."""

    batch: int = 4
    """Scenes a step at the paper's sizes."""
    context: int = 5
    """Context views of a scene there."""
    repeats: int = 5
    """Steps of which the fastest counts."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """cpu or cuda."""
    presets: tuple[Literal["quick", "small", "paper"], ...] = tuple(PRESETS)
    """Presets of which to time a step with the most context views."""
    output: Path | None = None
    """A JSON file to write the figures to."""


class Work(NamedTuple):
    """What a training step works on."""

    pixels: int
    scenes: int
    context: int
    queries: int


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
    kind = torch.bfloat16 if bfloat16 else torch.float32
    with processes(options.device) as group:
        report: dict[str, Any] = {"provenance": provenance(group), "precision": str(kind).removeprefix("torch.")}
    report["gflop_a_second"] = rates = {
        "matrix_product": round(matrix_rate(device, kind) / 1e9),
        "convolution": round(convolution_rate(device, kind) / 1e9),
    }
    print(f"{device}, {torch.get_num_threads()} threads, {report['precision']}: {rates} GFLOP/s")
    report["published_sizes"] = {}
    for shared in (False, True):
        sizes = ModelConfig(**{**vars(PRESETS["paper"].model), "generation_steps": 8, "latent": 64, "shared": shared})
        work = Work(64, options.batch, options.context, 1)
        taken, flops, sampled = step_seconds(sizes, work, options, device, bfloat16=bfloat16)
        plain, _, _ = step_seconds(sizes, work, options, device, bfloat16=False, literal=True)
        name = "shared cores" if shared else "a core for each step"
        report["published_sizes"][name] = row = {
            "seconds_a_scene": round(taken / options.batch, 4),
            "gflop_a_scene": round(flops / 1e9 / options.batch, 1),
            "share_of_convolution_rate": round(flops / 1e9 / taken / rates["convolution"], 3),
            "literal_float32_seconds_a_scene": round(plain / options.batch, 4),
            "seconds_a_prior_sample": round(sampled / options.batch, 4),
        }
        print(f"{name}: {row}", flush=True)
    report["presets"] = {}
    for name in options.presets:
        config = PRESETS[name]
        settings, pixels = config.training, 32 if name == "quick" else 64
        # A mean number of context views, and few scenes of a batch that is meant for GPUs.
        scenes = options.batch if name == "paper" else settings.batch
        work = Work(pixels, scenes, sum(settings.context_views) // 2, settings.queries)
        taken, flops, _ = step_seconds(config.model, work, options, device, bfloat16=bfloat16)
        scale = settings.batch / work.scenes
        report["presets"][name] = row = {
            "pixels": pixels,
            "scenes_timed": work.scenes,
            "seconds_a_step": round(scale * taken, 3),
            "gflop_a_step": round(scale * flops / 1e9),
            "steps": settings.steps,
            "hours": round(scale * taken * settings.steps / 3600, 2),
        }
        print(f"preset {name}: {row}", flush=True)
    if options.output:
        write_json(options.output, report)


def step_seconds(
    sizes: ModelConfig, work: Work, options: Train, device: torch.device, *, bfloat16: bool, literal: bool = False
) -> tuple[float, int, float]:
    """Seconds of the fastest of several training steps, its floating-point operations, and seconds of a prior sample.

    A step is forward, backward and optimizer; a prior sample is one for each scene, its representation included.
    """
    torch.manual_seed(0)
    network = GenerativeQueryNetwork(pixels=work.pixels, **vars(sizes)).to(device)
    if not literal:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batch = random_batch(work).to(device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            mean, kl = literally(network, batch) if literal else ours(network, batch)
        loss = kl.sum(dim=-1).mean() - log_likelihood(batch.query.frames, mean, 0.7).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def sample() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            network.sample(batch.context, batch.query.cameras[:, :1])

    with FlopCounterMode(display=False) as counter:
        step()
    sample()
    fastest, sampled = (min(seconds(do, device) for _ in range(options.repeats)) for do in (step, sample))
    return fastest, counter.get_total_flops(), sampled


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


def random_batch(work: Work) -> Batch:
    def views(count: int) -> Views:
        frames = torch.rand(work.scenes, count, 3, work.pixels, work.pixels)
        return Views(frames, torch.randn(work.scenes, count, 7))

    return Batch(views(work.context), views(work.queries))


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations a second of a large matrix product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: a @ a, device) for _ in range(10))


def convolution_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The most floating-point operations a second of a convolution's forward and backward pass, over two shapes."""

    def rate(scenes: int, channels: int, out_channels: int, kernel: int, grid: int) -> float:
        x = torch.randn(scenes, channels, grid, grid, device=device, dtype=dtype, requires_grad=True)
        weight = torch.randn(out_channels, channels, kernel, kernel, device=device, dtype=dtype, requires_grad=True)
        x, weight = (t.detach().to(memory_format=torch.channels_last).requires_grad_() for t in (x, weight))
        out = torch.randn(scenes, out_channels, grid, grid, device=device, dtype=dtype)
        out = out.to(memory_format=torch.channels_last)

        def both() -> None:
            y = torch.nn.functional.conv2d(x, weight, padding=kernel // 2)
            torch.autograd.grad(y, (x, weight), out)

        flops = 3 * 2 * out.numel() * channels * kernel**2
        return flops / min(seconds(both, device) for _ in range(6))

    return max(rate(16, 384, 512, 5, 16), rate(48, 256, 256, 3, 16))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
