"""The cube that a volume covers: coordinates of its cells, of the world in it, and of rays through it.

The inner part of the cube holds the world, evenly; space beyond is contracted into what is left of it, so that walls
far away have cells too (as in mip-NeRF 360, Barron et al. 2022). The cube's edges run from -1 to 1, the world's too.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from gqn.core.camera import CAMERA_NUMBERS
from gqn.core.errors import Error
from gqn.models.outputs import Volume

FARTHEST = 2.0  # half edges of the world, at which a cell lies that reaches to infinity
NEAR = 0.02  # where a ray begins at the earliest, in lengths of its direction


def contract(volume: Volume, place: Tensor) -> Tensor:
    """Return the cube's coordinate, -1 to 1, of one in units of the world's radius: even up to 1, the world's edge."""
    far = place.sign() * (1 - volume.beyond / place.abs().clamp(min=1))
    return torch.where(place.abs() <= 1, volume.world * place, far)


def expand(volume: Volume, place: Tensor) -> Tensor:
    """Return the inverse of `contract`."""
    far = place.sign() * volume.beyond / (1 - place.abs()).clamp(min=1e-4)
    return torch.where(place.abs() <= volume.world, place / volume.world, far)


def cell_axis(count: int, like: Tensor) -> Tensor:
    """Return the centres of `count` equal parts of -1 to 1, (count,)."""
    return ((torch.arange(count, device=like.device) + 0.5) * (2 / count) - 1).to(like.dtype)


def cell_places(side: int, like: Tensor) -> Tensor:
    """Return the middles of a cube's cells, whose edges run from -1 to 1, (side, side, side, 3)."""
    along = cell_axis(side, like)
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"), dim=-1)


def cell_number(places: Iterable[Tensor], side: int) -> Tensor:
    """Return the numbers, from 0 and z fastest, of the cells in which places lie, given along x, y and z.

    Along an axis they run from 0 to `side` over the cube, farther ones count as at its edge, and they are used up.
    """
    x, y, z = (place.clamp_(0, side - 1).trunc_() for place in places)
    return x.mul_(side).add_(y).mul_(side).add_(z).int()  # single precision holds the numbers of 256 cells a side


def cells_along(volume: Volume, start: Tensor, ways: Tensor, along: Tensor, side: int) -> Tensor:
    """Return in which of `side` cells along an edge start + along * ways lies, within the world, (..., places).

    Args:
        volume: the cube.
        start: (3, ...), in half edges of the world.
        ways: (3, ...), likewise.
        along: (..., places), in lengths of `ways`.
        side: cells along an edge.
    """
    scale = volume.world * side / 2  # the world is even in the cube
    first, slope = start * scale + side / 2, ways * scale
    return cell_number(((along * slope[i, ..., None]).add_(first[i, ..., None]) for i in range(3)), side)


def cell_coordinates(volume: Volume, like: Tensor) -> Tensor:
    """Return the world coordinates of the cells' centres along x, y and z, (3, s)."""
    along = expand(volume, cell_axis(volume.side, like))
    return along * half_edges(volume, like)[:, None] + centre_of(volume, like)[:, None]


def in_world(volume: Volume, places: Tensor) -> Tensor:
    """Return world coordinates of places (..., 3) in a volume's cube, whose edges run from -1 to 1.

    What lies beyond the world counts as not farther than FARTHEST.
    """
    return expand(volume, places).clamp(-FARTHEST, FARTHEST) * half_edges(volume, places) + centre_of(volume, places)


def centre_of(volume: Volume, like: Tensor) -> Tensor:
    """Return the centre of a volume, (3,)."""
    return torch.stack([like.new_full((), along) for along in volume.centre])  # no copy, for which CUDA would wait


def half_edges(volume: Volume, like: Tensor) -> Tensor:
    """Return half the edges of a volume's world along x, y and z, world units, (3,)."""
    return torch.stack([like.new_full((), volume.radius * part) for part in (1.0, 1.0, volume.height)])


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


def half_width(field_of_view: float) -> float:
    """Return half the width of what a camera sees at distance 1."""
    if not 0 < field_of_view < 180:
        raise Error(f"a field of view of {field_of_view:g} degrees: it is between 0 and 180")
    return math.tan(math.radians(field_of_view) / 2)


def check_cameras(cameras: int) -> None:
    if cameras != CAMERA_NUMBERS:
        raise Error(f"a volume takes the {CAMERA_NUMBERS} numbers of a camera, not {cameras}")
