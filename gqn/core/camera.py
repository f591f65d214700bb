"""Camera conventions of DeepMind's GQN datasets: recorded (x, y, z, yaw, pitch), its 7-vector, axes, and orbits.

The world has z up. A camera looks along d = (cos p cos y, -cos p sin y, sin p), y the yaw and p the pitch in radians;
right is d x (0, 0, 1), up is right x d, and image rows run downward. So are the Shepard-Metzler scenes recorded. Rooms
and mazes are recorded with the yaw the other way round, d = (cos p cos y, cos p sin y, sin p), as genuine walks and
rings show: `Geometry.yaw_sign`. Reading (`gqn.data.dataset.SceneDataset`) and drawing (`gqn.data.generate`) turn it, so
that all else knows one convention.
"""

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gqn.core.checked import checked
from gqn.core.errors import Error

CAMERA_RECORDED = 5  # x, y, z, yaw, pitch
CAMERA_NUMBERS = 7
BEYOND = 0.2  # so that walls far away have cells too

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """The lens of a dataset's cameras, and where its world lies, in the units of its cameras.

    Raises Error for a lens or a world that cannot be.
    """

    field_of_view: float  # degrees, vertical
    optical_centre: tuple[float, float] = (0.5, 0.5)  # parts of the width and the height, from the upper left corner
    cube_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cube_radius: float = 1.0  # half an edge of a cube along the axes in which all that can be seen lies
    cube_height: float = 1.0  # of what can be seen, in edges of that cube: less for a world that is flat
    beyond: float = BEYOND  # share of a volume's cells for space beyond that cube: less where nothing lies there
    yaw_sign: int = -1  # of sin y in the direction in which a camera looks, as the records have it: -1 or 1

    def __post_init__(self) -> None:
        if not 0 < self.field_of_view < 180:
            raise Error(f"field_of_view is {self.field_of_view}, must be between 0 and 180 degrees")
        if len(self.optical_centre) != 2 or not all(0 < part < 1 for part in self.optical_centre):
            raise Error(f"optical_centre is {self.optical_centre}, must be two parts between 0 and 1")
        if len(self.cube_centre) != 3 or not all(map(isfinite, self.cube_centre)):
            raise Error(f"cube_centre is {self.cube_centre}, must be three numbers")
        if not 0 < self.cube_radius < inf:
            raise Error(f"cube_radius is {self.cube_radius}, must be more than 0")
        if not 0 < self.cube_height <= 1:
            raise Error(f"cube_height is {self.cube_height}, must be more than 0 and at most 1")
        if not 0 < self.beyond < 1:
            raise Error(f"beyond is {self.beyond}, must be more than 0 and less than 1")
        if self.yaw_sign not in (-1, 1):
            raise Error(f"yaw_sign is {self.yaw_sign}, must be -1 or 1")


# Of DeepMind's datasets, fitted on genuine scenes where there were any (results/worlds); jaco's is a guess.
SHEPARD_METZLER = Geometry(field_of_view=20.0, cube_radius=0.6)
ROOMS = Geometry(field_of_view=53.1, cube_centre=(0.0, 0.0, 0.094), cube_radius=1.186, yaw_sign=1)
MAZES = Geometry(field_of_view=90.0, cube_centre=(-0.05, -0.05, 0.0), cube_radius=0.45, cube_height=0.13, yaw_sign=1)
JACO = Geometry(field_of_view=45.0, cube_centre=(0.0, 0.0, 0.42), cube_radius=0.6)


def turned(recorded: Tensor, yaw_sign: int) -> Tensor:
    """Return cameras (..., 5) as this module has them, of cameras recorded with that sign of the yaw; its own inverse.

    Args:
        recorded: (..., 5) x, y, z, yaw, pitch; radians.
        yaw_sign: as in `Geometry`.
    """
    return recorded * recorded.new_tensor([1, 1, 1, -yaw_sign, 1])


@checked
def camera_vector(recorded: Tensor | ArrayLike) -> Tensor:
    """Return the 7 numbers that the networks see, of cameras as recorded.

    Args:
        recorded: (..., 5), x, y, z, yaw and pitch; or the 7 numbers already. What is no tensor becomes one of float32.

    Returns:
        (..., 7), x, y, z, sin yaw, cos yaw, sin pitch, cos pitch, in the order of DeepMind's reader.

    Raises:
        Error: for arrays of another shape.
    """
    recorded = _numbers(recorded, CAMERA_RECORDED, CAMERA_NUMBERS)
    if recorded.shape[-1] == CAMERA_NUMBERS:
        return recorded
    position, yaw, pitch = recorded.split([3, 1, 1], dim=-1)
    return torch.cat([position, yaw.sin(), yaw.cos(), pitch.sin(), pitch.cos()], dim=-1)


@checked
def recorded_camera(vector: Tensor | ArrayLike) -> Tensor:
    """Return cameras as they are recorded; the inverse of `camera_vector`.

    Args:
        vector: (..., 7): x, y, z, sin yaw, cos yaw, sin pitch, cos pitch.

    Returns:
        (..., 5): x, y, z in world units, yaw and pitch in radians, in (-pi, pi].

    Raises:
        Error: for arrays of another shape.
    """
    vector = _numbers(vector, CAMERA_NUMBERS)
    position, sin_yaw, cos_yaw, sin_pitch, cos_pitch = vector.split([3, 1, 1, 1, 1], dim=-1)
    return torch.cat([position, torch.atan2(sin_yaw, cos_yaw), torch.atan2(sin_pitch, cos_pitch)], dim=-1)


def _numbers(values: Tensor | ArrayLike, *counts: int) -> Tensor:
    """Return a float tensor with one of `counts` numbers in its last axis. Raises Error for anything else."""
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values, np.float32))
    except (TypeError, ValueError) as error:
        raise Error(f"cameras of type {type(values).__name__}: numbers are wanted ({error})") from error
    if tensor.dim() == 0 or tensor.shape[-1] not in counts or tensor.is_complex():
        wanted = " or ".join(f"(..., {count})" for count in counts)
        raise Error(f"cameras of shape {tuple(tensor.shape)} and {tensor.dtype}: {wanted} real numbers are wanted")
    return tensor if tensor.is_floating_point() else tensor.float()


def _places(values: ArrayLike) -> Array:
    """Return places (..., 3). Raises Error for anything else."""
    try:
        places = np.asarray(values, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Error(f"a place of type {type(values).__name__}: x, y and z are wanted ({error})") from error
    if places.ndim == 0 or places.shape[-1] != 3:
        raise Error(f"places of shape {places.shape}: (..., 3) is wanted")
    return places


def camera_axes(vector: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the position and the unit vectors forward, right and up of cameras by their 7 numbers.

    Args:
        vector: (..., 7), see `camera_vector`.

    Returns:
        Four tensors (..., 3), the position in world units.
    """
    position, angles = vector.split([3, 4], dim=-1)
    sin_yaw, cos_yaw, sin_pitch, cos_pitch = angles.unbind(dim=-1)
    forward = torch.stack([cos_pitch * cos_yaw, -cos_pitch * sin_yaw, sin_pitch], dim=-1)
    right = torch.stack([-sin_yaw, -cos_yaw, torch.zeros_like(sin_yaw)], dim=-1)
    return position, forward, right, torch.linalg.cross(right, forward)


@checked
def look_at(position: ArrayLike, target: ArrayLike) -> Array:
    """Return recorded cameras that look from a position at a target.

    Args:
        position: (..., 3), world units.
        target: (..., 3), world units.

    Returns:
        (..., 5): x, y, z in world units, yaw and pitch in radians.

    Raises:
        Error: for arrays of another shape.
    """
    position, target = np.broadcast_arrays(_places(position), _places(target))
    d = target - position
    yaw = np.arctan2(-d[..., 1], d[..., 0])
    pitch = np.arctan2(d[..., 2], np.hypot(d[..., 0], d[..., 1]))
    return np.concatenate([position, yaw[..., None], pitch[..., None]], axis=-1)


def axes(recorded: ArrayLike) -> tuple[Array, Array, Array]:
    """Return the unit vectors forward, right and up, (..., 3) each, of recorded cameras (..., 5)."""
    recorded = np.asarray(recorded, np.float64)
    yaw, pitch = recorded[..., 3], recorded[..., 4]
    forward = np.stack([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=-1)
    # d x (0, 0, 1) has length cos p: its direction by the yaw alone stays defined when the camera looks straight down.
    right = np.stack([-np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=-1)
    return forward, right, np.cross(right, forward)


def levelled(position: ArrayLike, forward: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
    """Return recorded cameras (..., 5) of their axes, and by how much each rolls about its own, (...).

    Args:
        position: (..., 3), world units.
        forward: (..., 3) unit vectors in which the cameras look.
        right: (..., 3) unit vectors along the rows of their frames.

    Returns:
        The cameras without their roll, and the roll in radians: how far `right` is turned upward out of the horizontal.
    """
    position, forward, right = (_places(part) for part in (position, forward, right))
    flat = np.hypot(forward[..., 0], forward[..., 1])
    # A camera that looks straight up or down has no yaw of its own: its rows say it, and it does not roll.
    yaw = np.where(
        flat > 1e-6, np.arctan2(-forward[..., 1], forward[..., 0]), np.arctan2(-right[..., 0], -right[..., 1])
    )
    pitch = np.arctan2(forward[..., 2], flat)
    cameras = np.concatenate([position, yaw[..., None], pitch[..., None]], axis=-1)
    _, level, up = axes(cameras)
    return cameras, np.arctan2((right * up).sum(axis=-1), (right * level).sum(axis=-1))


@checked
def orbit(distance: float, elevation: float, count: int, start: float = 0.0) -> Array:
    """Return recorded cameras evenly round the z axis that look at the origin.

    Args:
        distance: from the origin, world units.
        elevation: degrees above the horizon.
        count: how many cameras.
        start: angle of the first camera round the axis, degrees.

    Returns:
        (count, 5): x, y, z in world units, yaw and pitch in radians.
    """
    if not (isinstance(count, int | np.integer) and count > 0):
        raise Error(f"an orbit of {count!r} cameras: must be a whole number, 1 or more")
    angle, height = np.deg2rad(start + 360 * np.arange(count) / count), np.deg2rad(elevation)
    flat = distance * np.cos(height)
    position = np.stack(
        [flat * np.cos(angle), flat * np.sin(angle), np.full(count, distance * np.sin(height))], axis=-1
    )
    return look_at(position, np.zeros(3))
