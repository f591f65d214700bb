"""The kinds of representation that a node gives: from them, whoever reads the node builds its own read-out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Channels on a grid in the plane of a picture; on one cell they describe the scene as a whole."""

    channels: int
    height: int = 1
    width: int = 1

    @property
    def shape(self) -> Shape:
        """Shape (c, h, w) of r."""
        return self.channels, self.height, self.width

    @property
    def numbers(self) -> int:
        """Numbers that r has in all."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Volume:
    """Channels in the cells of a cube in space, and the lens of the cameras that see it.

    r has shape (channels * side, side, side): channel and x together, then y, then z; `cells` takes them apart.

    Args:
        channels: channels of a cell.
        side: cells along an edge of the cube.
        field_of_view: degrees, vertical, of the cameras.
        centre: centre (x, y, z) of the cube, world units.
        radius: half an edge of the cube, world units.
        height: of the cube along z, in its edges.
        nearest: read by `gqn.models.nearest` and not by `gqn.models.volume`.
    """

    channels: int
    side: int
    field_of_view: float
    centre: tuple[float, float, float]
    radius: float
    height: float = 1.0
    nearest: bool = False

    @property
    def shape(self) -> Shape:
        """Shape (c, h, w) of r."""
        return self.channels * self.side, self.side, self.side

    def cells(self, r: Tensor) -> Tensor:
        """Return the cells of r (b, c, h, w) by channel and place, (b, channels, x, y, z)."""
        if self.nearest:  # has x before the channel
            return r.unflatten(1, (self.side, self.channels)).transpose(1, 2)
        return r.unflatten(1, (self.channels, self.side))

    @property
    def numbers(self) -> int:
        """Numbers that r has in all."""
        return math.prod(self.shape)


Output = Grid | Volume


def summed(*outputs: Output) -> Output:
    """Return the kind of a sum of representations, in which one cell is laid on every cell of a grid.

    Raises:
        RuntimeError: where the sizes differ.
    """
    first = outputs[0]
    if all(output == first for output in outputs):
        return first
    return Grid(*torch.broadcast_shapes(*(output.shape for output in outputs)))
