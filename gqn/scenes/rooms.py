"""Rooms: a square room of 7x7 units with patterned walls and floor, and one to three objects of seven shapes.

Section 4 of the supplement of Eslami et al. (2018). Differs from the paper: the patterns, light and measures are ours;
they are nowhere published, and the genuine frames hold no labels.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import Geometry, look_at
from gqn.scenes.family import Family, Setting
from gqn.scenes.render import BRIGHT, Lighting, World
from gqn.scenes.solids import SHAPES, Shape, Solid, height_above_ground, model_of, posed, random_rotation
from gqn.scenes.textures import FLOORS, WALLS

Array = NDArray[np.float64]

HALF = 3.5  # world units, from the middle of the room to a wall
WALL = 2.4  # world units, height of the walls
THICK = 0.1  # world units, half of a wall
SKY = (0.62, 0.76, 0.92)
RING_RADIUS, RING_HEIGHT = 3.0, 1.5  # world units, of the ring of cameras
AIM = 0.45  # world units, height of the point in the middle that ring cameras look at
SPREAD = 1.3  # world units, from the middle to the farthest object's centre, along each axis
TRIES = 10_000  # draws of a twin's solids
PLAIN = (0.72, 0.70, 0.66)  # walls and floor without patterns


@dataclass(frozen=True)
class Rooms(Family):
    """A room with objects, seen from a ring of cameras or from cameras anywhere in it."""

    cameras: Literal["ring", "free"] = "ring"
    """A ring of cameras at one height that look at the middle, or free: anywhere in the room, towards the objects."""
    rotations: Literal["none", "vertical", "free"] = "none"
    """How the objects are turned: not at all, about the vertical, or any way up."""
    fewest_objects: int = 1
    most_objects: int = 3
    shapes: tuple[Shape, ...] = SHAPES
    """Those that objects may have."""
    smallest: float = 0.35
    """World units, half of an object's extent."""
    largest: float = 0.6
    """World units, half of an object's extent; at most 0.8."""
    hues: int = 0
    """How many colours objects may have, evenly round the circle of hues; 0 for any."""
    textures: bool = True
    """Patterns on walls and floor; without, all rooms are plain alike."""
    light: Literal["random", "fixed"] = "random"
    """Where the sun stands."""

    geometry: ClassVar[Geometry] = Geometry(60.0, cube_centre=(0.0, 0.0, 1.2), cube_radius=HALF, cameras_inside=True)
    hand: ClassVar[float] = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "fewest_objects", "hues")
        self.at_least(max(1, self.fewest_objects), "most_objects")
        if self.most_objects > 6:
            raise ValueError(f"most_objects is {self.most_objects}, must be at most 6, which the room has place for")
        if "touch" in self.senses and not self.fewest_objects:
            raise ValueError("fewest_objects is 0: a room without objects has nothing to touch")
        if not self.shapes:
            raise ValueError("shapes is empty, name at least one")
        if not 0.05 <= self.smallest <= self.largest <= 0.8:
            raise ValueError(
                f"smallest is {self.smallest} and largest {self.largest}: 0.05 <= smallest <= largest <= 0.8 holds not"
            )

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        solids = self._solids(random)
        walls, floor = [str(random.choice(WALLS)) for _ in range(4)], str(random.choice(FLOORS))
        lighting = sunlight(random if self.light == "random" else None)
        cameras = self._place_cameras(solids, random)
        if contents is not None:
            solids = self._other_solids(cameras, contents)
        model = model_of(solids, room(HALF, WALL), BRIGHT)
        tints = np.ones((5, 3)) if self.textures else np.tile(PLAIN, (5, 1))
        world = World(
            model,
            posed(model),
            np.array([*tints, *(solid.colour for solid in solids)]),
            self.field_of_view,
            dict(enumerate([floor, *walls])) if self.textures else {},
            lighting,
            SKY,
        )
        labels = {
            "objects": [vars(solid) for solid in solids],
            "light": {"direction": lighting.direction},
            "walls": walls if self.textures else [],
            "floor": floor if self.textures else None,
        }
        touchable = np.array([solid.position for solid in solids])
        return Setting(world, cameras, labels, touchable)

    def _solids(self, random: np.random.Generator) -> list[Solid]:
        """Random solids on the ground, none within another."""
        count = int(random.integers(self.fewest_objects, self.most_objects, endpoint=True))
        while True:
            sizes = random.uniform(self.smallest, self.largest, count)
            places = random.uniform(-SPREAD, SPREAD, (count, 2))
            apart = np.linalg.norm(places[:, None] - places, axis=-1) - 1.05 * (sizes[:, None] + sizes)
            if (apart + 10 * np.eye(count) > 0).all():
                break
        solids = []
        for size, place in zip(sizes.tolist(), places, strict=True):
            shape: Shape = self.shapes[int(random.integers(len(self.shapes)))]
            rotation = self._rotation(random)
            position = np.array([*place, size * height_above_ground(shape, rotation)])
            hue = random.integers(self.hues) / self.hues if self.hues else random.random()
            colour = np.array(hsv_to_rgb(hue, random.uniform(0.7, 1), random.uniform(0.75, 1)))
            solids.append(Solid(shape, size, position, rotation, colour))
        return solids

    def _other_solids(self, cameras: Array, contents: np.random.Generator) -> list[Solid]:
        """Random solids that stand apart from cameras which were placed without them. ValueError where none can."""
        for _ in range(TRIES):
            solids = self._solids(contents)
            if self.cameras == "ring" or all(_is_clear(camera[:3], solids) for camera in cameras):
                return solids
        raise ValueError(f"no twin among {self.views} free cameras, which leave no place for objects: lower --views")

    def _rotation(self, random: np.random.Generator) -> Array:
        if self.rotations == "free":
            return random_rotation(random)
        angle = np.pi * random.random() if self.rotations == "vertical" else 0.0
        return np.array([np.cos(angle), 0, 0, np.sin(angle)])

    def _place_cameras(self, solids: list[Solid], random: np.random.Generator) -> Array:
        if self.cameras == "ring":
            angle = 2 * np.pi * random.random(self.views)
            ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
            places = np.column_stack([RING_RADIUS * ring, np.full(self.views, RING_HEIGHT)])
            return look_at(places, [0, 0, AIM])
        cameras: list[Array] = []
        while len(cameras) < self.views:
            place = random.uniform([-HALF + 0.3, -HALF + 0.3, 0.5], [HALF - 0.3, HALF - 0.3, 2.0])
            # Towards a point near an object, from no nearer than it fills the frame.
            middle = solids[int(random.integers(len(solids)))].position if solids else [0, 0, AIM]
            target = middle + random.uniform(-0.6, 0.6, 3)
            if np.linalg.norm(place[:2] - target[:2]) > 1.2 and _is_clear(place, solids):
                cameras.append(look_at(place, target))
        return np.array(cameras)


def _is_clear(place: Array, solids: list[Solid]) -> bool:
    """Return whether a camera at `place` (3,) stands apart from all solids."""
    return all(np.linalg.norm(place[:2] - solid.position[:2]) > solid.size + 0.6 for solid in solids)


def room(half: float, height: float) -> Array:
    """Slabs (5, 6), centres and half sizes, of a floor at height 0 and four walls round a square."""
    wide, away, up = half + 2 * THICK, half + THICK, height / 2
    return np.array(
        [
            [0, 0, -THICK, wide, wide, THICK],
            [away, 0, up, THICK, wide, up],
            [-away, 0, up, THICK, wide, up],
            [0, away, up, half, THICK, up],
            [0, -away, up, half, THICK, up],
        ]
    )


def sunlight(random: np.random.Generator | None) -> Lighting:
    """A sun well above the horizon, at a random place, or at a fixed one for None."""
    azimuth, elevation = (0.6, 1.0) if random is None else (random.uniform(0, 2 * np.pi), random.uniform(0.87, 1.3))
    direction = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    return Lighting(ambient=0.38, headlight=0.2, diffuse=0.55, specular=0.0, direction=direction)
