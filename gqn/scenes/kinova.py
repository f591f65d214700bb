"""The Kinova Jaco arm with its three-fingered hand, nine joints, from the files of dm_control.

Only the files are used: importing dm_control would look for a screen.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.extras import MissingExtra
from gqn.scenes.physics import mujoco

Array = NDArray[np.float64]

JOINTS = 9  # six of the arm, from the base, and three fingers
ARM, FINGERS = slice(0, 6), slice(6, 9)
SITE = "hand_gripsite"  # between the fingers: what "the hand" means wherever it has a position
FLOOR = "floor"
TARGET = "target"
FREE = (-np.pi, np.pi)  # radians, of joints that turn without end


def arm_spec(floor_half: float) -> mujoco.MjSpec:
    """Return the arm on a square floor at height 0, `floor_half` metres to each side; all geoms collide.

    Raises MissingExtra where dm_control is not installed.
    """
    package = find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise MissingExtra("the arm needs the files of dm_control: pip install 'gqn[worlds]'")
    folder = Path(package.submodule_search_locations[0]) / "third_party/kinova"
    spec = mujoco.MjSpec.from_file(str(folder / "jaco_arm.xml"))
    hand = mujoco.MjSpec.from_file(str(folder / "jaco_hand.xml"))
    spec.attach(hand, site=spec.site("wristsite"), prefix="hand_")
    half = [floor_half, floor_half, 0.1]
    box = mujoco.mjtGeom.mjGEOM_BOX
    spec.worldbody.add_geom(name=FLOOR, type=box, pos=[0, 0, -0.1], size=half, contype=1, conaffinity=1)
    return spec


class Arm:
    """A compiled model with the arm in it, and its data: poses it and says where it is and what it touches."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        joints = range(JOINTS)
        limits = [model.jnt_range[joint] if model.jnt_limited[joint] else FREE for joint in joints]
        self.limits = np.array(limits)  # (9, 2), radians
        self.turns = np.array([not model.jnt_limited[joint] for joint in joints])  # (9,), those without limits
        self.site = model.site(SITE).id
        # All of the arm hangs on its base.
        root = model.body("b_base").id
        bodies = [body for body in range(model.nbody) if root in _ancestors(model, body)]
        self._bodies = [body for body in bodies if body != root]
        self._geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in bodies]
        self._bounds = model.geom_rbound[self._geoms]

    def pose(self, joints: Array) -> None:
        """Put the joints at angles (9,), in radians."""
        self.data.qpos[:JOINTS] = joints
        mujoco.mj_kinematics(self.model, self.data)

    @property
    def hand(self) -> Array:
        """Position of the hand, (3,), in metres."""
        return self.data.site_xpos[self.site].copy()

    @property
    def hand_axes(self) -> Array:
        """Axes of the hand as columns (3, 3); it grasps along the third."""
        return self.data.site_xmat[self.site].reshape(3, 3).copy()

    @property
    def parts(self) -> Array:
        """Middles of the arm's parts (n, 3), in metres."""
        return self.data.geom_xpos[self._geoms]

    @property
    def bones(self) -> Array:
        """Lines between the joints of the arm and of its hand, (n, 2, 3), in metres."""
        parents = self.model.body_parentid[self._bodies]
        return np.stack([self.data.xpos[parents], self.data.xpos[self._bodies]], axis=1)

    def extent(self, place: ArrayLike) -> float:
        """Return how far from `place` (3,) the arm reaches, in metres, by the balls round its parts."""
        return float((np.linalg.norm(self.parts - np.asarray(place), axis=1) + self._bounds).max())

    def touches(self, but: Iterable[int] = ()) -> bool:
        """Return whether any two geoms touch; contacts with the geoms in `but` do not count."""
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        but = set(but)
        return any(not but & {int(contact.geom1), int(contact.geom2)} for contact in self.data.contact)


def _ancestors(model: mujoco.MjModel, body: int) -> set[int]:
    """Return the body and all that it hangs on, without the world."""
    found = set()
    while body:
        found.add(body)
        body = int(model.body_parentid[body])
    return found
