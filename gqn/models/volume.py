"""A representation with a place in space: views are gathered into the cells of a cube, query cameras look through it.

Not in the paper, whose networks learn what a camera's numbers mean. Here the pinhole camera of `gqn.core.camera` is
given. A cell of the cube reads each view where it would be seen: its colours, and features that are learned. Their
mean over the views, and the deviation of the colours, tell where a surface is, since there the views agree (as in
MVSNet, Yao et al. 2018; IBRNet, Wang et al. 2021). Convolutions in space see blocks of cells, and what they say of a
block meets what each of its cells has read: r is the surfaces that they find, of each cell colours, features and how
dense it is. A ray of the query's camera gathers the cells that it passes, the nearer hiding the farther.

The inner part of the cube holds the world, evenly; space beyond is contracted into what is left of it, so that walls
far away have cells too (as in mip-NeRF 360, Barron et al. 2022).
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from gqn.core.camera import CAMERA_NUMBERS, camera_axes
from gqn.core.errors import Error
from gqn.models.outputs import Volume, averaged_by_opacity, optical_depth

SIDE = 32  # cells along an edge of the cube
BLOCK = 2  # cells along an edge of a block
WIDTH = 32  # channels of the convolutions in space, and of what a cell makes of them
LEVELS = 2  # sizes of blocks, each twice the one before, beside the smallest, that convolutions in space see
OUTER = 4  # places of a ray beyond the world
WORLD = 0.8  # of the cube's half edge, which the world takes; the rest is for what lies beyond
FEATURES = 8  # channels of what a ray gathers beside the colours
FIELD_OF_VIEW = 20.0  # degrees, vertical: that of the Shepard-Metzler datasets
RADIUS = 0.6  # world units: theirs too
NEAREST = 1e-3  # world units; what is nearer to the camera, or behind it, is not seen
FARTHEST = 2.0  # half edges of the world, at which a cell lies that reaches to infinity
UNSEEN = 3.0  # place of what is not seen, where the frame ends at 1
NEAR = 0.02  # where a ray begins at the earliest, in lengths of its direction
ROWS = 1 << 11  # rays of which `WeightedSum` takes the gradient at once
OPAQUE = 20.0  # optical depth of the last place of a ray


class VolumeEncoder(nn.Module):
    """Colours and features of a view, from its frame alone, brought to the cells of a cube by its camera.

    Of each cell come the values f that it reads, the square of its colours, and 1 where the view shows the cell, else
    zeros. The sum or the mean of that over views holds the mean of f and the deviation of the colours over those that
    show the cell (`statistics`); `join` makes r of it.

    Maps frames (n, 3, h, w) and cameras (n, 7) to (n, (channels + 2) * s, s, s) for s cells a side.

    Args:
        pixels: height and width of the frames.
        channels: values that a cell reads of a view, colours included.
        side: cells along an edge of the cube.
        field_of_view: degrees, vertical, of the cameras.
        centre: centre (x, y, z) of the world, world units.
        radius: half an edge of the world along x and y, world units.
        height: of the world along z, in such edges: cells are as flat as the world.
        hidden: channels of the convolutions over the frame.
        pooled: cells along an edge of r, each the mean over a block of cells as `Volume.coarse` has it, which no camera
            looks through; 0 for all cells as they are. Without it r may be too large to keep of thousands of scenes.

    Raises:
        Error: for cameras of other numbers than the seven, fewer channels than the frame has, or sizes that don't fit.
    """

    def __init__(
        self,
        *,
        pixels: int,
        channels: int = 8,
        side: int = SIDE,
        cameras: int = CAMERA_NUMBERS,
        frame_channels: int = 3,
        field_of_view: float = FIELD_OF_VIEW,
        centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
        radius: float = RADIUS,
        height: float = 1.0,
        hidden: int = 32,
        pooled: int = 0,
    ) -> None:
        super().__init__()
        check_cameras(cameras)
        if pooled and (pooled < 0 or side % pooled):
            raise Error(f"pooled {pooled}: must divide the {side} cells a side, or be 0")
        if channels <= frame_channels or side % (BLOCK << LEVELS) or pixels % 4:
            raise Error(
                f"{channels} channels, {side} cells a side and {pixels} pixels: a volume needs more channels than the "
                f"{frame_channels} of the frame, a multiple of {BLOCK << LEVELS} cells and of 4 pixels"
            )
        learned = channels - frame_channels
        x, y, z = centre
        self.pinhole = half_width(field_of_view)
        self.side = side
        self.join = Surfaces(channels + 2, side, frame_channels=frame_channels, pooled=pooled)
        self.output = Volume(
            self.join.channels, pooled or side, field_of_view, (x, y, z), radius, height, weighted=bool(pooled)
        )
        self.near = nn.Sequential(
            nn.Conv2d(frame_channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, learned, 3, padding=1),
        )
        self.wide = nn.Sequential(
            nn.Conv2d(frame_channels, hidden, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, learned, 3, padding=1),
            nn.Upsample(scale_factor=4, mode="bilinear"),
        )

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        colours = frames - 0.5
        learned = (self.near(frames) + self.wide(frames)).to(frames.dtype)
        squares = colours.square().sum(dim=1, keepdim=True)
        read = torch.cat([colours, learned, squares, torch.ones_like(squares)], dim=1)
        places = self.places(cameras).flatten(2, 3)
        # Zeros beyond the frame: where a view does not show a cell, it says nothing.
        cells = F.grid_sample(read, places, align_corners=False)  # (n, c, s, s * s)
        return cells.unflatten(3, (self.side,) * 2).flatten(1, 2)

    def places(self, cameras: Tensor) -> Tensor:
        """Return of each cell, for cameras (n, 7), its place in the frame (n, s, s, s, 2).

        Places run from -1 to 1, to the right and downward, as `grid_sample` has them; UNSEEN for what is not before the
        camera.
        """
        position, *directions = camera_axes(cameras)
        along = cell_coordinates(replace(self.output, side=self.side), cameras) - position[..., None]  # (n, 3, s)
        depth, x, y = (
            parts[:, 0, :, None, None] + (parts[:, 1, :, None] + parts[:, 2, None])[:, None]
            for parts in (direction[..., None] * along for direction in directions)
        )
        scale = 1 / (depth.clamp(min=NEAREST) * self.pinhole)
        place = torch.stack([x * scale, -y * scale], dim=-1)
        return place.clamp(-UNSEEN, UNSEEN).masked_fill((depth <= NEAREST)[..., None], UNSEEN)


class Surfaces(nn.Module):
    """Surfaces in space: what is said of each cell by what the views say of it, and by convolutions over its block.

    Colours are the views' mean and a change of it; features follow, and density last, which `optical_depth` takes.

    Maps what `VolumeEncoder` gives, summed or averaged over the views, (b, channels_read * s, s, s), to r
    (b, `channels` * t, t, t), channel and x together; t = `pooled` or s.

    Args:
        channels_read: values of a cell.
        side: cells along an edge, s.
        width: channels of the convolutions in space.
        features: channels beside colours and density.
        frame_channels: colours.
        pooled: cells along an edge of r, see `VolumeEncoder`.
    """

    def __init__(
        self,
        channels_read: int,
        side: int,
        *,
        width: int = WIDTH,
        features: int = FEATURES,
        frame_channels: int = 3,
        pooled: int = 0,
    ) -> None:
        super().__init__()
        self.side, self.colours, self.pooled = side, frame_channels, pooled
        self.channels = frame_channels + features + 1
        # Of a cell: colours, features and their deviation, and the share of views that show it.
        self.gather = nn.Linear(BLOCK**3 * channels_read + 3, width)
        self.convs = SpaceLevels(width, LEVELS)
        self.spread = nn.Linear(width, BLOCK**3 * width)
        self.read = nn.Linear(channels_read, width)
        self.last = nn.Linear(width, self.channels)
        nn.init.normal_(self.last.weight, std=0.03)  # else a fog hides all
        nn.init.zeros_(self.last.bias)

    def forward(self, read: Tensor) -> Tensor:
        b, blocks = len(read), self.side // BLOCK
        cells = as_blocks(readings(read.unflatten(1, (-1, self.side)), self.colours))
        place = cell_places(blocks, read).expand(b, -1, -1, -1, -1)
        gathered = self.gather(torch.cat([cells.flatten(-2), place], dim=-1))
        found = self.convs(gathered.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
        said = self.last((self.spread(found).unflatten(-1, (BLOCK**3, -1)) + self.read(cells)).relu()).to(read.dtype)
        colours = cells[..., : self.colours] / 2 + said[..., : self.colours]
        said = torch.cat([colours, said[..., self.colours :]], dim=-1)
        found = as_cells(said)
        return (averaged_by_opacity(found, self.pooled) if self.pooled else found).flatten(1, 2)


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
        self.inner = round(0.85 * volume.side)  # places of a ray in the world
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
        cell = torch.zeros(1, dtype=torch.int32, device=cameras.device)
        for axis in range(3):  # not all at once, which would take three times the memory
            first, slope = start[..., axis, None], rays[..., axis, None]
            place = torch.cat([WORLD * first + inner * (WORLD * slope), contract(first + outer * slope)], dim=-1)
            along = place.add_(1).mul_(volume.side / 2).clamp_(0, volume.side - 1).int()
            cell = cell * volume.side + along
        length = (rays * (edges / volume.radius)).norm(dim=-1, keepdim=True)  # of the world, however flat the cube
        lengths = torch.cat([(spacing * length).expand_as(inner), beyond.to(length.dtype).expand_as(outer)], dim=-1)
        return cell, lengths * (WORLD * volume.side / (2 * BLOCK))

    def gathered(self, cells: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
        """Return the pictures of `forward` from cells (b, c, s^3), z fastest, by the places that `passed` gives."""
        b, _, count = cells.shape
        places = index.shape[-1]
        scene = count * torch.arange(b, device=cells.device, dtype=index.dtype)
        index = (index.flatten(1) + scene[:, None]).view(-1, places)  # of all scenes' cells, a row a ray
        values = cells.transpose(0, 1).flatten(1)
        depths = optical_depth(values[-1]).index_select(0, index.flatten()).view_as(index)
        thickness = depths * lengths.view_as(index)
        thickness = torch.cat([thickness[:, :-1], torch.full_like(thickness[:, :1], OPAQUE)], dim=1)
        light = (thickness - thickness.cumsum(dim=1)).exp() * (1 - (-thickness).exp())
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


def statistics(r: Tensor, colours: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean over the views that show a cell, standard deviation of its colours, and the share of views that do.

    r: (b, c + 2, x, y, z), sums or means over views of what `VolumeEncoder` gives. Returns (b, c, x, y, z) and
    (b, 1, x, y, z) twice; zeros, with a deviation of 0.01, for a cell that no view shows.
    """
    values, squares, share = r.split([r.shape[1] - 2, 1, 1], dim=1)
    count = share.clamp(min=1e-3)
    mean = values / count
    variance = squares / count - mean[:, :colours].square().sum(dim=1, keepdim=True)
    return mean, (variance.clamp(min=0) + 1e-4).sqrt(), share


def readings(r: Tensor, colours: int = 3) -> Tensor:
    """Return the three of `statistics`, brought to like size, together: (b, c + 2, x, y, z)."""
    mean, deviation, share = statistics(r, colours)
    return torch.cat([2 * mean, 6 * deviation - 1, share], dim=1)


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


def crossed(start: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Return where rays enter and leave the cube of half edge 1 round the origin, in their lengths, (..., 1) each.

    A ray that misses the cube does both where it is nearest to the middle; none begins before NEAR.
    """
    slope = 1 / torch.where(rays.abs() < 1e-6, 1e-6, rays)
    first, second = (-1 - start) * slope, (1 - start) * slope
    enter = torch.minimum(first, second).amax(dim=-1, keepdim=True).clamp(min=NEAR)
    leave = torch.maximum(first, second).amin(dim=-1, keepdim=True)
    middle = -(start * rays).sum(dim=-1, keepdim=True) / rays.square().sum(dim=-1, keepdim=True)
    missed = leave <= enter
    middle = middle.clamp(min=NEAR)
    return torch.where(missed, middle, enter), torch.where(missed, middle, leave)


def contract(place: Tensor) -> Tensor:
    """Return the cube's coordinate, -1 to 1, of one in units of the world's radius: even up to 1, which is at WORLD."""
    far = place.sign() * (1 - (1 - WORLD) / place.abs().clamp(min=1))
    return torch.where(place.abs() <= 1, WORLD * place, far)


def expand(place: Tensor) -> Tensor:
    """Return the inverse of `contract`."""
    far = place.sign() * (1 - WORLD) / (1 - place.abs()).clamp(min=1e-4)
    return torch.where(place.abs() <= WORLD, place / WORLD, far)


def cell_axis(count: int, like: Tensor) -> Tensor:
    """Return the centres of `count` equal parts of -1 to 1, (count,)."""
    return ((torch.arange(count, device=like.device) + 0.5) * (2 / count) - 1).to(like.dtype)


def cell_places(side: int, like: Tensor) -> Tensor:
    """Return the middles of a cube's cells, whose edges run from -1 to 1, (side, side, side, 3)."""
    along = cell_axis(side, like)
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"), dim=-1)


def cell_coordinates(volume: Volume, like: Tensor) -> Tensor:
    """Return the world coordinates of the cells' centres along x, y and z, (3, s)."""
    return expand(cell_axis(volume.side, like)) * half_edges(volume, like)[:, None] + centre_of(volume, like)[:, None]


def in_world(volume: Volume, places: Tensor) -> Tensor:
    """Return world coordinates of places (..., 3) in a volume's cube, whose edges run from -1 to 1.

    What lies beyond the world counts as not farther than FARTHEST.
    """
    return expand(places).clamp(-FARTHEST, FARTHEST) * half_edges(volume, places) + centre_of(volume, places)


def centre_of(volume: Volume, like: Tensor) -> Tensor:
    """Return the centre of a volume, (3,)."""
    return torch.stack([like.new_full((), along) for along in volume.centre])  # no copy, for which CUDA would wait


def half_edges(volume: Volume, like: Tensor) -> Tensor:
    """Return half the edges of a volume's world along x, y and z, world units, (3,)."""
    return torch.stack([like.new_full((), volume.radius * part) for part in (1.0, 1.0, volume.height)])


def half_width(field_of_view: float) -> float:
    """Return half the width of what a camera sees at distance 1."""
    if not 0 < field_of_view < 180:
        raise Error(f"a field of view of {field_of_view:g} degrees: it is between 0 and 180")
    return math.tan(math.radians(field_of_view) / 2)


def check_cameras(cameras: int) -> None:
    if cameras != CAMERA_NUMBERS:
        raise Error(f"a volume takes the {CAMERA_NUMBERS} numbers of a camera, not {cameras}")
