"""Time training steps: the paper's sizes beside a literal generator, and the presets."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gqn.core.camera import SHEPARD_METZLER
from gqn.core.distributed import Processes, processes
from gqn.core.views import Batch
from gqn.models.generator import Generator
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.losses import log_likelihood
from gqn.studies.benchmarks.timing import USUAL_PIXELS, Step, Work, clock_of, fastest, operations, random_batch, seconds
from gqn.training.config import PRESETS, Config
from gqn.training.setup import computes_in_bfloat16, flat_network

Literal = Callable[[Generator, Tensor, Tensor, Tensor, list[Tensor]], tuple[Tensor, Tensor]]

# What operators do, by parts of their names; the rest works element by element.
KINDS = {
    "convolutions": ("conv", "implicit_gemm"),
    "matrix products": ("aten::mm", "addmm", "bmm", "gemm"),
    "optimizer": ("adam", "Optimizer"),
    "copies and casts": ("copy", "aten::cat", "clone", "contiguous", "fill_", "zero_", "index_select", "scatter"),
    "noise": ("normal",),
}


@dataclass(frozen=True)
class Train:
    """Time training steps: the paper's sizes with L=8 and z=64 beside the literal generator in float32, and presets."""

    published: bool = True
    """Time the paper's sizes at all, beside the presets."""
    batch: int = 4
    """Scenes a step at the paper's sizes."""
    context: int = 5
    """Context views of a scene there."""
    repeats: int = 5
    """Steps of which the fastest counts."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """cpu or cuda."""
    presets: tuple[str, ...] = tuple(PRESETS)
    """Presets of which to time a step."""
    compile: tuple[str, ...] = ("quick", "small")
    """Presets of which to time a compiled step too."""
    output: Path | None = None
    """A JSON file to write the figures to."""


def time_training(options: Train, literal: Literal) -> dict[str, Any]:
    """Return the figures of training steps.

    Args:
        literal: The generator as the paper writes it, one query a scene: from a generator with its weights, cameras
            (b, k), r, frames (b, 3, h, w) and the noise of each step to means (b, 3, h, w) and KL (b, L).
    """
    with processes(options.device) as group:
        device = group.device
    bfloat16 = computes_in_bfloat16("auto", device)
    kind = torch.bfloat16 if bfloat16 else torch.float32
    rates = {
        "matrix_product": round(matrix_rate(device, kind) / 1e9),
        "convolution": round(convolution_rate(device, kind) / 1e9),
    }
    report: dict[str, Any] = {"precision": str(kind).removeprefix("torch."), "gflop_a_second": rates}
    print(f"{device}, {torch.get_num_threads()} threads, {report['precision']}: {rates} GFLOP/s")
    report["published_sizes"] = {}
    for shared in (False, True) if options.published else ():
        name = "shared cores" if shared else "a core for each step"
        sizes = replace(PRESETS["paper"].model, generation_steps=8, latent=64, shared_cores=shared)
        config = replace(PRESETS["paper"], model=sizes)
        report["published_sizes"][name] = row = published(config, options, literal, group, bfloat16, rates)
        print(f"{name}: {row}", flush=True)
    report["presets"] = {}
    for name in options.presets:
        report["presets"][name] = row = preset(name, options, group, bfloat16, rates)
        print(f"preset {name}: {row}", flush=True)
    return report


def published(
    config: Config,
    options: Train,
    literal: Literal,
    group: Processes,
    bfloat16: bool,
    rates: dict[str, int],
) -> dict[str, Any]:
    """Return the figures of a step at published sizes, and of the literal generator's."""
    batch, device = random_batch(Work(64, options.batch, options.context, 1)), group.device
    clock = clock_of(device)
    ours = Step(config, batch, group, bfloat16=bfloat16)
    flops, taken = ours.operations(), fastest(ours.learn, options.repeats, device, clock)
    network = flat_network(config.model, 64, SHEPARD_METZLER).to(device)
    optimizer, there = torch.optim.AdamW(network.parameters(), fused=True), batch.to(device)

    def plain() -> None:
        optimizer.zero_grad()
        literal_loss(network, literal, there).backward()
        optimizer.step()

    return {
        "seconds_a_scene": round(taken / options.batch, 4),
        "gflop_a_scene": round(flops / 1e9 / options.batch, 1),
        "share_of_convolution_rate": round(flops / 1e9 / taken / rates["convolution"], 3),
        "share_of_time": shares(ours),
        "literal_float32_seconds_a_scene": round(fastest(plain, options.repeats, device, clock) / options.batch, 4),
        "seconds_a_prior_sample": round(fastest(ours.sample, options.repeats, device, clock) / options.batch, 4),
    }


def literal_loss(network: GenerativeQueryNetwork, literal: Literal, batch: Batch) -> Tensor:
    """Return the loss of a batch by the literal generator."""
    generator, (frames, cameras) = network.generator, (batch.query.frames[:, 0], batch.query.cameras[:, 0])
    grid, latent = generator.place_camera.kernel_size[0], generator.prior.out_channels // 2
    noise = [
        torch.randn(len(cameras), latent, grid, grid, device=cameras.device) for _ in range(generator.generation_steps)
    ]
    mean, kl = literal(generator, cameras, network.encode(batch.senses), frames, noise)
    return kl.sum(dim=-1).mean() - log_likelihood(frames, mean, 0.7).mean()


def preset(name: str, options: Train, group: Processes, bfloat16: bool, rates: dict[str, int]) -> dict[str, Any]:
    """Return the figures of a preset's step, compiled too where that is asked for."""
    config = PRESETS[name]
    settings, pixels = config.training, USUAL_PIXELS[name]
    # A mean number of context views, and few scenes of a batch that is meant for GPUs.
    scenes = options.batch if name in ("paper", "best") else settings.batch
    work = Work(pixels, scenes, sum(settings.context_views) // 2, settings.queries)
    step = Step(config, random_batch(work), group, bfloat16=bfloat16)
    clock = clock_of(group.device)
    taken = fastest(step.learn, options.repeats, group.device, clock)
    once, each = operations(config, work)
    scale = settings.batch / work.scenes
    row: dict[str, Any] = {
        "pixels": pixels,
        "scenes_timed": work.scenes,
        "seconds_a_step": round(scale * taken, 3),
        "gflop_a_step": round((once + settings.batch * each) / 1e9),
        "share_of_convolution_rate": round((once + scenes * each) / 1e9 / taken / rates["convolution"], 3),
        "share_of_time": shares(step),
        "steps": settings.steps,
        "hours": round(scale * taken * settings.steps / 3600, 2),
    }
    if name in options.compile:
        compiled = Step(replace(config, compile=True), random_batch(work), group, bfloat16=bfloat16)
        first = seconds(compiled.learn, group.device)
        row["compiled"] = {
            "seconds_a_step": round(scale * fastest(compiled.learn, options.repeats, group.device, clock), 3),
            "first_step_seconds": round(first, 1),
        }
    return row


def shares(step: Step, steps: int = 3) -> dict[str, float]:
    """Return the shares of a training step's time by what it is spent on."""
    cuda = step.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step.learn()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = next((kind for kind, marks in KINDS.items() if any(m in event.key for m in marks)), "elementwise")
        times[name] += event.self_device_time_total if cuda else event.self_cpu_time_total
    return {name: round(time / times.total(), 3) for name, time in times.most_common()}


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Return the floating-point operations a second of a large matrix product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: a @ a, device, clock_of(device)) for _ in range(10))


def convolution_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most operations a second of a convolution's forward and backward pass, over two shapes."""

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
        return flops / min(seconds(both, device, clock_of(device)) for _ in range(6))

    return max(rate(16, 384, 512, 5, 16), rate(48, 256, 256, 3, 16))
