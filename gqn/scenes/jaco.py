"""The Jaco arm in a room, at random joint angles, with one spherical target.

Section 5 of the supplement of Eslami et al. (2018). Differs from the paper: the patterns, light, measures and the
ranges of the joints are ours; they are nowhere published.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import JACO, Geometry, look_at
from gqn.core.errors import Error
from gqn.scenes.family import Family, Setting, draw_contents
from gqn.scenes.kinova import FLOOR, JOINTS, TARGET, Arm, arm_spec
from gqn.scenes.physics import mujoco
from gqn.scenes.render import BRIGHT, Lighting, World
from gqn.scenes.rooms import PLAIN, room
from gqn.scenes.solids import add_slabs
from gqn.scenes.textures import WALLS

Array = NDArray[np.float64]

HALF = 2.0  # metres, from the arm to a wall
WALL = 2.0  # metres, height of the walls
SKY = (0.62, 0.76, 0.92)
RADIUS = 1.5  # metres, of the dome of cameras
AIM = (0.0, 0.0, 0.42)  # metres, middle of the dome, which cameras look at
WHOLE = 0.57  # metres, round AIM: a ball that fills the frame of each camera, which the arm never leaves
LOWEST, HIGHEST = 10.0, 60.0  # degrees above the horizon, of cameras on the dome
TARGET_RADIUS = 0.05  # metres
NEAREST = 0.25  # metres from the axis of the base to the target
FLOORS = ("planks", "tiles", "plaster")  # those that a dark arm stands out from
REST = (0.0, 2.6, 1.2, 0.5, 1.6, 0.0, 0.6, 0.6, 0.6)  # radians, joints that do not move
DARK, LIGHT = (0.30, 0.30, 0.34), (0.85, 0.85, 0.87)


@dataclass(frozen=True)
class Jaco(Family):
    """The arm, its target, and cameras on a dome round them."""

    views: int = 11
    """Frames, and cameras, of a scene."""
    cameras: Literal["dome", "narrow", "ring"] = "dome"
    """All over a dome, on a narrow part of it in front of the arm, or on a ring 30 degrees above the horizon."""
    moving: tuple[int, ...] = tuple(range(1, JOINTS + 1))
    """Joints with random angles, 1 to 6 from the base, 7 to 9 the fingers; the others keep a pose of rest."""
    walls: Literal["textured", "plain", "none"] = "textured"
    """Patterns on walls and floor, the same grey for all, or neither walls nor floor."""
    target: bool = True
    """Draw a target."""
    hues: int = 0
    """Number of colours that the target may have, evenly round the circle of hues; 0 for any."""
    light: Literal["random", "fixed"] = "random"
    """Sun at a random place in each scene, or always at the same one."""

    samples: int = 2
    """Rays along the side of a pixel; more than 1 smooths edges and takes that many squared times as long."""

    geometry: ClassVar[Geometry] = JACO
    hand: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "hues")
        if not set(self.moving) <= set(range(1, JOINTS + 1)):
            raise Error(f"moving is {self.moving}, joints are numbered from 1 to {JOINTS}")

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        arm = _arm(self.walls != "none", self.target)
        joints, target = draw_contents(partial(self._pose, arm), random, contents)
        walls, floor = [str(random.choice(WALLS)) for _ in range(4)], str(random.choice(FLOORS))
        hue = draw_contents(self._hue, random, contents)
        colour = np.array(hsv_to_rgb(hue, 0.95, 0.95))
        lighting = sunlight(random if self.light == "random" else None)
        textured = self.walls == "textured"
        colours = _colours(arm.model)
        if self.target:
            colours[arm.model.geom(TARGET).id] = colour
        slabs = _slabs(arm.model)
        if not textured:
            colours[slabs] = PLAIN
        world = World(
            arm.model,
            arm.data,
            colours,
            self.field_of_view,
            dict(zip(slabs, [floor, *walls], strict=True)) if textured else {},
            lighting,
            (0.0, 0.0, 0.0) if self.walls == "none" else SKY,
        )
        sphere = {"shape": "sphere", "size": TARGET_RADIUS, "rotation": [1.0, 0.0, 0.0, 0.0]}
        labels = {
            "joints": joints,
            "hand": arm.hand,
            "objects": [{**sphere, "position": target, "colour": colour}] if self.target else [],
            "light": {"direction": lighting.direction},
            "walls": walls if textured else [],
            "floor": floor if textured else None,
        }
        touchable = np.concatenate([arm.parts, [target]]) if self.target else arm.parts
        return Setting(world, self._place_cameras(random), labels, touchable)

    def _pose(self, arm: Arm, random: np.random.Generator) -> tuple[Array, Array]:
        """Return joint angles (9,) and the target's place (3,) so that nothing touches; leave the arm in that pose."""
        fixed = [joint - 1 for joint in range(1, JOINTS + 1) if joint not in self.moving]
        while True:
            joints = random.uniform(*arm.limits.T)
            joints[fixed] = np.array(REST)[fixed]
            target = random_target(random)
            if self.target:
                arm.data.mocap_pos[0] = target
            arm.pose(joints)
            if arm.extent(AIM) < WHOLE and not arm.touches():
                return joints, target

    def _hue(self, random: np.random.Generator) -> float:
        return random.integers(self.hues) / self.hues if self.hues else random.random()

    def _place_cameras(self, random: np.random.Generator) -> Array:
        azimuth = random.uniform(-np.pi, np.pi, self.views)
        elevation = np.deg2rad(random.uniform(LOWEST, HIGHEST, self.views))
        if self.cameras == "ring":
            elevation[:] = np.deg2rad(30)
        elif self.cameras == "narrow":
            azimuth, elevation = azimuth / 4, np.deg2rad(20) + elevation / 4
        flat = np.cos(elevation)
        outward = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1)
        return look_at(AIM + RADIUS * outward, AIM)


def random_target(random: np.random.Generator) -> Array:
    """Return a place (3,) in metres, uniform over those that `may_hold_target` allows."""
    while True:
        place = AIM + random.uniform(-WHOLE, WHOLE, 3)
        if may_hold_target(place):
            return place


def may_hold_target(place: Array) -> bool:
    """Return whether a place (3,) is in the ball that the arm never leaves, beside its base and above the floor."""
    far = float(np.linalg.norm(place - AIM)) + TARGET_RADIUS
    return far <= WHOLE and bool(np.hypot(*place[:2]) >= NEAREST) and bool(place[2] > 1.5 * TARGET_RADIUS)


def sunlight(random: np.random.Generator | None) -> Lighting:
    """Return the light of a sun well above the horizon, at a random place, or at a fixed one for None."""
    azimuth, elevation = (0.6, 1.0) if random is None else (random.uniform(0, 2 * np.pi), random.uniform(0.87, 1.3))
    direction = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    return Lighting(ambient=0.38, headlight=0.2, diffuse=0.55, specular=0.0, direction=direction)


@cache
def _arm(walls: bool, target: bool) -> Arm:
    """Return the arm, with or without walls and a target; compiled once, posed anew for each scene."""
    spec = arm_spec(HALF + 0.2)
    spec.geom(FLOOR).group = BRIGHT
    if target:
        body = spec.worldbody.add_body(name=TARGET, mocap=True)
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(name=TARGET, type=sphere, size=[TARGET_RADIUS, 0, 0], contype=1, conaffinity=1)
    if walls:
        add_slabs(spec, room(HALF, 0.0, WALL)[1:], BRIGHT)
    model = spec.compile()
    if not walls:
        # A transparent floor: rays pass through it, and still the arm can't lie below it.
        model.geom_matid[model.geom(FLOOR).id] = -1
        model.geom_rgba[model.geom(FLOOR).id] = 0
    return Arm(model)


def _slabs(model: mujoco.MjModel) -> list[int]:
    """Return the geoms of the floor and the walls."""
    return [geom for geom in range(model.ngeom) if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX]


def _colours(model: mujoco.MjModel) -> Array:
    """Return colours (geoms, 3): dark links, bright rings and fingers, and white for all that is no part of the arm."""
    colours = np.ones((model.ngeom, 3))
    for geom in range(model.ngeom):
        name = model.geom(geom).name
        if name.startswith(("base", "link", "hand_link_6_main")):
            colours[geom] = DARK
        elif name.startswith(("ring", "hand")):
            colours[geom] = LIGHT
    return colours
