"""Convolutions in space: over the cells of a cube, slice by slice, at one size or several."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 2  # cells along an edge of a block


class ConvSpace(nn.Module):
    """A convolution of 3 x 3 x 3 cells and a ReLU.

    Maps slices (b, x, in_channels, y, z) to (b, x, out_channels, y, z). It is one over y and z of a slice beside its
    neighbours, which is faster on a CPU than one over three axes.

    Args:
        in_channels: channels of a cell.
        out_channels: the same of the result.
        normalise: normalise each cell over its channels, before the ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, *, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv = nn.Conv2d(3 * in_channels, out_channels, 3, padding=1)

    def forward(self, slices: Tensor) -> Tensor:
        found = self.conv(with_neighbours(slices))
        return (normed(found) if self.normalise else found).relu().unflatten(0, (len(slices), -1))


class HalveSpace(nn.Conv2d):
    """A convolution that makes one cell of each block of 2 x 2 x 2, and a ReLU.

    Maps slices (b, x, in_channels, y, z) to (b, x / 2, out_channels, y / 2, z / 2), by pairs of slices. Arguments are
    those of `ConvSpace`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, normalise: bool = True) -> None:
        super().__init__(2 * in_channels, out_channels, 2, stride=2)
        self.normalise = normalise

    def forward(self, slices: Tensor) -> Tensor:
        pairs = slices.unflatten(1, (-1, 2)).flatten(2, 3)
        found = super().forward(pairs.flatten(0, 1))
        return (normed(found) if self.normalise else found).relu().unflatten(0, pairs.shape[:2])


class SpaceLevels(nn.Module):
    """Convolutions in space at several sizes: cells, cells of twice the edge, and so on, added up.

    Maps slices (b, x, width, y, z) to the same. levels: sizes below this one, each with twice the channels.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.conv = ConvSpace(width, width)
        self.below: SpaceLevels | None = None
        if levels:
            self.down = HalveSpace(width, 2 * width)
            self.below = SpaceLevels(2 * width, levels - 1)
            self.up = nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2)  # to pairs of slices

    def forward(self, slices: Tensor) -> Tensor:
        found = slices + self.conv(slices)
        if self.below is None:
            return found
        return found + doubled(self.up, self.below(self.down(slices)))


def normed(x: Tensor) -> Tensor:
    """Return x (n, c, h, w) over the root of its mean square over the channels."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-3).rsqrt()


def with_neighbours(slices: Tensor) -> Tensor:
    """Return each slice between the one before and the one after it: (b, x, c, y, z) -> (b * x, 3 c, y, z)."""
    padded = F.pad(slices, (0, 0, 0, 0, 0, 0, 1, 1))
    beside = torch.cat([padded[:, :-2], slices, padded[:, 2:]], dim=2).flatten(0, 1)
    return beside.contiguous(memory_format=torch.channels_last)


def doubled(up: nn.ConvTranspose2d, slices: Tensor) -> Tensor:
    """Return slices (b, 2 x, c, 2 y, 2 z) by a layer that makes a pair of them of each of (b, x, in_channels, y, z)."""
    pairs = up(slices.flatten(0, 1)).unflatten(0, slices.shape[:2])
    return pairs.unflatten(2, (2, -1)).flatten(1, 2)


def as_blocks(cells: Tensor) -> Tensor:
    """Return cells (b, c, s, s, s) by block, those of a block side by side: (b, x, y, z, BLOCK^3, c)."""
    blocks = cells.shape[-1] // BLOCK
    cells = cells.view(*cells.shape[:2], *(blocks, BLOCK) * 3).permute(0, 2, 4, 6, 3, 5, 7, 1)
    return cells.reshape(len(cells), blocks, blocks, blocks, BLOCK**3, -1)


def as_cells(blocks: Tensor) -> Tensor:
    """Return the inverse of `as_blocks`."""
    b, side, c = len(blocks), BLOCK * blocks.shape[1], blocks.shape[-1]
    return blocks.unflatten(-2, (BLOCK,) * 3).permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(b, c, side, side, side)
