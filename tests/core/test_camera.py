"""Camera conventions: the 7-vector, its inverse, axes and where look_at looks."""

import numpy as np
import pytest
import torch

from gqn.core.camera import Geometry, axes, camera_vector, look_at, orbit, recorded_camera


def random_cameras(count: int = 50) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate(
        [
            random.normal(size=(count, 3)),
            random.uniform(-np.pi, np.pi, (count, 1)),
            random.uniform(-1.5, 1.5, (count, 1)),
        ],
        axis=1,
    )


def test_order_of_the_seven_numbers() -> None:
    recorded = torch.tensor([1.0, 2.0, 3.0, 0.3, -0.2])
    expected = torch.tensor([1.0, 2.0, 3.0, np.sin(0.3), np.cos(0.3), np.sin(-0.2), np.cos(-0.2)])
    torch.testing.assert_close(camera_vector(recorded), expected, check_dtype=False)


def test_recorded_camera_is_the_inverse() -> None:
    recorded = torch.from_numpy(random_cameras())
    torch.testing.assert_close(recorded_camera(camera_vector(recorded)), recorded)


def test_axes_are_as_the_convention_says() -> None:
    cameras = random_cameras()
    forward, right, up = axes(cameras)
    yaw, pitch = cameras[:, 3], cameras[:, 4]
    expected = np.stack([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=1)
    np.testing.assert_allclose(forward, expected)
    across = np.cross(forward, [0, 0, 1])
    np.testing.assert_allclose(right, across / np.linalg.norm(across, axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(up, np.cross(right, forward))
    assert (up[:, 2] > 0).all()


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_axes_are_defined_looking_straight_up_or_down(pitch: float) -> None:
    frame = np.stack(axes([0, 0, 0, 0.4, pitch]))
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)


def test_look_at_looks_at() -> None:
    random = np.random.default_rng(1)
    position, target = random.normal(size=(2, 30, 3))
    cameras = look_at(position, target)
    towards = target - position
    np.testing.assert_allclose(axes(cameras)[0], towards / np.linalg.norm(towards, axis=1, keepdims=True))
    np.testing.assert_allclose(cameras[:, :3], position)


def test_orbit_is_a_circle_that_looks_at_the_origin() -> None:
    cameras = orbit(distance=3.0, elevation=30, count=8, start=20)
    np.testing.assert_allclose(np.linalg.norm(cameras[:, :3], axis=1), 3.0)
    np.testing.assert_allclose(cameras[:, 2], 1.5)
    np.testing.assert_allclose(axes(cameras)[0], -cameras[:, :3] / 3)
    assert np.arctan2(cameras[0, 1], cameras[0, 0]) == pytest.approx(np.deg2rad(20))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"field_of_view": 180.0}, "field_of_view"),
        ({"field_of_view": 45.0, "optical_centre": (0.5, 1.5)}, "optical_centre"),
        ({"field_of_view": 45.0, "cube_centre": (0.0, 0.0)}, "cube_centre"),
        ({"field_of_view": 45.0, "cube_radius": 0.0}, "cube_radius"),
        ({"field_of_view": 45.0, "beyond": 1.0}, "beyond"),
    ],
)
def test_refuses_a_geometry_that_cannot_be(fields: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Geometry(**fields)
