"""Reaching: the arm of `gqn.scenes.jaco` brings its hand to the target by small changes of the joints that move.

Kinematic: a move changes angles, and there are no forces. Episodes begin as scenes of the family do, so that frames are
those of a dataset of the family, but for the target, which stands where the hand can come. As the hand comes near, and
where the arm leaves the ball that the family keeps it in, they show what no scene of the family does.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.errors import Error
from gqn.scenes.arm import search
from gqn.scenes.jaco import Jaco, may_hold_target
from gqn.scenes.kinova import TARGET, Arm
from gqn.scenes.render import render

Array = NDArray[np.float64]

# Small enough to be learned within hours on a processor; a layer 1 must have been trained on scenes of it.
FAMILY = Jaco(
    size=32, views=1, samples=2, cameras="narrow", moving=(1, 2, 3), walls="plain", hues=1, light="fixed"
)  # fmt: skip
WORLDS = {"reduced": FAMILY, "full": Jaco(views=1)}
LARGEST = 0.25  # radians, of a joint in one move
STARTS = 8  # poses from which the expert searches for those that reach the target


class Reaching:
    """One arm and its target; an episode lasts from one `begin` to the next, and there is one from the start.

    Raises Error for a family without a target, or in which no joint moves.
    """

    def __init__(self, family: Jaco = FAMILY) -> None:
        if not (family.target and family.moving):
            raise Error(f"an arm that reaches needs a target and joints that move: {family}")
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
        self._poses: list[Array] = []  # that reach the target, found when the expert is first asked

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
        """Return the move (n,) towards the pose that reaches the target in the fewest moves, by all joints at a time.

        Most targets are reached by several poses. The nearest follows from joints and target alone, where that which
        the target was placed by does not, so that who is told both, or sees them, can learn to do the same.
        """
        self._poses = self._poses or self._reaching()
        ways = np.array([pose - self.joints for pose in self._poses])
        ways[:, self._turns] = (ways[:, self._turns] + np.pi) % (2 * np.pi) - np.pi
        way = ways[np.abs(ways).max(axis=1).argmin()]
        return way / max(LARGEST, float(np.abs(way).max()))

    def _reaching(self) -> list[Array]:
        """Return poses (n,) with the hand at the target, that which the target was placed by and others as found."""
        before, random = self.arm.data.qpos.copy(), np.random.default_rng(0)
        poses = [self._reached]
        for _ in range(STARTS):
            start = before.copy()
            start[self._moving] = random.uniform(*self.arm.limits[self._moving].T)
            found = search(self.arm, self.target, start, moving=self._moving)
            if found is not None and not self.arm.touches(but=[self._ball]):
                poses.append(found[self._moving])
        self.arm.pose(before)
        return poses

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
