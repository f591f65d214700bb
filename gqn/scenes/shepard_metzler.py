"""Shepard-Metzler objects: cubes of random hues that a self-avoiding walk on a grid strings together.

Fitted to a genuine scene of DeepMind's shepard_metzler_5_parts, whose 15 frames it gives back to some three pixels
each: cubes of a sixth of a world unit without gaps, each of its own pure hue; a vertical field of view of 20 degrees;
no antialiasing; and the light that is `Lighting`'s default. (The genuine object's bounding box is centred on the z axis
but hangs an eighth of a cube below the origin; ours is centred at the origin.)
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import SHEPARD_METZLER, Geometry, axes
from gqn.core.errors import Error
from gqn.scenes.family import Family, Setting, draw_contents
from gqn.scenes.physics import mujoco
from gqn.scenes.render import World
from gqn.scenes.solids import boxes, place_boxes

Array = NDArray[np.float64]

CUBE = 1 / 6  # world units, edge of a cube
LONGEST = 7  # cubes; the end of a row of that many just leaves the frame
RADIUS = 10 / 3  # world units, from the origin to every camera
TURN = 100  # yaw and pitch are whole hundredths of a turn and of half a turn
STEPS = np.concatenate([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])


@dataclass(frozen=True)
class ShepardMetzler(Family):
    """One object of cubes, and the cameras that look at it."""

    views: int = 15
    """Frames, and cameras, of a scene."""
    parts: int = 5
    """Cubes of an object, at most 7."""
    cameras: Literal["sphere", "ring"] = "sphere"
    """Cameras all round as published, or on a ring at one height, which is easier to learn."""
    elevation: float = 30.0
    """Degrees above the horizon, of the ring."""
    hues: int = 0
    """Number of colours that cubes may have, evenly round the circle of hues; 0 for any."""

    geometry: ClassVar[Geometry] = SHEPARD_METZLER
    hand: ClassVar[float] = 0.2
    ground: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "parts")
        self.at_least(0, "hues")
        if self.parts > LONGEST:
            raise Error(f"parts is {self.parts}, must be at most {LONGEST}")
        if not -90 <= self.elevation <= 90:
            raise Error(f"elevation is {self.elevation}, must be from -90 to 90 degrees")

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        positions, colours = draw_contents(self.object, random, contents)
        world = cubes(positions, colours)
        cube = {"shape": "box", "size": CUBE / 2, "rotation": [1.0, 0.0, 0.0, 0.0]}
        objects = [
            {**cube, "position": position, "colour": colour}
            for position, colour in zip(positions, colours, strict=True)
        ]
        labels = {"objects": objects, "light": {"direction": world.lighting.direction}}
        return Setting(world, self.place_cameras(random), labels, positions)

    def object(self, random: np.random.Generator) -> tuple[Array, Array]:
        """Return centres (parts, 3), in world units, and colours (parts, 3), in [0, 1], of a random object's cubes."""
        cells = walk(self.parts, random)
        centre = (cells.min(axis=0) + cells.max(axis=0)) / 2
        hues = random.integers(self.hues, size=self.parts) / self.hues if self.hues else random.random(self.parts)
        return CUBE * (cells - centre), np.array([hsv_to_rgb(hue, 1, 1) for hue in hues.tolist()])

    def place_cameras(self, random: np.random.Generator) -> Array:
        """Return random recorded cameras (views, 5) at RADIUS from the origin, looking at it."""
        cameras = np.zeros((self.views, 5))
        cameras[:, 3] = 2 * np.pi * random.integers(TURN, size=self.views) / TURN
        if self.cameras == "ring":
            cameras[:, 4] = -np.deg2rad(self.elevation)
        else:
            # Uniform in the angle, as published, and so denser at the poles than uniform on the sphere.
            cameras[:, 4] = np.pi * random.integers(1 - TURN // 2, TURN // 2, size=self.views) / TURN
        cameras[:, :3] = -RADIUS * axes(cameras)[0]
        return cameras


def cubes(positions: Array, colours: Array) -> World:
    """Return the world of cubes with centres at `positions` (n, 3) and of `colours` (n, 3)."""
    model = _cubes(len(positions))
    return World(model, place_boxes(model, positions), colours, SHEPARD_METZLER.field_of_view)


def walk(length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the cells (length, 3) of a self-avoiding walk on the grid, uniform over all of that length."""
    while True:
        steps = STEPS[random.integers(len(STEPS), size=length - 1)]
        cells = np.concatenate([np.zeros((1, 3), np.int64), steps.cumsum(axis=0)])
        if len(np.unique(cells, axis=0)) == length:
            return cells


@cache
def _cubes(count: int) -> mujoco.MjModel:
    return boxes(np.full((count, 3), CUBE / 2))
