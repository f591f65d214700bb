"""A small nonlinear probe of a volume's cells: one network for all places, which reads the cells round each.

Beside the linear probes of `gqn.training.probes`: what only it reads is in r, though along no direction of its numbers,
as a ball of any hue.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gqn.core.progress import Progress
from gqn.data.truth import Array
from gqn.models.outputs import Volume
from gqn.training.probes import cells_near

HIDDEN = 64
EPOCHS = 8
BATCH = 16  # scenes
LEARNING_RATE = 4e-3  # the highest of the schedule
WEIGHT_DECAY = 1e-2


class CellProbe(nn.Module):
    """Network of two hidden layers that answers about a place by the cells round it, alike wherever the place lies.

    Maps cells (b, c, s^3) to answers (b, nodes, k), which are the usual ones there and a change of them.

    Args:
        cells: of the scenes to learn from, (n, c, s^3).
        targets: of these, (n, nodes, k).
        near: numbers of the cells round each place, (nodes, 27).
        nodes: places (nodes, 3).
    """

    def __init__(self, cells: Tensor, targets: Tensor, near: Tensor, nodes: Tensor) -> None:
        super().__init__()
        channels, answers = cells.shape[1], targets.shape[2]
        deviation, self.middle = torch.std_mean(cells.float(), dim=(0, 2), keepdim=True)
        self.deviation = deviation.clamp(min=1e-6)
        self.usual = targets.mean(dim=0)
        self.spread = (targets - self.usual).square().mean(dim=(0, 1)).sqrt().clamp(min=1e-6)
        self.near = near
        self.place = (nodes - nodes.mean(dim=0)) / nodes.std(dim=0).clamp(min=1e-6)
        last = nn.Linear(HIDDEN, answers)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = nn.Linear(near.shape[1] * channels + 3, HIDDEN)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), last)

    def forward(self, cells: Tensor) -> Tensor:
        cells = (cells.float() - self.middle) / self.deviation
        read = cells[:, :, self.near].transpose(1, 2).flatten(2)  # (b, nodes, 27 c)
        read = torch.cat([read, self.place.expand(len(read), -1, -1)], dim=2)
        return self.usual + self.spread * self.layers(read)


def read_by_network(r: tuple[Tensor, Tensor], volume: Volume, nodes: Array, targets: Tensor, seed: int) -> Array:
    """Return the answers (t, m) about held-out scenes of a probe that learned from others.

    Args:
        r: `Volume.coarse` of the scenes to learn from (n, ...) and of the held-out ones (t, ...).
        volume: of which kind r is.
        nodes: places (nodes, 3), world units, of which the answers are.
        targets: right answers of the scenes to learn from, (n, m); those of a node lie together.
        seed: of the weights and of the order of scenes.
    """
    train, test = (cells.flatten(2) for cells in r)
    right = targets.float().unflatten(1, (len(nodes), -1))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        torch.manual_seed(seed)
        places = torch.as_tensor(nodes, dtype=torch.float32)
        probe = CellProbe(train, right, cells_near(volume, places), places)
        batches = [b for _ in range(EPOCHS) for b in torch.randperm(len(train), generator=generator).split(BATCH)]
        optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=len(batches))
        for batch in Progress(batches, "a probe of cells learns", unit="steps", leave=False):
            F.mse_loss(probe(train[batch]) / probe.spread, right[batch] / probe.spread).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        with torch.no_grad():
            answers = torch.cat([probe(part) for part in test.split(BATCH)])
    return answers.flatten(1).double().numpy()
