"""Cameras mean what the genuine data's cameras mean: a scene carved from its masks gives its masks back.

The convention is written out here again, and not imported.
"""

import numpy as np
import pytest

from gqn.scenes import FAMILIES


def pixels_of(points: np.ndarray, camera: np.ndarray, size: int, field_of_view: float) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of points (n, 3) in a frame."""
    x, y, z, yaw, pitch = camera.astype(float)
    forward = np.array([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    offset = points - [x, y, z]
    focal = size / 2 / np.tan(np.deg2rad(field_of_view) / 2) / (offset @ forward)
    column, row = size / 2 + focal * (offset @ right), size / 2 - focal * (offset @ up)
    inside = lambda value: np.clip(np.floor(value), 0, size - 1).astype(int)  # noqa: E731
    return inside(column), inside(row)


def agreement(masks: np.ndarray, cameras: np.ndarray, field_of_view: float, middle: tuple, half: float) -> float:
    """Mean intersection over union of masks (views, size, size) and of what they carve out of a cube."""
    size, steps = masks.shape[1], 110
    along = half * ((2 * np.arange(steps) + 1) / steps - 1)
    grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3) + middle
    for mask, camera in zip(masks, cameras, strict=True):
        column, row = pixels_of(grid, camera, size, field_of_view)
        grid = grid[mask[row, column]]
    ratios = []
    for mask, camera in zip(masks, cameras, strict=True):
        column, row = pixels_of(grid, camera, size, field_of_view)
        carved = np.zeros_like(mask)
        carved[row, column] = True
        ratios.append((mask & carved).sum() / (mask | carved).sum())
    return float(np.mean(ratios))


SETUPS = {
    "shepard_metzler_5_parts": ({}, 20.0, (0.0, 0.0, 0.0), 0.6),
    "jaco": ({"walls": "none", "light": "fixed"}, 45.0, (0.0, 0.0, 0.42), 0.6),
}


@pytest.mark.parametrize("name", SETUPS)
def test_a_scene_carved_from_its_masks_gives_them_back(name: str) -> None:
    options, field_of_view, middle, half = SETUPS[name]
    ratios = []
    for seed in range(3):
        scene = FAMILIES[name](size=64, views=11, **options).scene(np.random.default_rng(seed))
        masks = scene.frames.max(axis=-1) > 0
        ratios.append(agreement(masks, scene.cameras, field_of_view, middle, half))
        # The same masks with the sign of the yaw, or the handedness, turned are no object's.
        mirrored = scene.cameras * np.array([1, 1, 1, -1, 1], np.float32)
        assert agreement(masks, mirrored, field_of_view, middle, half) < 0.7
        assert agreement(masks[..., ::-1], scene.cameras, field_of_view, middle, half) < 0.7
    assert np.mean(ratios) >= 0.9, ratios
