"""The figures of a training step: `train` of scripts/benchmark.py."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from gqn.core.distributed import processes
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.core.views import Batch, Views
from gqn.models.generator import Prediction
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.losses import log_likelihood
from gqn.training.config import PRESETS, ModelConfig
from gqn.training.trainer import computes_in_bfloat16

# The literal generator is the tests' reference; it is no part of the library.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
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
    presets: tuple[str, ...] = tuple(PRESETS)
    """Presets of which to time a step."""
    compile: tuple[str, ...] = ("quick", "small")
    """Presets of which to time a compiled step too."""
    output: Path | None = None
    """A JSON file to write the figures to."""


class Work(NamedTuple):
    """What a training step works on."""

    pixels: int
    scenes: int
    context: int
    queries: int


def time_training(options: Train) -> None:
    with processes(options.device) as group:
        device = group.device
        report: dict[str, Any] = {"provenance": provenance(group)}
    bfloat16 = computes_in_bfloat16("auto", device)
    kind = torch.bfloat16 if bfloat16 else torch.float32
    report["precision"] = str(kind).removeprefix("torch.")
    report["gflop_a_second"] = rates = {
        "matrix_product": round(matrix_rate(device, kind) / 1e9),
        "convolution": round(convolution_rate(device, kind) / 1e9),
    }
    print(f"{device}, {torch.get_num_threads()} threads, {report['precision']}: {rates} GFLOP/s")
    report["published_sizes"] = {}
    for shared in (False, True):
        sizes = ModelConfig(**{**vars(PRESETS["paper"].model), "generation_steps": 8, "latent": 64, "shared": shared})
        work = Work(64, options.batch, options.context, 1)
        ours = Step(sizes, work, device, bfloat16=bfloat16)
        flops, taken = ours.operations(), fastest(ours.learn, options.repeats, device)
        plain = fastest(Step(sizes, work, device, literal=True).learn, options.repeats, device)
        name = "shared cores" if shared else "a core for each step"
        report["published_sizes"][name] = row = {
            "seconds_a_scene": round(taken / options.batch, 4),
            "gflop_a_scene": round(flops / 1e9 / options.batch, 1),
            "share_of_convolution_rate": round(flops / 1e9 / taken / rates["convolution"], 3),
            "share_of_time": ours.shares(),
            "literal_float32_seconds_a_scene": round(plain / options.batch, 4),
            "seconds_a_prior_sample": round(fastest(ours.sample, options.repeats, device) / options.batch, 4),
        }
        print(f"{name}: {row}", flush=True)
    report["presets"] = {}
    for name in options.presets:
        config = PRESETS[name]
        settings, pixels = config.training, 32 if name == "quick" else 64
        # A mean number of context views, and few scenes of a batch that is meant for GPUs.
        scenes = options.batch if name in ("paper", "best") else settings.batch
        work = Work(pixels, scenes, sum(settings.context_views) // 2, settings.queries)
        step = Step(config.model, work, device, bfloat16=bfloat16)
        taken = fastest(step.learn, options.repeats, device)
        once, each = operations(config.model, work)
        scale = settings.batch / work.scenes
        report["presets"][name] = row = {
            "pixels": pixels,
            "scenes_timed": work.scenes,
            "seconds_a_step": round(scale * taken, 3),
            "gflop_a_step": round((once + settings.batch * each) / 1e9),
            "share_of_convolution_rate": round((once + scenes * each) / 1e9 / taken / rates["convolution"], 3),
            "share_of_time": step.shares(),
            "steps": settings.steps,
            "hours": round(scale * taken * settings.steps / 3600, 2),
        }
        if name in options.compile:
            compiled = Step(config.model, work, device, bfloat16=bfloat16, compiled=True)
            first = seconds(compiled.learn, device)
            row["compiled"] = {
                "seconds_a_step": round(scale * fastest(compiled.learn, options.repeats, device), 3),
                "first_step_seconds": round(first, 1),
            }
        print(f"preset {name}: {row}", flush=True)
    if options.output:
        write_json(options.output, report)


def operations(sizes: ModelConfig, work: Work) -> tuple[int, int]:
    """Floating-point operations of a training step: once, on weights that it composes, and for each scene."""
    one, two = (
        Step(sizes, work._replace(scenes=scenes), torch.device("cpu"), bfloat16=True).operations() for scenes in (1, 2)
    )
    return 2 * one - two, two - one


class Step:
    """A training step (forward, backward, optimizer) on random frames, and a prior sample of each of its scenes."""

    def __init__(
        self,
        sizes: ModelConfig,
        work: Work,
        device: torch.device,
        *,
        bfloat16: bool = False,
        literal: bool = False,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.device, self.bfloat16 = device, bfloat16
        self.network = GenerativeQueryNetwork(pixels=work.pixels, **vars(sizes)).to(device)
        if not literal:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.predict: Callable[[Batch], Prediction] = partial(literally, self.network) if literal else self.network
        if compiled:
            self.predict = torch.compile(self.network)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), fused=True)
        self.batch = random_batch(work).to(device)

    def learn(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            prediction = self.predict(self.batch)
        kl = prediction.kl.sum(dim=-1).mean()
        loss = kl - log_likelihood(self.batch.query.frames, prediction.mean, 0.7).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def sample(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            self.network.sample(self.batch.context, self.batch.query.cameras[:, :1])

    def operations(self) -> int:
        """Floating-point operations of a training step."""
        with FlopCounterMode(display=False) as counter:
            self.learn()
        return counter.get_total_flops()

    def shares(self, steps: int = 3) -> dict[str, float]:
        """What a training step spends its time on."""
        cuda = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
            for _ in range(steps):
                self.learn()
        times: Counter[str] = Counter()
        for event in profiler.key_averages():
            name = next((kind for kind, marks in KINDS.items() if any(m in event.key for m in marks)), "elementwise")
            times[name] += event.self_device_time_total if cuda else event.self_cpu_time_total
        return {name: round(time / times.total(), 3) for name, time in times.most_common()}


# What operators do, by parts of their names; the rest works element by element.
KINDS = {
    "convolutions": ("conv", "implicit_gemm"),
    "matrix products": ("aten::mm", "addmm", "bmm", "gemm"),
    "optimizer": ("adam", "Optimizer"),
    "copies and casts": ("copy", "aten::cat", "clone", "contiguous", "fill_", "zero_", "index_select", "scatter"),
    "noise": ("normal",),
}


def literally(network: GenerativeQueryNetwork, batch: Batch) -> Prediction:
    generator = network.generator
    grid = generator.place_camera.kernel_size[0]
    latent = generator.prior.out_channels // 2
    noise = [
        torch.randn(len(batch.query.cameras), latent, grid, grid, device=batch.query.cameras.device)
        for _ in range(generator.generation_steps)
    ]
    r = network.encode(batch.context)
    mean, kl = literal_generator(generator, batch.query.cameras[:, 0], r, batch.query.frames[:, 0], noise)
    return Prediction(mean[:, None], kl[:, None])


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


def fastest(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    work()
    return min(seconds(work, device) for _ in range(repeats))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
