"""Means of training losses, read from the device only when they are asked for."""

from pathlib import Path

import torch
from torch import Tensor

from gqn.core.distributed import Processes
from gqn.training.folder import TrainingError


class Losses:
    """Means of what `Learner.step` returns, gathered on the device and read only when they are asked for."""

    def __init__(self, group: Processes, names: tuple[str, ...]) -> None:
        self.group, self.names = group, names
        self.clear()

    def clear(self) -> None:
        self.sum, self.count = torch.zeros(len(self.names), device=self.group.device), 0

    def add(self, values: Tensor) -> None:
        self.sum += values
        self.count += 1

    def check(self, step: int, folder: Path) -> None:
        """Raise TrainingError where a loss or a gradient since the last call of `means` was not finite."""
        if not self.sum.isfinite().all():
            raise TrainingError(
                f"loss or gradient not finite at step {step}: {folder}/checkpoint.pt, if there is one, is from before, "
                f"{folder}/evaluated.pt from when it was last evaluated well: --resume one of them with a lower "
                "--learning-rate or --max-grad-norm"
            )

    def means(self, step: int, folder: Path) -> dict[str, float]:
        """Return means over the steps since the last call and over the processes."""
        self.sum = self.group.total(self.sum)
        self.check(step, folder)
        means = (self.sum / (self.count * self.group.count)).tolist()
        self.clear()
        return dict(zip(self.names, means, strict=True))
