"""Reaching: the arm of `gqn.scenes.jaco` brings its hand to the target by small changes of the joints that move.

Kinematic: a move changes angles, and there are no forces. Episodes begin as scenes of the family do, so that frames are
those of a dataset of the family, but for the target, which stands where the hand can come. As the hand comes near, and
where the arm leaves the ball that the family keeps it in, they show what no scene of the family does.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.scenes.jaco import Jaco, may_hold_target
from gqn.scenes.kinova import TARGET, Arm
from gqn.scenes.render import render

Array = NDArray[np.float64]

# Small enough to be learned within hours on a processor; a layer 1 must have been trained on scenes of it.
FAMILY = Jaco(
    size=32, views=1, samples=2, cameras="narrow", moving=(1, 2, 3), walls="plain", hues=1, light="fixed"
)  # fmt: skip
LARGEST = 0.25  # radians, of a joint in one move


class Reaching:
    """One arm and its target; an episode lasts from one `begin` to the next, and there is one from the start."""

    def __init__(self, family: Jaco = FAMILY) -> None:
        setting = family.setting(np.random.default_rng(0))
        self.family = family
        self.arm = Arm(setting.world.model)  # the family poses its own anew for each setting
        self.world = replace(setting.world, data=self.arm.data)
        self._ball = self.arm.model.geom(TARGET).id
        self._moving = np.array(family.moving) - 1
        limits, self._turns = self.arm.limits[self._moving], self.arm.turns[self._moving]
        self._lowest, self._highest = np.where(self._turns[:, None], (-np.inf, np.inf), limits).T
        self.begin(np.random.default_rng(0))

    def begin(self, random: np.random.Generator) -> None:
        """Begin an episode: a pose that touches nothing, a target at the hand of another such pose, and a camera."""
        while True:
            reached = self.family.setting(random).labels
            setting = self.family.setting(random)
            self.arm.data.mocap_pos[0] = reached["hand"]
            self.arm.pose(setting.labels["joints"])
            if may_hold_target(reached["hand"]) and not self.arm.touches():
                break
        self.world = replace(self.world, colours=setting.world.colours)
        self.camera = setting.cameras[0]  # recorded (5,), one of the family's
        self._reached = reached["joints"][self._moving]

    def move(self, change: ArrayLike) -> None:
        """Turn the joints that move by `change` (n,), from -1 to 1, of LARGEST each, within their limits.

        Where that would touch the floor or the arm itself, one joint after the other is turned, and those that would
        touch stay. Touching the target is no obstacle, since the hand is to be there.
        """
        change = LARGEST * np.clip(np.asarray(change, np.float64), -1, 1)
        if not self._turn(change):
            for alone in np.diag(change):
                self._turn(alone)

    def _turn(self, change: Array) -> bool:
        before = self.arm.data.qpos.copy()
        joints = before.copy()
        joints[self._moving] = np.clip(self.joints + change, self._lowest, self._highest)
        self.arm.pose(joints)
        if free := not self.arm.touches(but=[self._ball]):
            return free
        self.arm.pose(before)
        return free

    def expert(self) -> Array:
        """Return the move (n,) towards the pose that the target was placed by; all joints arrive at the same time."""
        left = self._reached - self.joints
        left[self._turns] = (left[self._turns] + np.pi) % (2 * np.pi) - np.pi
        return left / max(LARGEST, float(np.abs(left).max()))

    @property
    def joints(self) -> Array:
        """Angles (n,) of the joints that move, in radians."""
        return self.arm.data.qpos[self._moving]

    @property
    def target(self) -> Array:
        """Position of the target, (3,), in metres."""
        return self.arm.data.mocap_pos[0].copy()

    @property
    def distance(self) -> float:
        """Distance from the hand to the target, in metres."""
        return float(np.linalg.norm(self.arm.hand - self.target))

    def frame(self, camera: Array) -> NDArray[np.uint8]:
        """Return the frame (size, size, 3) that a recorded camera (5,) sees, as the family draws it."""
        camera = camera.astype(np.float32)  # as it is recorded
        return render(self.world, camera[None], self.family.size, self.family.samples)[0]
