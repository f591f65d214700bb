"""Views of a volume by cameras: rays gather the cells that they pass, the nearer hiding the farther."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from gqn.core.camera import CAMERA_NUMBERS, camera_axes
from gqn.core.errors import Error
from gqn.models.cube import (
    NEAR,
    cell_axis,
    cell_number,
    cell_places,
    cells_along,
    centre_of,
    check_cameras,
    contract,
    crossed,
    expand,
    half_edges,
    half_width,
)
from gqn.models.outputs import Volume, optical_depth
from gqn.models.space import BLOCK, normed

PLACES = 1.0625  # of a ray in the world, for each cell along its edge
OUTER = 4  # places of a ray beyond the world
ROWS = 1 << 11  # rays of which `WeightedSum` takes the gradient at once


class LookThrough(nn.Module):
    """View of a volume by query cameras: pictures that rays gather, and a summary on the generator's grid.

    A ray's values are those of the cells that it passes, weighted by the light that comes from each.

    Maps r (b, c * s, s, s) and cameras (b, q, 7) to the summary (b * q, out_channels, grid, grid) and the pictures
    (b * q, c, pixels, pixels): colours of -0.5 to 0.5, features, and depth.

    Args:
        volume: what r is.
        pixels: height and width of the pictures, a multiple of `grid`: one ray each.
        out_channels: channels of the summary.
        grid: its height and width.

    Raises:
        Error: for cameras of other numbers than the seven, or a volume without densities.
    """

    def __init__(
        self, volume: Volume, *, pixels: int, out_channels: int, grid: int, cameras: int = CAMERA_NUMBERS
    ) -> None:
        super().__init__()
        check_cameras(cameras)
        if volume.weighted:
            raise Error(f"a volume of {volume.side} pooled cells a side has no densities to look through")
        self.volume, self.pixels = volume, pixels
        self.inner = round(PLACES * volume.world * volume.side)
        stride = pixels // grid
        self.fold = nn.Conv2d(volume.channels, out_channels, stride, stride=stride)
        self.mix = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, r: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        index, lengths = self.passed(cameras)
        pictures = self.gathered(self.volume.cells(r).flatten(2), index, lengths)
        summary = self.mix(self.fold(pictures).relu()).relu()
        return F.layer_norm(summary, summary.shape[1:]), pictures

    @torch.no_grad()
    def passed(self, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """Return of each place of each ray of cameras (b, q, 7) the cell that it is in, and its length in BLOCKs.

        Both (b, q, pixels, pixels, places), from near to far; while training, places vary at random within their
        share of the ray.
        """
        volume, pixels = self.volume, self.pixels
        position, forward, right, up = (axis[:, :, None, None] for axis in camera_axes(cameras))
        across = half_width(volume.field_of_view) * cell_axis(pixels, cameras)[:, None]
        edges = half_edges(volume, cameras)
        rays = (forward + across * right - across[:, None] * up) / edges  # (b, q, pixels, pixels, 3)
        start = (position - centre_of(volume, cameras)) / edges
        enter, leave = crossed(start, rays)
        length = rays.norm(dim=-1, keepdim=True)
        spacing = (leave - enter) / self.inner
        # One shift a ray, so that its places keep their distance.
        shift = torch.rand_like(enter) if self.training else 0.5
        inner = enter + spacing * (torch.arange(self.inner, device=cameras.device) + shift)
        beyond = 2.0 ** torch.arange(OUTER, device=cameras.device)
        outer = leave + (beyond - 0.6) / length
        start, ways = (axes.movedim(-1, 0).contiguous() for axes in (start, rays))
        far = contract(volume, start[..., None] + outer * ways[..., None])
        outside = cell_number((far + 1) * (volume.side / 2), volume.side)
        cell = torch.cat([cells_along(volume, start, ways, inner, volume.side), outside], dim=-1)
        length = (rays * (edges / volume.radius)).norm(dim=-1, keepdim=True)  # of the world, however flat the cube
        lengths = torch.cat([(spacing * length).expand_as(inner), beyond.to(length.dtype).expand_as(outer)], dim=-1)
        return cell, lengths * (volume.world * volume.side / (2 * BLOCK))

    def gathered(self, cells: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
        """Return the pictures of `forward` from cells (b, c, s^3), z fastest, by the places that `passed` gives."""
        b, _, count = cells.shape
        places = index.shape[-1]
        scene = count * torch.arange(b, device=cells.device, dtype=index.dtype)
        index = (index.flatten(1) + scene[:, None]).view(-1, places)  # of all scenes' cells, a row a ray
        values = cells.transpose(0, 1).flatten(1)
        depths = optical_depth(values[-1]).index_select(0, index.flatten()).view_as(index)
        left = (-depths * lengths.view_as(index))[:, :-1].cumsum(dim=1).exp()
        end = left[:, :1]  # all of the light comes to the first place, and none goes beyond the last
        light = -left.diff(dim=1, prepend=torch.ones_like(end), append=torch.zeros_like(end))
        depth = light @ torch.linspace(0, 1, places, device=light.device, dtype=light.dtype)
        # Densities are summed too, and dropped: rows without them would be a copy.
        pictures = torch.cat([WeightedSum.apply(values, light, index)[:, :-1], depth[:, None]], dim=1)
        return pictures.unflatten(0, (-1, self.pixels, self.pixels)).permute(0, 3, 1, 2)


class WeightedSum(torch.autograd.Function):
    """Sums of columns, weighted: out[n, c] = sum over p of weights[n, p] * columns[c, index[n, p]].

    columns (c, m), weights (n, p) and index (n, p) give (n, c). The same as `F.embedding_bag` in mode "sum" of the
    transposed, whose gradients take ten times as long as here, where no product of all places and channels is kept.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, columns: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(columns, weights, index)
        return F.embedding_bag(index, columns.t().contiguous(), per_sample_weights=weights, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        columns, weights, index = ctx.saved_tensors
        of_columns, of_weights = torch.zeros_like(columns), torch.zeros_like(weights)
        # Parts that stay in a processor's cache.
        for first in range(0, len(index), ROWS):
            part = slice(first, first + ROWS)
            at = index[part].flatten()
            for column, of_column, slope in zip(columns, of_columns, gradient[part].t()[..., None], strict=True):
                of_column.index_add_(0, at, (weights[part] * slope).flatten())
                of_weights[part].addcmul_(column.index_select(0, at).view_as(weights[part]), slope)
        return of_columns, of_weights, None


class Painter(nn.Module):
    """Frames from the generator's canvas and what rays have gathered: the colours as they are, and a change of them.

    canvas: channels of the canvas, at a quarter of the frame's size. seen: channels of the pictures. hidden: channels.
    Maps canvas (n, canvas, h / 4, w / 4) and pictures (n, seen, h, w) to frames (n, frame_channels, h, w).
    """

    def __init__(self, *, canvas: int, seen: int, frame_channels: int = 3, hidden: int = 32) -> None:
        super().__init__()
        self.frame_channels = frame_channels
        self.grow = nn.ConvTranspose2d(canvas, hidden, 4, stride=4)
        self.first = nn.Conv2d(hidden + seen, hidden, 3, padding=1)
        self.rest = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(hidden, frame_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, canvas: Tensor, pictures: Tensor) -> Tensor:
        grown = self.grow(canvas)
        found = self.first(torch.cat([grown, pictures.to(grown.dtype)], dim=1)).relu()
        for conv in self.rest:
            found = found + conv(normed(found)).relu()
        change = self.last(found)
        return change.to(pictures.dtype) + pictures[:, : self.frame_channels] + 0.5


def transmittance(volume: Volume, cells: Tensor, cameras: Tensor) -> Tensor:
    """Return the share of a cell's light that what stands before it lets through to cameras, (b, m, s, s, s).

    That of its block, whose own density does not count, nor that of what lies beyond the world.

    Args:
        volume: what r is, with densities.
        cells: of r, (b, c, s, s, s).
        cameras: (b, m, 7).
    """
    b, m = cameras.shape[:2]
    side = volume.side // BLOCK
    depths = F.avg_pool3d(optical_depth(cells[:, -1:]), BLOCK).flatten()
    index, length = between(volume, cameras)
    passed = depths.index_select(0, index.flatten()).view_as(index).sum(dim=-1) * length
    blocks = (-passed).exp().view(b, m, side, 1, side, 1, side, 1)
    return blocks.expand(-1, -1, *(side, BLOCK) * 3).reshape(b, m, *cells.shape[2:])


@torch.no_grad()
def between(volume: Volume, cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Return the blocks between each block and cameras (b, m, 7), (b, m, blocks, steps), and the length of a step.

    Blocks are numbered over all scenes; lengths (b, m, blocks) are in edges of a block. The first step begins an edge
    away from the block, or where the world does; the last ends at the camera, or where the world does. There are as
    many as blocks along the cube's edge, so that none passes over a block.
    """
    side = volume.side // BLOCK
    edges = half_edges(volume, cameras)
    start = expand(volume, cell_places(side, cameras)).flatten(0, 2)  # (blocks, 3)
    ways = ((camera_axes(cameras)[0] - centre_of(volume, cameras)) / edges)[:, :, None] - start
    length = (ways * (edges / volume.radius)).norm(dim=-1, keepdim=True) * (volume.world * side / 2)
    enter, leave = crossed(start, ways)
    end = leave.clamp(max=1)
    edge = 2 / (volume.world * side * ways.norm(dim=-1, keepdim=True))  # along z too, however flat the blocks
    begin = torch.where(enter > NEAR, enter, edge).minimum(end)  # no more than NEAR: the block is in the world
    step = (end - begin) / side
    along = begin + step * (torch.arange(side, device=cameras.device) + 0.5)
    scene = side**3 * torch.arange(len(cameras), dtype=torch.int32, device=cameras.device)[:, None, None, None]
    start, ways = (axes.movedim(-1, 0).contiguous() for axes in (start, ways))
    return cells_along(volume, start, ways, along, side).add_(scene), (step * length).squeeze(-1)
