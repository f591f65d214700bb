"""Tasks of the arm: true answers succeed, chance does not, and errors are in metres."""

import json

import numpy as np
import pytest

from gqn.scenes.arm import NEAR, TASKS, Grasp, Locate, Pose, Reach, _arm, approaches
from gqn.scenes.jaco import Jaco


@pytest.fixture(scope="module")
def scenes() -> list[dict]:
    """Ground truth as it is read from a file, and not as it was in memory."""
    family = Jaco(size=2, views=1)
    labels = [family.setting(np.random.default_rng(seed)).labels for seed in range(40)]
    return [json.loads(json.dumps(scene, default=lambda value: value.tolist())) for scene in labels]


@pytest.mark.parametrize(("name", "count", "share"), [("pose", 40, 1), ("locate", 40, 1), ("reach", 40, 0.99)])
def test_true_answers_succeed_and_chance_does_not(name: str, count: int, share: float, scenes: list[dict]) -> None:
    task, random = TASKS[name], np.random.default_rng(10**6)
    labels = [task.label(scene) for scene in scenes[:count]]
    known = [(scene, label) for scene, label in zip(scenes, labels, strict=False) if label is not None]
    assert len(known) > 0.9 * count
    assert all(label.shape == (task.size,) for _, label in known)
    outcomes = [task.execute(scene, label) for scene, label in known]
    assert np.mean([outcome.success for outcome in outcomes]) >= share
    assert max(outcome.error for outcome in outcomes if outcome.success) < NEAR
    chance = [task.execute(scene, task.random_answer(random)) for scene in scenes]
    assert np.mean([outcome.success for outcome in chance]) < 0.05
    assert np.median([outcome.error for outcome in chance]) > 2 * NEAR


def test_grasps_hold_and_chance_does_not(scenes: list[dict]) -> None:
    task, random = Grasp(), np.random.default_rng(10**6)
    labels = [task.label(scene) for scene in scenes[:12]]
    known = [(scene, label) for scene, label in zip(scenes, labels, strict=False) if label is not None]
    assert len(known) >= 9
    assert np.mean([task.execute(scene, label).success for scene, label in known]) >= 0.8
    assert np.mean([task.execute(scene, task.random_answer(random)).success for scene in scenes[:20]]) < 0.05
    scene, label = known[0]
    assert task.execute(scene, label) == task.execute(scene, label)
    empty_handed = task.execute(scene, [*label[:6], 0.0])  # the fingers stay open
    assert not empty_handed.success
    assert 0.2 < empty_handed.error < np.inf  # the ball lies on the floor or further down than the hand
    beside = task.execute(scene, label + np.array([0, 0, 0.15, 0, 0, 0, 0]))
    assert not beside.success


def test_errors_are_metres(scenes: list[dict]) -> None:
    target = np.array(scenes[0]["objects"][0]["position"])
    assert Locate().execute(scenes[0], target + np.array([0.03, 0, 0.04])).error == pytest.approx(0.05)
    assert not Locate().execute(scenes[0], target + np.array([0.03, 0, 0.041])).success
    joints = np.array(scenes[0]["joints"])
    shown = Reach().execute(scenes[0], joints)
    assert shown.error == pytest.approx(np.linalg.norm(np.array(scenes[0]["hand"]) - target))
    turned = joints + np.array([np.pi / 2, *8 * [0.0]])  # about the base: each part moves by its distance times root 2
    hand = np.hypot(*scenes[0]["hand"][:2]) * 2**0.5
    assert Pose().execute(scenes[0], turned).error > 0.9 * hand
    assert Pose().execute(scenes[0], joints + np.array([2 * np.pi, *8 * [0]])).error == pytest.approx(0, abs=1e-9)


def test_a_reach_through_the_floor_or_beyond_its_joints_does_not_count(scenes: list[dict]) -> None:
    """The hand is at the target, but for the wrong reason."""
    folded = np.array([0, 5.4, 3, 0, 0, 0, 0.5, 0.5, 0.5])
    reach = Reach()
    there = reach.execute(scenes[0], folded)
    arm = _arm()
    arm.pose(folded)
    scene = {**scenes[0], "objects": [{**scenes[0]["objects"][0], "position": arm.hand.tolist()}]}
    outcome = reach.execute(scene, folded)
    assert outcome.error == pytest.approx(0)
    assert not outcome.success
    assert there.error > 0
    beyond = np.array(scenes[0]["joints"])
    beyond[1] = 20.0
    clipped = beyond.copy()
    clipped[1] = arm.limits[1, 1]
    assert reach.execute(scenes[0], beyond) == reach.execute(scenes[0], clipped)


def test_needs_a_target() -> None:
    labels = Jaco(size=2, views=1, target=False).setting(np.random.default_rng(0)).labels
    with pytest.raises(ValueError, match="without a target"):
        Reach().label(labels)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_learned_says_what_was_answered(name: str, scenes: list[dict]) -> None:
    """True answers survive the form that networks learn, also where joints have turned past a half circle."""
    task = TASKS[name]
    for scene in scenes[:5]:
        answer = task.label(scene)
        learned = task.encode(answer)
        assert len(learned) == task.size + task.angles
        again = task.decode(learned)
        assert task.execute(scene, again).error == pytest.approx(task.execute(scene, answer).error, abs=1e-6)
        if name == "pose":
            assert again == pytest.approx(answer)  # within the limits, and not a turn away


def test_angles_have_no_jump() -> None:
    task = Pose()
    joints = _arm().limits.mean(axis=1)
    before, after = joints.copy(), joints.copy()
    before[0], after[0] = np.pi - 0.001, -np.pi + 0.001
    assert np.linalg.norm(task.encode(before) - task.encode(after)) < 0.003


def test_approaches_turn_with_the_target() -> None:
    target, turn = np.array([0.3, 0.1, 0.4]), 0.7
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    ways = approaches(target)
    assert np.linalg.norm(ways, axis=1) == pytest.approx(np.ones(len(ways)))
    assert approaches(matrix @ target) == pytest.approx(ways @ matrix.T)
    assert ways[0] == pytest.approx(np.array([0.3, 0.1, 0]) / np.hypot(0.3, 0.1))  # outward and level first
