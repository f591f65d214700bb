"""Rooms: a square room with walls of one style and a spotlit floor, and one to three objects of seven shapes.

Section 4 of the supplement of Eslami et al. (2018); measures, lens, light and colours are fitted on five genuine scenes
of rooms_ring_camera (results/worlds). Of the rooms with free cameras no genuine scene was at hand: they are the same
room in the same units, and where their cameras stand is ours. So are the shares of styles, colours and shapes.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import ROOMS, Geometry, look_at
from gqn.core.errors import Error
from gqn.scenes.family import Family, Setting
from gqn.scenes.render import BRIGHT, Lighting, World
from gqn.scenes.solids import SHAPES, Shape, Solid, height_above_ground, model_of, posed, random_rotation

Array = NDArray[np.float64]

HALF = ROOMS.cube_radius  # world units, from the middle of the room to a wall
FLOOR, TOP = -0.2325, 0.42  # world units, height of the floor, and of the walls' upper edge, over the ring of cameras
SKY = (154 / 255, 226 / 255, 250 / 255)
RING = 1.0  # world units, radius of the ring of cameras, which lies at height 0
SPREAD = 0.5  # world units, from the middle to the farthest object's centre, along each axis
NEAR = 0.2  # world units, between an object and a free camera
# Patterns and colours of the walls, equally likely; None for a colour stands for any hue.
STYLES: tuple[tuple[str, tuple[float, float, float] | None], ...] = (
    ("circles", (0.98, 0.50, 0.03)),
    ("stucco", (0.65, 0.78, 0.61)),
    ("stucco", (0.70, 0.275, 0.42)),
    ("circuits", None),
)
GROUNDS = (("marble", (0.88, 0.79, 0.36)), ("marble", (0.93, 0.93, 0.92)), ("marble", (0.62, 0.45, 0.26)))
LAMP = (1.2, 2.4)  # world units: how far from the middle it hangs at most along each axis, and how high
TILES = 3  # of a wall's pattern, along the wall
TRIES = 10_000  # draws of a twin's solids
PLAIN = (0.72, 0.70, 0.66)  # walls and floor without patterns


@dataclass(frozen=True)
class Rooms(Family):
    """A room with objects, seen from a ring of cameras or from cameras anywhere in it."""

    cameras: Literal["ring", "free"] = "ring"
    """Cameras on a ring at one height that look at the middle, or free in the room, towards the objects."""
    rotations: Literal["none", "vertical", "free"] = "vertical"
    """Turns of the objects: none, about the vertical, or any way up."""
    fewest_objects: int = 1
    most_objects: int = 3
    shapes: tuple[Shape, ...] = SHAPES
    """Shapes that objects may have."""
    smallest: float = 0.07
    """World units, half of an object's extent."""
    largest: float = 0.2
    """World units, half of an object's extent; at most 0.25."""
    hues: int = 0
    """Number of colours that objects may have, evenly round the circle of hues; 0 for any."""
    textures: bool = True
    """Patterns and colours of walls and floor; without, all rooms are plain alike."""
    light: Literal["random", "fixed"] = "random"
    """Lamp at a random place in each scene, or always at the same one."""
    samples: int = 2
    """Rays along the side of a pixel; more than 1 smooths edges and takes that many squared times as long."""

    geometry: ClassVar[Geometry] = ROOMS
    hand: ClassVar[float] = 0.12
    ground: ClassVar[float | None] = FLOOR

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "fewest_objects", "hues")
        self.at_least(max(1, self.fewest_objects), "most_objects")
        if self.most_objects > 6:
            raise Error(f"most_objects is {self.most_objects}, must be at most 6, which the room has place for")
        if "touch" in self.senses and not self.fewest_objects:
            raise Error("fewest_objects is 0: a room without objects has nothing to touch")
        if not self.shapes:
            raise Error("shapes is empty, name at least one")
        if not 0.02 <= self.smallest <= self.largest <= 0.25:
            raise Error(
                f"smallest is {self.smallest} and largest {self.largest}: 0.02 <= smallest <= largest <= 0.25 holds not"
            )

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        solids = self._solids(random)
        wall, colour = STYLES[int(random.integers(len(STYLES)))]
        floor, ground = GROUNDS[int(random.integers(len(GROUNDS)))]
        hue = random.random()
        lamp = random.uniform(-LAMP[0], LAMP[0], 2) if self.light == "random" else np.array([0.5, 0.3])
        lighting = spotlight(lamp)
        cameras = self._place_cameras(solids, random)
        if contents is not None:
            solids = self._other_solids(cameras, contents)
        paint = colour or hsv_to_rgb(hue, 0.55, 0.75)
        world = self.world(solids, lighting, (wall, paint), (floor, ground))
        labels = {
            "objects": [vars(solid) for solid in solids],
            "light": {"lamp": lighting.lamp},
            "walls": wall if self.textures else None,
            "floor": floor if self.textures else None,
            "wall_colour": world.colours[1],
            "floor_colour": world.colours[0],
        }
        touchable = np.array([solid.position for solid in solids])
        return Setting(world, cameras, labels, touchable)

    def world(
        self,
        solids: list[Solid],
        lighting: Lighting,
        wall: tuple[str, tuple[float, float, float]],
        floor: tuple[str, tuple[float, float, float]],
    ) -> World:
        """Return the room with these solids in it, in that light; wall and floor: name of the pattern, and colour."""
        model = model_of(solids, room(HALF, FLOOR, TOP), BRIGHT)
        slabs = [floor, *4 * [wall]]
        tints = [colour for _, colour in slabs] if self.textures else 5 * [PLAIN]
        return World(
            model,
            posed(model),
            np.array([*tints, *(solid.colour for solid in solids)], np.float64),
            self.geometry.field_of_view,
            {number: name for number, (name, _) in enumerate(slabs)} if self.textures else {},
            lighting,
            SKY,
            self.geometry.optical_centre,
            (2 * HALF / TILES, TOP - FLOOR),
            (-HALF, -HALF, TOP),
        )

    def _solids(self, random: np.random.Generator) -> list[Solid]:
        """Return random solids on the ground, none within another."""
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
            position = np.array([*place, FLOOR + size * height_above_ground(shape, rotation)])
            hue = random.integers(self.hues) / self.hues if self.hues else random.random()
            colour = np.array(hsv_to_rgb(hue, random.uniform(0.75, 1), random.uniform(0.8, 1)))
            solids.append(Solid(shape, size, position, rotation, colour))
        return solids

    def _other_solids(self, cameras: Array, contents: np.random.Generator) -> list[Solid]:
        """Return random solids that stand apart from given cameras. Raises Error where there is no room."""
        for _ in range(TRIES):
            solids = self._solids(contents)
            if self.cameras == "ring" or all(_is_clear(camera[:3], solids) for camera in cameras):
                return solids
        raise Error(f"no twin among {self.views} free cameras, which leave no place for objects: lower --views")

    def _rotation(self, random: np.random.Generator) -> Array:
        if self.rotations == "free":
            return random_rotation(random)
        angle = np.pi * random.random() if self.rotations == "vertical" else 0.0
        return np.array([np.cos(angle), 0, 0, np.sin(angle)])

    def _place_cameras(self, solids: list[Solid], random: np.random.Generator) -> Array:
        if self.cameras == "ring":
            angle = 2 * np.pi * random.random(self.views)
            places = np.stack([RING * np.cos(angle), RING * np.sin(angle), np.zeros(self.views)], axis=-1)
            return look_at(places, np.zeros(3))
        cameras: list[Array] = []
        while len(cameras) < self.views:
            place = random.uniform([0.1 - HALF, 0.1 - HALF, -0.1], [HALF - 0.1, HALF - 0.1, 0.3])
            # Towards a point near an object, from no nearer than it fills the frame.
            middle = solids[int(random.integers(len(solids)))].position if solids else [0, 0, FLOOR / 2]
            target = middle + random.uniform(-0.2, 0.2, 3)
            if np.linalg.norm(place[:2] - target[:2]) > 2 * NEAR and _is_clear(place, solids):
                cameras.append(look_at(place, target))
        return np.array(cameras)


def _is_clear(place: Array, solids: list[Solid]) -> bool:
    """Return whether a camera at `place` (3,) stands apart from all solids."""
    return all(np.linalg.norm(place[:2] - solid.position[:2]) > solid.size + NEAR for solid in solids)


def spotlight(place: Array) -> Lighting:
    """Return the light of a room: a lamp over `place` (2,), in world units, that shines straight down."""
    return Lighting(
        ambient=0.37,
        headlight=0.66,
        diffuse=1.18,
        specular=0.0,
        lamp=(float(place[0]), float(place[1]), FLOOR + LAMP[1]),
        exponent=10.0,
    )


def room(half: float, floor: float, top: float) -> Array:
    """Return slabs (5, 6), centres and half sizes, of a floor and four walls round a square, in world units."""
    thick = 0.03 * half
    wide, away, up, middle = half + 2 * thick, half + thick, (top - floor) / 2, (top + floor) / 2
    return np.array(
        [
            [0, 0, floor - thick, wide, wide, thick],
            [away, 0, middle, thick, wide, up],
            [-away, 0, middle, thick, wide, up],
            [0, away, middle, half, thick, up],
            [0, -away, middle, half, thick, up],
        ]
    )
