"""The objective of a training step: the losses of a network's tasks."""

import torch
from torch import Tensor, nn

from gqn.core.views import Batch
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import mean_known, mean_loss


class Objective(nn.Module):
    """A network with the losses of its tasks."""

    def __init__(self, graph: RecursiveGQN) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, batch: Batch) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
        """Return the mean loss and the mean KL of the known answers, by task, and None.

        Where the batch asks nothing, return a zero loss that touches every weight in place of None, so that
        DistributedDataParallel does not hang.
        """
        found = {}
        for name, answer in self.graph(batch).items():
            asked = batch.tasks[name]
            found[name] = mean_loss(answer, asked), mean_known(answer.kl.sum(dim=-1), asked.present)
        if found:
            return found, None
        learning = (weight for weight in self.graph.parameters() if weight.requires_grad)
        return found, torch.stack([0 * weight.sum() for weight in learning]).sum()
