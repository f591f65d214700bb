"""Tasks for the Jaco arm: questions about a drawn scene, whose answers are carried out in the simulator.

Each task has a label, the true answer, which a scene's ground truth gives; an executor; and a score in physical units.
The ground truth is that of `gqn.scenes.jaco`, as it is drawn or as `gqn.data.labels.scene_labels` reads it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.errors import Error
from gqn.scenes.jaco import HALF, random_target
from gqn.scenes.kinova import ARM, FINGERS, JOINTS, TARGET, Arm, arm_spec
from gqn.scenes.physics import mujoco

Array = NDArray[np.float64]
Labels = Mapping[str, Any]

NEAR = 0.05  # metres, what counts as there
TRIES = 12  # starts of the search for a pose
STEEP, ASIDE = (0, -30, 30, -60), (0, 30, -30, 70, -70)  # degrees, ways to come to a ball from the arm's base
PALM = 0.02  # metres, from the hand to the middle of a ball that it can close round
STEPS = 60  # of each search
DAMPING = 0.05  # of its steps, so that they stay small where the arm is stretched
OPEN, CLOSED = 0.25, 1.3  # radians, the fingers before a grasp and at its firmest
LIFT = 0.12  # metres
TIMESTEP = 0.002  # seconds
CLOSING, LIFTING, HOLDING = 0.8, 1.2, 0.4  # seconds, of a grasp
BALL_MASS = 0.05  # kilograms
STIFFNESS = (*3 * [3000.0], *3 * [1500.0], *3 * [30.0])  # newton metres a radian, of the motors
FINGER_TORQUE = 3.0  # newton metres


@dataclass(frozen=True)
class Outcome:
    """Outcome of an answer that was carried out."""

    success: bool
    error: float  # metres, as the task says; infinite where the answer could not be carried out


class Task(ABC):
    """A question about a scene with the arm; its answer is `size` numbers, of which the first `angles` are joints'."""

    size: int
    angles = 0

    @abstractmethod
    def label(self, labels: Labels) -> Array | None:
        """Return the true answer (size,) for a scene; None where there is none."""

    @abstractmethod
    def execute(self, labels: Labels, answer: ArrayLike) -> Outcome:
        """Carry an answer (size,) out in the scene."""

    @abstractmethod
    def random_answer(self, random: np.random.Generator) -> Array:
        """Return a random answer (size,), which measures what chance achieves."""

    def encode(self, answer: Array) -> Array:
        """Return an answer as networks learn it, (angles + size,): angles are sine and cosine, without a jump."""
        joints = answer[: self.angles]
        return np.concatenate([np.sin(joints), np.cos(joints), answer[self.angles :]])

    def decode(self, learned: Array) -> Array:
        """Return the answer (size,) that a network means; angles as near to their limits' middle as they can be."""
        sine, cosine, rest = np.split(learned, [self.angles, 2 * self.angles])
        middle = _arm().limits.mean(axis=1)[: self.angles]
        turned = np.arctan2(sine, cosine) - middle
        return np.concatenate([middle + np.remainder(turned + np.pi, 2 * np.pi) - np.pi, rest])


class Pose(Task):
    """Task: the nine joint angles of the arm, in radians. Error: of the part farthest from its place."""

    size = angles = JOINTS

    def label(self, labels: Labels) -> Array:
        return np.array(labels["joints"])

    def execute(self, labels: Labels, answer: ArrayLike) -> Outcome:
        arm = _arm()
        arm.pose(np.array(labels["joints"]))
        true = arm.parts
        arm.pose(np.asarray(answer, np.float64))
        error = float(np.linalg.norm(arm.parts - true, axis=1).max())
        return Outcome(error < NEAR, error)

    def random_answer(self, random: np.random.Generator) -> Array:
        return random.uniform(*_arm().limits.T)


class Locate(Task):
    """Task: the place of the target, in metres. Error: the distance."""

    size = 3

    def label(self, labels: Labels) -> Array:
        return _target(labels)

    def execute(self, labels: Labels, answer: ArrayLike) -> Outcome:
        error = float(np.linalg.norm(np.asarray(answer) - _target(labels)))
        return Outcome(error < NEAR, error)

    def random_answer(self, random: np.random.Generator) -> Array:
        return random_target(random)


class Reach(Task):
    """Task: joint angles, in radians, that bring the hand to the target. Error: the hand's distance from it.

    A pose in which the arm touches itself or the floor is no success, however near the hand is.
    """

    size = angles = JOINTS

    def label(self, labels: Labels) -> Array | None:
        return solve(_arm(), _target(labels), np.array(labels["joints"]))

    def execute(self, labels: Labels, answer: ArrayLike) -> Outcome:
        arm = _arm()
        arm.pose(np.clip(np.asarray(answer, np.float64), *_clips(arm)))
        error = float(np.linalg.norm(arm.hand - _target(labels)))
        return Outcome(error < NEAR and not arm.touches(), error)

    def random_answer(self, random: np.random.Generator) -> Array:
        return random.uniform(*_arm().limits.T)


class Grasp(Task):
    """Task: a hand's pose before a grasp and how far its fingers close: place (3,), direction (3,), closing (1,).

    place: of the hand, in metres; direction: from the palm towards the fingertips, of any length; closing: from 0,
    open, to 1, firmest. The arm is put into that pose, turned about the direction as it likes. The ball hangs without
    weight until the fingers have closed; then gravity has it, and the arm lifts the hand by LIFT metres. Success: the
    ball has gone up with it. Error: its distance from where it would then be. The label is the first of `approaches`
    from which the arm can be there and lift, found by geometry alone, so that physics may still refuse it.
    """

    size = 7

    def label(self, labels: Labels) -> Array | None:
        target = _target(labels)
        for direction in approaches(target):
            answer = np.array([*(target - PALM * direction), *direction, 1.0])
            if self._plan(labels, answer) is not None:
                return answer
        return None

    def execute(self, labels: Labels, answer: ArrayLike) -> Outcome:
        answer = np.asarray(answer, np.float64)
        plan = self._plan(labels, answer)
        if plan is None:
            return Outcome(False, np.inf)
        before, above = plan
        target, arm = _target(labels), _gripper(_radius(labels))
        model, data = arm.model, arm.data
        arm.pose(before)
        data.ctrl[:] = before
        data.ctrl[FINGERS] = OPEN + np.clip(answer[6], 0, 1) * (CLOSED - OPEN)
        ball = model.body(TARGET).id
        data.xfrc_applied[ball, 2] = -model.opt.gravity[2] * model.body_mass[ball]
        for _ in range(int(CLOSING / TIMESTEP)):
            data.qvel[JOINTS:] *= 0.9  # it hangs, and does not fly off where a finger strikes it
            mujoco.mj_step(model, data)
        data.xfrc_applied[ball] = 0
        steps = int(LIFTING / TIMESTEP)
        for number in range(steps + int(HOLDING / TIMESTEP)):
            part = min(1.0, number / steps)
            data.ctrl[ARM] = (1 - part) * before[ARM] + part * above[ARM]
            mujoco.mj_step(model, data)
        error = float(np.linalg.norm(data.qpos[JOINTS : JOINTS + 3] - target - [0, 0, LIFT]))
        return Outcome(error < NEAR, error)

    def _plan(self, labels: Labels, answer: Array) -> tuple[Array, Array] | None:
        """Return joint angles (9,) of the grasp and the lift; None where the arm touches anything or cannot be there.

        The ball is left in its place, and all at rest.
        """
        arm = _gripper(_radius(labels))
        mujoco.mj_resetData(arm.model, arm.data)
        arm.data.qpos[JOINTS:] = [*_target(labels), 1, 0, 0, 0]
        direction = answer[3:6] / max(float(np.linalg.norm(answer[3:6])), 1e-9)
        start = np.array(labels["joints"])
        start[FINGERS] = OPEN
        before = solve(arm, answer[:3], start, direction)
        if before is None:
            return None
        above = search(arm, arm.hand + np.array([0, 0, LIFT]), before)
        return None if above is None else (before, above)

    def random_answer(self, random: np.random.Generator) -> Array:
        return np.array([*random_target(random), *random.normal(size=3), random.random()])


def approaches(target: Array) -> Array:
    """Return unit directions (n, 3) from which to try a grasp: away from the arm's base and level first, then others.

    They turn with the target round the base, so that a label changes little where the scene does.
    """
    steep, aside = np.deg2rad(STEEP)[:, None], np.deg2rad(ASIDE) + np.arctan2(target[1], target[0])
    way = np.broadcast_arrays(np.cos(steep) * np.cos(aside), np.cos(steep) * np.sin(aside), np.sin(steep))
    return np.stack(way, axis=-1).reshape(-1, 3)


TASKS: dict[str, Task] = {"pose": Pose(), "locate": Locate(), "reach": Reach(), "grasp": Grasp()}


def solve(arm: Arm, place: Array, joints: Array, direction: Array | None = None) -> Array | None:
    """Return joint angles (9,) that bring the hand to `place` (3,) and touch nothing; None where none was found.

    joints: (9,), where the search starts first, and whose fingers stay; direction: of the hand (3,), by default any.
    By MuJoCo's Jacobian, in damped steps, from several starts, the same each time.
    """
    start, random = joints.copy(), np.random.default_rng(0)
    for _ in range(TRIES):
        found = search(arm, place, start, direction)
        if found is not None and not arm.touches():
            return found
        start[ARM] = random.uniform(*arm.limits[ARM].T)
    return None


def search(
    arm: Arm,
    place: Array,
    joints: Array,
    direction: Array | None = None,
    moving: slice | NDArray[np.int64] = ARM,
) -> Array | None:
    """Return the joint angles (9,) that damped least squares find from `joints` (9,), and leave the arm there.

    None where the hand comes no nearer to `place` than a millimetre. moving: joints that may turn.
    """
    joints = joints.copy()
    moves, turns = np.empty((3, arm.model.nv)), np.empty((3, arm.model.nv))
    for _ in range(STEPS):
        arm.pose(joints)
        wrong = place - arm.hand
        if direction is not None:
            wrong = np.concatenate([wrong, 0.3 * np.cross(arm.hand_axes[:, 2], direction)])
        if np.linalg.norm(wrong) < 1e-3 and (direction is None or arm.hand_axes[:, 2] @ direction > 0.99):
            return joints
        mujoco.mj_comPos(arm.model, arm.data)
        mujoco.mj_jacSite(arm.model, arm.data, moves, turns, arm.site)
        jacobian = moves[:, moving] if direction is None else np.concatenate([moves[:, moving], 0.3 * turns[:, moving]])
        square = jacobian @ jacobian.T + DAMPING**2 * np.eye(len(jacobian))
        step = jacobian.T @ np.linalg.solve(square, wrong)
        joints[moving] += step / max(1.0, float(np.abs(step).max()) / 0.4)
        joints = np.clip(joints, *_clips(arm))
    return None


def _target(labels: Labels) -> Array:
    if not labels["objects"]:
        raise Error("a scene without a target has no such task: draw it with a target")
    return np.array(labels["objects"][0]["position"], np.float64)


def _radius(labels: Labels) -> float:
    return float(labels["objects"][0]["size"])


def _clips(arm: Arm) -> tuple[Array, Array]:
    """Return the lowest and highest angle of each joint, infinite for those that turn without end."""
    return np.where(arm.turns, -np.inf, arm.limits[:, 0]), np.where(arm.turns, np.inf, arm.limits[:, 1])


@cache
def _arm() -> Arm:
    """Return the arm alone on its floor."""
    return Arm(arm_spec(HALF).compile())


@cache
def _gripper(radius: float) -> Arm:
    """Return the arm with motors in its joints, and a ball."""
    spec = arm_spec(HALF)
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    for body in spec.bodies:
        body.gravcomp = 1
    for number, joint in enumerate(spec.joints):
        motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_position(kp=STIFFNESS[number], kv=STIFFNESS[number] / 10)
        if number >= FINGERS.start:
            motor.forcerange, motor.forcelimited = (-FINGER_TORQUE, FINGER_TORQUE), True
    ball = spec.worldbody.add_body(name=TARGET)
    ball.add_freejoint()
    sphere = mujoco.mjtGeom.mjGEOM_SPHERE
    ball.add_geom(
        name=TARGET, type=sphere, size=[radius, 0, 0], mass=BALL_MASS, condim=4, friction=[1.5, 0.02, 0.001],
        contype=1, conaffinity=1,
    )  # fmt: skip
    return Arm(spec.compile())
