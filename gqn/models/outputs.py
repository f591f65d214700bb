"""The kinds of representation that a node gives: from them, whoever reads the node builds its own read-out."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from gqn.core.camera import BEYOND

FINEST = 16  # cells along an edge of a volume, at most, that heads and second layers read

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


@dataclass(frozen=True)
class Volume:
    """Surfaces in the cells of a cube in space, and the lens of the cameras that see it.

    Of each cell r holds colours, features and, last, density. It has shape (channels * side, side, side): channel and x
    together, then y, then z; `cells` takes them apart.

    Args:
        channels: channels of a cell.
        side: cells along an edge of the cube.
        field_of_view: degrees, vertical, of the cameras.
        centre: centre (x, y, z) of the cube, world units.
        radius: half an edge of the cube, world units.
        height: of the cube along z, in its edges.
        beyond: share of the cells along each half of an edge for space beyond the cube, contracted into them.
        weighted: whether r is such as `coarse` gives it.
    """

    channels: int
    side: int
    field_of_view: float
    centre: tuple[float, float, float]
    radius: float
    height: float = 1.0
    beyond: float = BEYOND
    weighted: bool = False

    @property
    def world(self) -> float:
        """Share of the cells along an edge that the cube itself takes."""
        return 1 - self.beyond

    @property
    def shape(self) -> Shape:
        """Shape (c, h, w) of r."""
        return self.channels * self.side, self.side, self.side

    def cells(self, r: Tensor) -> Tensor:
        """Return the cells of r (b, c, h, w) by channel and place, (b, channels, x, y, z)."""
        return r.unflatten(1, (self.channels, self.side))

    def coarse(self, r: Tensor, side: int = FINEST) -> Tensor:
        """Return what heads and second layers read of r (b, c, h, w), (b, channels, s, s, s), s at most `side`.

        Of each block of cells the mean of their values times their opacity, and the mean opacity in place of density:
        what an empty cell says counts for nothing.
        """
        mean = averaged if self.weighted else averaged_by_opacity
        return mean(self.cells(r), min(side, self.side))

    @property
    def read(self) -> "Volume":
        """The kind of what `coarse` gives."""
        return replace(self, side=min(FINEST, self.side), weighted=True)


def optical_depth(density: Tensor) -> Tensor:
    """Return the optical depth of a block's edge (`gqn.models.space.BLOCK`) for a density, any real number."""
    return F.softplus(5 * density - 2)


def averaged_by_opacity(cells: Tensor, side: int) -> Tensor:
    """Return what `Volume.coarse` does of cells (b, c, x, y, z) whose last channel is density, `side` along an edge."""
    opacity = -torch.expm1(-optical_depth(cells[:, -1:]))
    return averaged(torch.cat([cells[:, :-1] * opacity, opacity], dim=1), side)


def averaged(cells: Tensor, side: int) -> Tensor:
    """Return means over blocks of cells (b, c, x, y, z), (b, c, side, side, side)."""
    return cells if cells.shape[-1] == side else F.adaptive_avg_pool3d(cells, side)


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
