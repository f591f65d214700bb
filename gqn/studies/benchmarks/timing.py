"""A training step to time, and how things are timed: what the benchmarks share."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gqn.core.camera import SHEPARD_METZLER
from gqn.core.views import Batch, Views
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.training.config import ModelConfig
from gqn.training.objective import Objective
from gqn.training.setup import flat_network

CPU = torch.device("cpu")


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
    """A training step (forward, backward, optimizer), and a prior sample of each of its scenes.

    Args:
        network: What learns.
        batch: What it learns from.
        bfloat16: Compute in bfloat16.
        loss: Of a batch; by default the one that training takes, of the network.
    """

    def __init__(
        self,
        network: GenerativeQueryNetwork,
        batch: Batch,
        device: torch.device = CPU,
        *,
        bfloat16: bool = False,
        loss: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        self.network, self.device, self.bfloat16 = network.to(device), device, bfloat16
        self.objective: nn.Module = Objective(network)
        self.loss = loss or self.mean_loss
        self.optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        self.batch = batch.to(device)

    @classmethod
    def of(cls, sizes: ModelConfig, work: Work, device: torch.device = CPU, *, bfloat16: bool = False) -> "Step":
        """Return the step of an untrained network on random frames."""
        torch.manual_seed(0)
        network = flat_network(sizes, work.pixels, SHEPARD_METZLER).to(memory_format=torch.channels_last)
        return cls(network, random_batch(work), device, bfloat16=bfloat16)

    def mean_loss(self, batch: Batch) -> Tensor:
        """Return the loss of the task that renders."""
        losses, _ = self.objective(batch)
        ((learned, _, _),) = losses.values()
        return learned

    def learn(self) -> None:
        """Take the step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.loss(self.batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def sample(self) -> None:
        """Draw one prior sample of a query of each scene."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            self.network.sample(self.batch.senses, self.batch.query.cameras[:, :1])

    def operations(self) -> int:
        """Return the floating-point operations of a training step."""
        with FlopCounterMode(display=False) as counter:
            self.learn()
        return counter.get_total_flops()


def operations(sizes: ModelConfig, work: Work) -> tuple[int, int]:
    """Return the operations of a training step: once, on weights that it composes, and for each scene."""
    one, two = (Step.of(sizes, work._replace(scenes=scenes), bfloat16=True).operations() for scenes in (1, 2))
    return 2 * one - two, two - one


def fastest(work: Callable[[], object], repeats: int, device: torch.device = CPU) -> float:
    """Return the seconds of the fastest of several runs, after one that does not count."""
    work()
    return min(seconds(work, device) for _ in range(repeats))


def seconds(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds of one run."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
