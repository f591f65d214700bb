"""Readers: networks that make a few numbers of a whole representation, for heads and for representations above it."""

import math

import torch
from torch import Tensor, nn

from gqn.models.cube import cell_places
from gqn.models.outputs import Grid, Output, Volume
from gqn.models.space import ConvSpace, HalveSpace

FEW = 4  # cells along an edge of a volume, at most, that one layer reads together
WIDTH = 32  # channels of the first convolutions in space


def reader(inputs: Output, numbers: int) -> nn.Module:
    """Return a network from a representation (b, c, h, w) to so many numbers, (b, numbers).

    Of a grid it is one layer; a volume has too many cells for that.
    """
    return CellsReader(inputs, numbers) if isinstance(inputs, Volume) else GridReader(inputs, numbers)


class GridReader(nn.Linear):
    """Numbers of a whole grid by one layer: maps r (b, c, h, w) to (b, numbers)."""

    def __init__(self, inputs: Grid, numbers: int) -> None:
        super().__init__(math.prod(inputs.shape), numbers)

    def forward(self, r: Tensor) -> Tensor:
        return super().forward(r.flatten(1))


class CellsReader(nn.Module):
    """Numbers of a whole volume: convolutions in space and halvings, until a layer reads the few cells that are left.

    A place of the volume is found by the same weights wherever it is, which one layer over all cells would have to
    learn anew for each of them. Maps r (b, c * s, s, s) to (b, numbers).
    """

    def __init__(self, inputs: Volume, numbers: int) -> None:
        super().__init__()
        self.inputs = inputs
        side, width = inputs.read.side, WIDTH
        self.first = ConvSpace(inputs.read.channels + 3, width, normalise=False)
        self.halve, self.convs = nn.ModuleList(), nn.ModuleList()
        while side > FEW and side % 2 == 0:
            self.halve.append(HalveSpace(width, 2 * WIDTH, normalise=False))
            self.convs.append(ConvSpace(2 * WIDTH, 2 * WIDTH, normalise=False))
            side, width = side // 2, 2 * WIDTH
        self.last = nn.Linear(width * side**3, numbers)

    def forward(self, r: Tensor) -> Tensor:
        # Each channel standardised over a scene's cells: most are empty, where all are near zero, and are to stay so.
        cells = nn.functional.instance_norm(self.inputs.coarse(r))
        places = cell_places(cells.shape[-1], cells).movedim(-1, 0).expand(len(cells), -1, -1, -1, -1)
        slices = self.first(torch.cat([cells, places], dim=1).transpose(1, 2))
        for halve, conv in zip(self.halve, self.convs, strict=True):
            slices = halve(slices)
            slices = slices + conv(slices)
        return self.last(slices.flatten(1))
