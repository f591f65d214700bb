"""Properties of the arm's pictures: it touches nothing, is whole in every frame, and labels say where it is."""

import numpy as np
import pytest

from gqn.core.camera import look_at
from gqn.scenes import jaco, kinova
from gqn.scenes.jaco import AIM, RADIUS, REST, TARGET_RADIUS, WHOLE, Jaco
from gqn.scenes.kinova import SITE, TARGET
from gqn.scenes.render import trace


def test_the_arm_touches_nothing_and_labels_hold_its_pose() -> None:
    family, poses = Jaco(size=4, views=1), []
    for seed in range(12):
        setting = family.setting(np.random.default_rng(seed))
        labels, data = setting.labels, setting.world.data
        poses.append(labels["joints"])
        np.testing.assert_array_equal(data.qpos, labels["joints"])
        np.testing.assert_allclose(data.site(SITE).xpos, labels["hand"])
        np.testing.assert_allclose(data.geom(TARGET).xpos, labels["objects"][0]["position"])
        assert data.ncon == 0
        limits = setting.world.model.jnt_range[setting.world.model.jnt_limited.astype(bool)]
        limited = labels["joints"][setting.world.model.jnt_limited.astype(bool)]
        assert ((limits[:, 0] <= limited) & (limited <= limits[:, 1])).all()
    assert np.std(poses, axis=0).min() > 0.1


def test_a_colliding_pose_is_seen() -> None:
    arm = jaco._arm(True, True)
    arm.data.mocap_pos[0] = [0, 0, -50]
    arm.pose(np.array(REST))
    assert not arm.touches()
    arm.pose(np.array([0, 5.4, 3, 0, 0, 0, 0.5, 0.5, 0.5]))  # down through the floor
    assert arm.touches()
    arm.pose(np.array([0, 3.1, 0.35, 0, 0, 0, 0.5, 0.5, 0.5]))  # folded onto itself
    assert arm.touches()
    arm.pose(np.array(REST))
    arm.data.mocap_pos[0] = arm.hand
    arm.pose(np.array(REST))
    assert arm.touches()
    assert not arm.touches(but=[arm.model.geom(TARGET).id])


def test_the_arm_and_its_target_are_whole_in_the_frame() -> None:
    family = Jaco(size=64, walls="none")
    filled = []
    for seed in range(10):
        setting = family.setting(np.random.default_rng(seed))
        hits = trace(setting.world, setting.cameras, 64)
        rim = np.ones((64, 64), bool)
        rim[1:-1, 1:-1] = False
        assert not hits.seen[:, rim].any()
        rows = hits.seen.any(axis=2)
        filled.append((64 - rows.argmax(axis=1) - rows[:, ::-1].argmax(axis=1)) / 64)
        distance = np.linalg.norm(setting.labels["objects"][0]["position"] - np.array(AIM))
        assert distance + TARGET_RADIUS <= WHOLE
    assert np.mean(filled) > 0.5  # of the height of the frame


@pytest.mark.parametrize("cameras", ["dome", "narrow", "ring"])
def test_cameras_look_at_the_arm(cameras: str) -> None:
    placed = Jaco(views=200, cameras=cameras).setting(np.random.default_rng(0)).cameras
    np.testing.assert_allclose(np.linalg.norm(placed[:, :3] - AIM, axis=1), RADIUS)
    aim = look_at(placed[:, :3], AIM)
    np.testing.assert_allclose(np.cos(placed[:, 3:] - aim[:, 3:]), 1, atol=1e-9)
    azimuth = np.arctan2(placed[:, 1], placed[:, 0])
    assert (np.abs(azimuth).max() < np.pi / 4 + 1e-9) == (cameras == "narrow")
    assert (np.ptp(placed[:, 2]) < 1e-9) == (cameras == "ring")


def test_options_make_the_world_easier() -> None:
    family = Jaco(views=1, moving=(1, 3), walls="plain", hues=3, light="fixed")
    settings = [family.setting(np.random.default_rng(seed)) for seed in range(8)]
    joints = np.array([setting.labels["joints"] for setting in settings])
    assert (np.ptp(joints, axis=0) > 0).tolist() == [number in (1, 3) for number in range(1, 10)]
    assert len({tuple(setting.labels["objects"][0]["colour"]) for setting in settings}) <= 3
    assert not any(setting.world.textures for setting in settings)
    assert Jaco(views=1, target=False).setting(np.random.default_rng(0)).labels["objects"] == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("moving", (0, 1)), ("moving", (10,)), ("walls", "brick"), ("cameras", "sphere"), ("hues", -1)],
)
def test_refuses_an_option_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        Jaco(**{option: value})


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinova, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"gqn\[worlds\]"):
        kinova.arm_spec(1.0)
