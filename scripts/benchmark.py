#!/usr/bin/env python3
"""Time one training step at the paper's sizes with L=8 and z=64, beside the literal generator in float32."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gqn.batch import Batch, Views
from gqn.config import PRESETS, ModelConfig
from gqn.gqn import GenerativeQueryNetwork
from gqn.objective import log_likelihood
from gqn.training import computes_in_bfloat16

# The literal generator is the tests' reference; it is no part of the library.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from reference import literal_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=64, help="height and width of the frames (default 64)")
    parser.add_argument("--batch", type=int, default=4, help="scenes a step (default 4)")
    parser.add_argument("--context", type=int, default=5, help="context views of a scene (default 5)")
    parser.add_argument("--repeats", type=int, default=5, help="steps of which the fastest counts (default 5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    options = parser.parse_args()
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
    sizes: ModelConfig, options: argparse.Namespace, device: torch.device, *, bfloat16: bool, literal: bool
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


def random_batch(options: argparse.Namespace) -> Batch:
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
