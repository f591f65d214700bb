"""A training step to time, and how things are timed: what the benchmarks share."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from gqn.core.camera import SHEPARD_METZLER
from gqn.core.distributed import Processes
from gqn.core.views import Batch, Views
from gqn.data.batches import FLAT
from gqn.training.config import Config
from gqn.training.learner import Learner
from gqn.training.setup import flat_network

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
USUAL_PIXELS = {"quick": 32, "small": 64, "paper": 64, "best": 64}  # height and width of a preset's frames


class Work(NamedTuple):
    """Sizes of a training step's work."""

    pixels: int
    scenes: int
    context: int
    queries: int


def random_batch(work: Work) -> Batch:
    """Return views of random frames from random cameras."""

    def views(count: int) -> Views:
        frames = torch.rand(work.scenes, count, 3, work.pixels, work.pixels)
        return Views(frames, torch.randn(work.scenes, count, 7))

    return Batch.of(views(work.context), views(work.queries))


class Step:
    """The trainer's own step of an untrained flat network, on one batch, and a prior sample of each of its scenes.

    Args:
        config: A preset, or what differs from one.
        batch: The scenes to learn from.
        group: The processes that share them.
        bfloat16: Compute in bfloat16.
    """

    def __init__(self, config: Config, batch: Batch, group: Processes = ALONE, *, bfloat16: bool = False) -> None:
        torch.manual_seed(0)
        network = flat_network(config.model, batch.query.frames.shape[-1], SHEPARD_METZLER)
        self.network = network.to(group.device).to(memory_format=torch.channels_last)
        self.learner = Learner(self.network, FLAT, config, group, bfloat16=bfloat16)
        self.batch, self.device = batch.to(group.device), group.device

    def learn(self) -> None:
        """Take the step, the first of the schedules each time."""
        self.learner.step(self.batch, 0, 0)

    def sample(self) -> None:
        """Draw one prior sample of a query of each scene."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.learner.bfloat16):
            self.network.sample(self.batch.senses, self.batch.query.cameras[:, :1])

    def operations(self) -> int:
        """Return the floating-point operations of a training step."""
        with FlopCounterMode(display=False) as counter:
            self.learn()
        return counter.get_total_flops()


def operations(config: Config, work: Work) -> tuple[int, int]:
    """Return the operations of a training step: once, on the weights, and for each scene."""
    config = replace(config, compile=False)
    one, two = (
        Step(config, random_batch(work._replace(scenes=scenes)), bfloat16=True).operations() for scenes in (1, 2)
    )
    return 2 * one - two, two - one


def fastest(
    work: Callable[[], object], repeats: int, device: torch.device = CPU, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds of the fastest of several runs, after one that does not count."""
    work()
    return min(seconds(work, device, clock) for _ in range(repeats))


def seconds(
    work: Callable[[], object], device: torch.device = CPU, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds of one run, by a clock."""
    begun = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock of a step: on one thread of a CPU the processor's time, so that other processes count little."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
