"""The objective of a training step: the losses of a network's tasks."""

import torch
from torch import Tensor, nn

from gqn.core.views import Batch
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import PixelNormal, mean_known, mean_loss
from gqn.models.losses import residual_weights


class Objective(nn.Module):
    """A network with the losses of its tasks."""

    def __init__(self, graph: RecursiveGQN, *, residual_weights: bool = False) -> None:
        super().__init__()
        self.graph, self.residual_weights = graph, residual_weights

    def forward(self, batch: Batch) -> tuple[dict[str, tuple[Tensor, Tensor, Tensor]], Tensor | None]:
        """Return what to learn by, the mean loss and the mean KL of the known answers, by task, and None.

        What to learn by is the loss, for frames under `residual_weights` with those weights.

        Where the batch asks nothing, return a zero loss that touches every weight in place of None, so that
        DistributedDataParallel does not hang.
        """
        found = {}
        for name, answer in self.graph(batch).items():
            asked = batch.tasks[name]
            learned = loss = mean_loss(answer, asked)
            kl = mean_known(answer.kl.sum(dim=-1), asked.present)
            if self.residual_weights and isinstance(answer.distribution, PixelNormal):
                weights = residual_weights(asked.known(), answer.mean)
                likelihood = answer.distribution.log_prob(asked.known(), weights)
                learned = kl - mean_known(likelihood, asked.present)
            found[name] = learned, loss, kl
        if found:
            return found, None
        learning = (weight for weight in self.graph.parameters() if weight.requires_grad)
        return found, torch.stack([0 * weight.sum() for weight in learning]).sum()
