"""A representation with a place in space: views are gathered into the cells of a cube, query cameras look through it.

Not in the paper, whose networks learn what a camera's numbers mean. Here the pinhole camera of `gqn.core.camera` is
given. A cell of the cube reads each view where it would be seen: its colours, and features that are learned. Their
mean over the views, and the deviation of the colours, tell where a surface is, since there the views agree (as in
MVSNet, Yao et al. 2018; IBRNet, Wang et al. 2021). Convolutions in space see blocks of cells, and what they say of a
block meets what each of its cells has read: r is the surfaces that they find, of each cell colours, features and how
dense it is. In a second pass a view counts for a cell as far as these surfaces let it be seen, so that what stands
before a cell says nothing of it. A ray of the query's camera gathers the cells that it passes (`gqn.models.rays`).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from gqn.core.camera import BEYOND, CAMERA_NUMBERS, camera_axes
from gqn.core.errors import Error
from gqn.core.views import Views
from gqn.models.cube import cell_coordinates, cell_places, check_cameras, half_width
from gqn.models.outputs import Volume, averaged_by_opacity
from gqn.models.rays import transmittance
from gqn.models.space import BLOCK, SpaceLevels, as_blocks, as_cells

SIDE = 32  # cells along an edge of the cube
WIDTH = 32  # channels of the convolutions in space, and of what a cell makes of them
LEVELS = 2  # sizes of blocks, each twice the one before, beside the smallest, that convolutions in space see
FEATURES = 8  # channels of what a ray gathers beside the colours
FIELD_OF_VIEW = 20.0  # degrees, vertical: that of the Shepard-Metzler datasets
RADIUS = 0.6  # world units: theirs too
NEAREST = 1e-3  # world units; what is nearer to the camera, or behind it, is not seen
UNSEEN = 3.0  # place of what is not seen, where the frame ends at 1
HIDDEN = 0.05  # weight of a view for a cell that is wholly hidden from it


class VolumeEncoder(nn.Module):
    """Colours and features of a view, from its frame alone, brought to the cells of a cube by its camera.

    Of each cell come the values f that it reads, the square of its colours, and 1 where the view shows the cell, else
    zeros. The mean of that over views holds the mean of f and the deviation of the colours over those that show the
    cell (`statistics`); `join` makes r of it.

    Maps frames (n, 3, h, w) and cameras (n, 7) to (n, (channels + 2) * s, s, s) for s cells a side.

    Args:
        pixels: height and width of the frames.
        channels: values that a cell reads of a view, colours included.
        side: cells along an edge of the cube.
        field_of_view: degrees, vertical, of the cameras.
        centre: centre (x, y, z) of the world, world units.
        radius: half an edge of the world along x and y, world units.
        height: of the world along z, in such edges: cells are as flat as the world.
        beyond: share of the cells along each half of an edge that is for what lies beyond the world.
        hidden: channels of the convolutions over the frame.
        pooled: cells along an edge of r, each the mean over a block of cells as `Volume.coarse` has it, which no camera
            looks through; 0 for all cells as they are. Without it r may be too large to keep of thousands of scenes.
        passes: times that surfaces are found; from the second on, what those found before hide from a view counts less.

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
        beyond: float = BEYOND,
        hidden: int = 32,
        pooled: int = 0,
        passes: int = 1,
    ) -> None:
        super().__init__()
        check_cameras(cameras)
        if passes < 1:
            raise Error(f"{passes} passes: surfaces are found once or more often")
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
        self.volume = Volume(frame_channels + FEATURES + 1, side, field_of_view, (x, y, z), radius, height, beyond)
        self.join = Surfaces(channels + 2, self.volume, frame_channels=frame_channels, pooled=pooled, passes=passes)
        self.output = replace(self.volume, side=pooled or side, weighted=bool(pooled))
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
        return cells.unflatten(3, (self.volume.side,) * 2).flatten(1, 2)

    def places(self, cameras: Tensor) -> Tensor:
        """Return of each cell, for cameras (n, 7), its place in the frame (n, s, s, s, 2).

        Places run from -1 to 1, to the right and downward, as `grid_sample` has them; UNSEEN for what is not before the
        camera.
        """
        position, *directions = camera_axes(cameras)
        along = cell_coordinates(self.volume, cameras) - position[..., None]  # (n, 3, s)
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

    Maps what `VolumeEncoder` gives of each view (b, m, channels_read * s, s, s) and the views, whose cameras and
    presence count, to r (b, c * t, t, t), channel and x together; t = `pooled` or s.

    Args:
        channels_read: values of a cell.
        volume: what r is, before it is pooled.
        width: channels of the convolutions in space.
        frame_channels: colours.
        pooled: cells along an edge of r, see `VolumeEncoder`.
        passes: times that surfaces are found, see `VolumeEncoder`.
    """

    def __init__(
        self,
        channels_read: int,
        volume: Volume,
        *,
        width: int = WIDTH,
        frame_channels: int = 3,
        pooled: int = 0,
        passes: int = 1,
    ) -> None:
        super().__init__()
        self.volume, self.colours, self.pooled, self.passes = volume, frame_channels, pooled, passes
        # Of a cell: colours, features and their deviation, and the share of views that show it, by their weights.
        self.gather = nn.Linear(BLOCK**3 * channels_read + 3, width)
        self.convs = SpaceLevels(width, LEVELS)
        self.spread = nn.Linear(width, BLOCK**3 * width)
        self.read = nn.Linear(channels_read, width)
        self.last = nn.Linear(width, volume.channels)
        nn.init.normal_(self.last.weight, std=0.03)  # else a fog hides all
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor, views: Views) -> Tensor:
        features = features.unflatten(2, (-1, self.volume.side))  # (b, m, c, s, s, s)
        cameras = views.cameras
        count: Tensor | int = max(1, cameras.shape[1])
        if views.present is not None:
            there = views.present[:, :, None, None, None, None]
            features, count = torch.where(there, features, 0), there.sum(dim=1).clamp(min=1)
            cameras = torch.where(views.present[..., None], cameras, 0)  # anything may stand in their place
        found = self.found(features.sum(dim=1) / count)
        for _ in range(1, self.passes):
            weights = HIDDEN + (1 - HIDDEN) * transmittance(self.volume, found, cameras)
            found = self.found(WeightedViews.apply(features, weights) / count)
        return (averaged_by_opacity(found, self.pooled) if self.pooled else found).flatten(1, 2)

    def found(self, read: Tensor) -> Tensor:
        """Return the cells of r, (b, c, s, s, s), by means over the views, (b, channels_read, s, s, s)."""
        cells = as_blocks(readings(read, self.colours))
        place = cell_places(self.volume.side // BLOCK, read).expand(len(read), -1, -1, -1, -1)
        gathered = self.gather(torch.cat([cells.flatten(-2), place], dim=-1))
        found = self.convs(gathered.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
        said = self.last((self.spread(found).unflatten(-1, (BLOCK**3, -1)) + self.read(cells)).relu()).to(read.dtype)
        colours = cells[..., : self.colours] / 2 + said[..., : self.colours]
        return as_cells(torch.cat([colours, said[..., self.colours :]], dim=-1))


class WeightedViews(torch.autograd.Function):
    """Sums over views, weighted cell by cell: out[b, c] = sum over m of weights[b, m] * features[b, m, c].

    features (b, m, c, s, s, s) and weights (b, m, s, s, s) give (b, c, s, s, s). Their product, as large as the
    features, is never kept.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(features, weights)
        total = features.new_zeros(len(features), *features.shape[2:])
        for view in range(features.shape[1]):
            total.addcmul_(features[:, view], weights[:, view, None])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, weights = ctx.saved_tensors
        of_weights = torch.empty_like(weights)
        for view in range(features.shape[1]):
            of_weights[:, view] = (features[:, view] * gradient).sum(dim=1)
        return weights[:, :, None] * gradient[:, None], of_weights


def statistics(r: Tensor, colours: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean over the views that show a cell, standard deviation of its colours, and the share of views that do.

    r: (b, c + 2, x, y, z), means over views of what `VolumeEncoder` gives; weights of the views count in all three.
    Returns (b, c, x, y, z) and (b, 1, x, y, z) twice; zeros, with a deviation of 0.01, for a cell that no view shows.
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
