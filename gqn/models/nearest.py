"""The volume before `gqn.models.volume`, for weights that were trained with it (`shepard-metzler-5-small`).

Cells read the nearest pixel of each view, rays the nearest cell at so many depths, which become channels. The cube is
centred at the origin; r is (c * s, s, s) for s cells a side and c channels a cell: x and channel together
first, then y and z.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gqn.core.camera import CAMERA_NUMBERS, camera_axes
from gqn.models.outputs import Volume
from gqn.models.volume import FIELD_OF_VIEW, NEAREST, RADIUS, Surfaces, check_cameras, half_width, with_neighbours

SIDE = 16  # cells along an edge of the cube
DEPTHS = 16  # places along a ray
DEEPER = 1.3  # radii, from the middle to the first and the last place of a ray: beyond the faces, towards the corners


class NearestEncoder(nn.Module):
    """Features of a view, from its frame alone, brought to the cells of a cube by its camera.

    It maps frames (n, 3, h, w) and cameras (n, 7) to (n, channels * s, s, s).

    Args:
        pixels: height and width of the frames.
        channels: channels of a cell.
        field_of_view: degrees, vertical, of the cameras.
        radius: half an edge of the cube, world units.
        hidden: channels of the convolutions.

    Raises:
        Error: for cameras of other numbers than the seven, or a field of view that is none.
    """

    def __init__(
        self,
        *,
        pixels: int,
        channels: int = 32,
        cameras: int = CAMERA_NUMBERS,
        frame_channels: int = 3,
        field_of_view: float = FIELD_OF_VIEW,
        radius: float = RADIUS,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        check_cameras(cameras)
        self.output = Volume(channels, SIDE, field_of_view, (0.0, 0.0, 0.0), radius, nearest=True)
        self.radius, self.pinhole, self.pixels = radius, half_width(field_of_view), pixels // 2
        self.see = nn.Sequential(
            nn.Conv2d(frame_channels, hidden, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )
        self.mix = nn.Linear(channels, channels)

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        features = self.see(frames).permute(0, 2, 3, 1).flatten(1, 2)  # (n, h * w, c)
        cells = self.mix(take(features, *self.seen(cameras)).relu())
        return cells.unflatten(1, (SIDE, SIDE, SIDE)).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def seen(self, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """Return of each cell the pixel that shows it, and whether one does, (n, s^3) each, for cameras (n, 7)."""
        position, forward, right, up = camera_axes(cameras)
        away = cell_centres(self.radius, cameras) - position[:, None]  # (n, s^3, 3)
        # Not a matrix product, which autocast would compute in bfloat16.
        depth, x, y = ((away * axis[:, None]).sum(dim=-1) for axis in (forward, right, up))
        width = depth.clamp(min=NEAREST) * self.pinhole
        column, row = ((x / width + 1) * self.pixels / 2).floor(), ((1 - y / width) * self.pixels / 2).floor()
        seen = (depth > NEAREST) & within(column, self.pixels) & within(row, self.pixels)
        return row * self.pixels + column, seen


class LookNearest(nn.Module):
    """The view that query cameras have of a volume, as features on the generator's grid.

    Two convolutions in space, then rays: the cells at so many depths of each ray are the channels of a picture.
    It maps r (b, c * s, s, s), or its `surfaces`, and cameras (b, q, 7) to (b * q, out_channels, grid, grid).

    Args:
        volume: the kind of r.
        out_channels: channels of the view.
        grid: height and width of the view.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        out_channels: int,
        grid: int,
        cameras: int = CAMERA_NUMBERS,
    ) -> None:
        super().__init__()
        check_cameras(cameras)
        self.volume = volume
        self.cell, self.radius, self.pinhole = volume.channels, volume.radius, half_width(volume.field_of_view)
        fold = max(1, SIDE // grid)  # rays of a cell of the grid along each axis
        self.rays = fold * grid
        # A convolution over three axes is one over two of a slice beside its two neighbours.
        self.first = nn.Conv2d(3 * self.cell, self.cell, 3, padding=1)
        self.second = nn.Conv2d(3 * self.cell, self.cell, 3, padding=1)
        self.fold = nn.Conv2d(DEPTHS * self.cell, out_channels, fold, stride=fold)
        self.last = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, r: Tensor | Surfaces, cameras: Tensor) -> tuple[Tensor, None]:
        surfaces = r if isinstance(r, Surfaces) else self.surfaces(r)
        index, inside = self.passed(cameras)
        seen = take(surfaces.cells, index, inside)  # (b, q * rays^2 * depths, c)
        seen = seen.view(-1, self.rays, self.rays, seen.shape[2] * DEPTHS).permute(0, 3, 1, 2)
        seen = self.last(self.fold(seen).relu()).relu()
        return F.layer_norm(seen, seen.shape[1:]), None

    def surfaces(self, r: Tensor) -> Surfaces:
        """Return of each cell what a ray sees there, (b, s^3, c)."""
        b = len(r)
        slices = r.unflatten(1, (SIDE, self.cell))  # (b, x, c, y, z)
        inner = self.first(with_neighbours(slices)).relu().unflatten(0, (b, SIDE))
        slices = slices + self.second(with_neighbours(inner)).relu().unflatten(0, (b, SIDE))
        slices = F.layer_norm(slices, slices.shape[1:]).to(inner.dtype)
        return Surfaces(slices.permute(0, 1, 3, 4, 2).flatten(1, 3))

    def passed(self, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """Return of each ray and depth the number of its cell, and whether it is in one, (b, q * ...) each."""
        position, forward, right, up = (axis[:, :, None, None, None] for axis in camera_axes(cameras))
        across = (torch.arange(self.rays, device=cameras.device) + 0.5) * (2 / self.rays) - 1
        x, y = across[:, None, None], -across[:, None, None, None]
        rays = forward + self.pinhole * (x * right + y * up)  # (b, q, rays, rays, 1, 3), of length 1 along `forward`
        depths = (torch.arange(DEPTHS, device=cameras.device) + 0.5) * (2 / DEPTHS) - 1
        depth = (position.norm(dim=-1) + DEEPER * self.radius * depths)[..., None]
        cell = (((position + depth * rays) / self.radius + 1) * (SIDE / 2)).floor()
        inside = within(cell, SIDE).all(dim=-1) & (depth[..., 0] > NEAREST)
        number = (cell[..., 0] * SIDE + cell[..., 1]) * SIDE + cell[..., 2]
        return number.flatten(1), inside.flatten(1)


def take(table: Tensor, index: Tensor, inside: Tensor) -> Tensor:
    """Return rows (n, m, c) of tables (n, rows, c) by their numbers (n, m); zeros where not `inside`."""
    n, rows, c = table.shape
    flat = torch.cat([table.reshape(n * rows, c), table.new_zeros(1, c)])
    first = rows * torch.arange(n, device=table.device)[:, None]
    return flat.index_select(0, torch.where(inside, index.long() + first, n * rows).flatten()).unflatten(0, index.shape)


def cell_centres(radius: float, like: Tensor) -> Tensor:
    """Return the world coordinates of the cells' centres, (s^3, 3), z fastest."""
    along = ((torch.arange(SIDE, device=like.device) + 0.5) * (2 / SIDE) - 1).to(like.dtype) * radius
    return torch.cartesian_prod(along, along, along)


def within(number: Tensor, size: int) -> Tensor:
    return (number >= 0) & (number < size)
