"""Shepard-Metzler objects: cubes of random hues that a self-avoiding walk on a grid strings together.

Fitted to a genuine scene of DeepMind's shepard_metzler_5_parts, whose 15 frames it gives back to some three pixels
each: cubes of a sixth of a world unit without gaps, each of its own pure hue; a vertical field of view of 20 degrees;
no antialiasing; and the light that is `Lighting`'s default. (The genuine object's bounding box is centred on the z axis
but hangs an eighth of a cube below the origin; ours is centred at the origin.)
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import mujoco
import numpy as np
from numpy.typing import NDArray

from gqn.camera import axes
from gqn.scenes.render import boxes, place_boxes, render

Array = NDArray[np.float64]
Cameras = Literal["sphere", "ring"]

CUBE = 1 / 6  # world units, edge of a cube
LONGEST = 7  # cubes; the end of a row of that many just leaves the frame
RADIUS = 10 / 3  # world units, from the origin to every camera
FIELD_OF_VIEW = 20.0  # degrees, vertical
TURN = 100  # yaw and pitch are whole hundredths of a turn and of half a turn
STEPS = np.concatenate([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])


@dataclass(frozen=True)
class ShepardMetzler:
    """A family of scenes: one object and the cameras that look at it. ValueError for an option out of its range."""

    parts: int = 5  # cubes of an object, at most LONGEST
    size: int = 64  # pixels, height and width of a frame
    views: int = 15  # frames, and cameras, of a scene
    cameras: Cameras = "sphere"  # all round as published, or on a "ring" at one height: an easier world to learn
    elevation: float = 30.0  # degrees above the horizon, of the ring

    def __post_init__(self) -> None:
        for option in ("parts", "size", "views"):
            if getattr(self, option) < 1:
                raise ValueError(f"{option} is {getattr(self, option)}, must be at least 1")
        if self.parts > LONGEST:
            raise ValueError(f"parts is {self.parts}, must be at most {LONGEST}")
        if self.cameras not in get_args(Cameras):
            raise ValueError(f"cameras is {self.cameras!r}, must be one of {', '.join(get_args(Cameras))}")
        if not -90 <= self.elevation <= 90:
            raise ValueError(f"elevation is {self.elevation}, must be from -90 to 90 degrees")

    def scene(self, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Frames (views, size, size, 3) and recorded cameras (views, 5) of a random object."""
        positions, colours = self.object(random)
        cameras = self.place_cameras(random)
        return self.frames(positions, colours, cameras), cameras

    def object(self, random: np.random.Generator) -> tuple[Array, Array]:
        """Centres (parts, 3), in world units, and colours (parts, 3), in [0, 1], of a random object's cubes."""
        cells = walk(self.parts, random)
        centre = (cells.min(axis=0) + cells.max(axis=0)) / 2
        hues = random.random(self.parts).tolist()
        return CUBE * (cells - centre), np.array([hsv_to_rgb(hue, 1, 1) for hue in hues])

    def place_cameras(self, random: np.random.Generator) -> NDArray[np.float32]:
        """Random recorded cameras (views, 5) at RADIUS from the origin, looking at it."""
        cameras = np.zeros((self.views, 5))
        cameras[:, 3] = 2 * np.pi * random.integers(TURN, size=self.views) / TURN
        if self.cameras == "ring":
            cameras[:, 4] = -np.deg2rad(self.elevation)
        else:
            # Uniform in the angle, as published, and so denser at the poles than uniform on the sphere.
            cameras[:, 4] = np.pi * random.integers(1 - TURN // 2, TURN // 2, size=self.views) / TURN
        cameras[:, :3] = -RADIUS * axes(cameras)[0]
        return cameras.astype(np.float32)

    def frames(self, positions: Array, colours: Array, cameras: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Frames (views, size, size, 3) of the object of `positions` and `colours`, as `object` gives them."""
        model = _cubes(self.parts)
        data = place_boxes(model, positions)
        return render(model, data, colours, cameras, self.size, FIELD_OF_VIEW)


def walk(length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Cells (length, 3) of a self-avoiding walk on the grid, uniform over all of that length."""
    while True:
        steps = STEPS[random.integers(len(STEPS), size=length - 1)]
        cells = np.concatenate([np.zeros((1, 3), np.int64), steps.cumsum(axis=0)])
        if len(np.unique(cells, axis=0)) == length:
            return cells


@cache
def _cubes(count: int) -> mujoco.MjModel:
    return boxes(np.full((count, 3), CUBE / 2))
