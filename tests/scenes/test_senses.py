"""Depth, normals and touch agree with the world that the frames show."""

from dataclasses import replace

import numpy as np
import pytest

from gqn.core.camera import axes
from gqn.scenes import FAMILIES
from gqn.scenes.render import World, trace
from gqn.scenes.senses import PROBES, REACH, SENSORS, SIDE, depth_and_normals, touch
from gqn.scenes.solids import boxes, place_boxes

TOUCHABLE = ["shepard_metzler_5_parts", "rooms_ring_camera", "jaco"]


def one_box(position: list[float]) -> World:
    model = boxes([[0.5, 0.5, 0.5]])
    return World(model, place_boxes(model, [position]), np.ones((1, 3)), 60.0)


def test_depth_and_normals_of_a_wall() -> None:
    camera = np.array([[3.0, 0, 0, np.pi, 0]], np.float32)
    depth, normals = depth_and_normals(one_box([0, 0, 0]), camera, 32)
    seen = depth[0] > 0
    half = np.tan(np.pi / 6)
    across = half * ((2 * np.arange(32) + 1) / 32 - 1)
    ray = np.sqrt(1 + across**2 + across[:, None] ** 2)
    np.testing.assert_array_equal(seen, np.maximum(np.abs(across), np.abs(across[:, None])) * 2.5 < 0.5)
    np.testing.assert_allclose(depth[0][seen], 2.5 * ray[seen], rtol=1e-6)
    np.testing.assert_allclose(normals[0][seen], np.tile([1, 0, 0], (seen.sum(), 1)), atol=1e-6)
    assert not normals[0][~seen].any()


def test_depth_and_normals_are_those_of_the_rays() -> None:
    family = FAMILIES["rooms_ring_camera"](size=40, views=40, senses=("depth", "normals"))  # more views than go at once
    scene = family.scene(np.random.default_rng(0))
    setting = family.setting(np.random.default_rng(0))
    hits = trace(setting.world, scene.cameras[39:], 40)
    np.testing.assert_allclose(scene.tensors["depth"][39], hits.depth[0].clip(0), rtol=1e-6)
    np.testing.assert_allclose(scene.tensors["normals"][39][hits.seen[0]], hits.normal, atol=1e-6)


def test_touch_reads_a_slope_as_pixels_lie() -> None:
    """A face that a probe, turned by 30 degrees, meets aslant: nearer on its right."""
    yaw = np.pi + np.deg2rad(30)
    forward = np.array([np.cos(yaw), -np.sin(yaw), 0])
    probe = np.array([[*(np.array([0.5, 0, 0]) - 0.2 * forward), yaw, 0]], np.float32)
    felt = touch(one_box([0, 0, 0]), probe, 0.2).reshape(SIDE, SIDE)
    right = np.array([-np.sin(yaw), -np.cos(yaw), 0])
    along = 0.2 * ((2 * np.arange(SIDE) + 1) / SIDE - 1) / 2
    starts = probe[0, 0] + along * right[0]
    np.testing.assert_allclose(felt, np.tile((starts - 0.5) / -forward[0], (SIDE, 1)), atol=1e-6)
    away = probe + np.array([0, 0, 0, np.pi, 0], np.float32)
    np.testing.assert_allclose(touch(one_box([0, 0, 0]), away, 0.2), REACH * 0.2)
    high = probe + np.array([0, 0, 0.5, 0, 0], np.float32)  # its lower two rows still meet the box
    rows = (touch(one_box([0, 0, 0]), high, 0.2).reshape(SIDE, SIDE) < REACH * 0.2).all(axis=1)
    assert rows.tolist() == [False, False, True, True]


@pytest.mark.parametrize("name", TOUCHABLE)
def test_each_probe_feels_something_and_a_label_tells_what(name: str) -> None:
    family = FAMILIES[name](size=4, views=2, senses=("touch",))
    for seed in range(3):
        scene = family.scene(np.random.default_rng(seed))
        setting = family.setting(np.random.default_rng(seed))
        felt, probes = scene.tensors["touch"], scene.tensors["touch_cameras"]
        assert felt.shape == (PROBES, SENSORS)
        assert felt.dtype == probes.dtype == np.float32
        assert felt.min() >= 0
        assert felt.max() <= np.float32(REACH * family.hand)
        assert (felt.min(axis=1) < REACH * family.hand).mean() > 0.9
        # What it feels is near what there is to touch, and not a wall.
        middle = probes[:, :3] + axes(probes)[0] * felt.min(axis=1, keepdims=True)
        nearest = np.linalg.norm(middle[:, None] - setting.touchable, axis=-1).min(axis=1)
        assert nearest.max() < 4.5 * family.hand
        if family.ground is not None:
            assert probes[:, 2].min() > family.ground


@pytest.mark.parametrize("name", TOUCHABLE)
def test_further_senses_leave_the_frames_as_they_are(name: str) -> None:
    plain = FAMILIES[name](size=16, views=2)
    rich = replace(plain, senses=("depth", "normals", "touch"))
    without, scene = plain.scene(np.random.default_rng(0)), rich.scene(np.random.default_rng(0))
    np.testing.assert_array_equal(without.frames, scene.frames)
    assert without.tensors == {}
    assert {name: values.shape for name, values in scene.tensors.items()} == rich.tensors
    assert all(np.isfinite(values).all() for values in scene.tensors.values())


def test_refuses_what_cannot_be_touched() -> None:
    with pytest.raises(ValueError, match="senses"):
        FAMILIES["mazes"](senses=("touch",))
    with pytest.raises(ValueError, match="fewest_objects"):
        FAMILIES["rooms_ring_camera"](senses=("touch",), fewest_objects=0)
    with pytest.raises(ValueError, match="senses is 'smell'"):
        FAMILIES["jaco"](senses=("smell",))
