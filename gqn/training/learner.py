"""A training step: losses, gradient, optimizer, and the moving average of the weights."""

import copy
import os
import shutil
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from gqn.core.distributed import Processes
from gqn.core.views import Batch
from gqn.data.batches import Asked
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.models.losses import averaging_decay, likelihood_floor
from gqn.training.config import Config
from gqn.training.folder import TrainingError
from gqn.training.muon import Muon
from gqn.training.objective import Objective
from gqn.training.validation import head_of


class Learner:
    """A network that learns, with its optimizer and the moving average (EMA) of its weights.

    Args:
        network: the network, on the device of the group.
        asked: the data of the tasks to train and of the senses that they read.
        config: the options of the run, its schedules spelled out.
        group: the processes that share a batch.
        bfloat16: compute convolutions in bfloat16.

    Raises:
        TrainingError: where the configuration asks to compile and there is no compiler.
    """

    def __init__(
        self, network: RecursiveGQN, asked: Asked, config: Config, group: Processes, *, bfloat16: bool
    ) -> None:
        self.network, self.tasks, self.group, self.bfloat16 = network, list(asked.tasks), group, bfloat16
        self.seed, self.settings = config.seed, config.training
        self.floors = {task: head_of(network, task).floor() for task in self.tasks}
        self.sigma = self.settings.sigma
        self.ema = copy.deepcopy(network)
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        decay = self.settings.weight_decay
        self.optimizer: torch.optim.Optimizer = (
            Muon(learning, weight_decay=decay)
            if self.settings.optimizer == "muon"
            else torch.optim.AdamW(learning, weight_decay=decay, fused=True)
        )
        self.losses = Objective(network, residual_weights=self.settings.residual_weights).to(group.device)
        objective: nn.Module = self.losses
        if config.compile:
            if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++")))):
                raise TrainingError("--compile needs a C++ compiler, such as g++: install one, or leave --compile out")
            objective = cast(nn.Module, torch.compile(objective))
        # With several senses or tasks, what a batch asks and what is known of it decide which weights a step uses.
        partial = len(asked.senses) + len(asked.tasks) > 2
        self.objective = group.parallel(objective, partial=partial)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what `step` returns: of each task its loss above the floor, whether it was asked, and its KL."""
        return (*(name for task in self.tasks for name in (task, f"{task} asked", f"{task} kl")), "gradient_norm")

    def step(self, batch: Batch, number: int, position: float) -> Tensor:
        """Take a training step and return what `names` says.

        Args:
            batch: this process's share.
            number: of the step, from 0.
            position: how far the schedules are, in steps.
        """
        # Noise follows from the seed, the step and the rank alone, so that a resumed run draws the same.
        torch.manual_seed(((self.seed * 1_000_003 + number) * self.group.count + self.group.rank) % 2**63)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.settings.learning_rate_at(number, position)
        self.set_sigma(self.settings.sigma_at(position))

        # Accumulate gradients.
        self.optimizer.zero_grad()
        found = torch.zeros(len(self.names) - 1, device=self.group.device)
        parts = batch.parts(self.settings.gradient_accumulation_steps)
        for part_number, part in enumerate(parts, start=1):
            # Gradients of several processes are averaged once, with those of the last part.
            with nullcontext() if part_number == len(parts) else self.group.apart(self.objective):
                loss, values = self.loss(part)
                (loss / len(parts)).backward()
            found += torch.stack(values).detach() / len(parts)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_grad_norm or float("inf"))

        # Update weights and their EMA.
        self.optimizer.step()
        update_ema(self.ema, self.network, averaging_decay(number, self.settings.ema_decay))
        return torch.cat([found, norm.detach()[None]])

    def set_sigma(self, sigma: float) -> None:
        """Set the standard deviation of the pixels of all tasks that render and learn."""
        self.sigma = sigma
        for task in self.tasks:
            head = head_of(self.network, task)
            if isinstance(head, Render) and not self.network.spec[task].frozen:
                head.sigma.fill_(sigma)
                self.floors[task] = likelihood_floor(sigma, head.pixels)

    def loss(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return the sum of the tasks' losses by their weights, and what `names` says but for the gradient's norm."""
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found, nothing = self.objective(batch)
        zero = torch.zeros((), device=self.group.device)
        total, values = zero if nothing is None else nothing, []
        for task in self.tasks:
            learned, loss, kl = found.get(task, (zero, zero, zero))
            total = total + self.network.spec[task].weight * learned
            asked = task in found
            values += [loss - self.floors[task] if asked else zero, zero + asked, kl]
        return total, values


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Set ema <- decay * ema + (1 - decay) * network, for every weight; buffers are the network's."""
    for average, weight in zip(ema.parameters(), network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    for copied, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        copied.copy_(buffer)
