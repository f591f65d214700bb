"""Properties of the renderer."""

from dataclasses import replace

import numpy as np
import pytest

from gqn.core.camera import look_at, orbit
from gqn.scenes.render import BACKGROUND, Lighting, World, out_of_shadow, render, surface_colours, trace
from gqn.scenes.senses import feel
from gqn.scenes.solids import boxes, place_boxes
from gqn.scenes.textures import PATTERNS, TILE, look_up

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
FLAT = Lighting(ambient=1, headlight=0, diffuse=0, specular=0)


def world_of(half_sizes: object, positions: object, lighting: Lighting = FLAT, field_of_view: float = 45.0) -> World:
    """Boxes, the first red and the others blue."""
    model = boxes(half_sizes)
    colours = np.array([RED] + [BLUE] * (model.ngeom - 1))
    return World(model, place_boxes(model, positions), colours, field_of_view, lighting=lighting)


def middle(mask: np.ndarray) -> np.ndarray:
    """Column and row of the middle of a mask, in pixels."""
    return np.argwhere(mask).mean(axis=0)[::-1] + 0.5


def test_a_box_projects_where_the_pinhole_formula_says() -> None:
    random = np.random.default_rng(0)
    size, field_of_view = 128, 40.0
    for _ in range(20):
        target, place = random.normal(size=(2, 3)) * 0.3
        yaw, pitch = random.uniform(-np.pi, np.pi), random.uniform(-1.4, 1.4)
        forward = np.array([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        position = target - 4 * forward
        world = world_of([[0.02] * 3], [place], field_of_view=field_of_view)
        hits = trace(world, [[*position, yaw, pitch]], size)
        offset = place - position
        focal = size / 2 / np.tan(np.deg2rad(field_of_view) / 2)
        column = size / 2 + focal * (offset @ right) / (offset @ forward)
        row = size / 2 - focal * (offset @ np.cross(right, forward)) / (offset @ forward)
        assert 0 < column < size
        assert 0 < row < size
        np.testing.assert_allclose(middle(hits.geom[0] == 0), [column, row], atol=0.5)
        assert abs(hits.depth[0][hits.geom[0] == 0].mean() - np.linalg.norm(offset)) < 0.04


def test_right_is_right_and_up_is_up() -> None:
    world = world_of([[0.1] * 3] * 2, [[0, 0.5, 0], [0, 0, 0.5]])
    camera = [[3.0, 0.0, 0.0, np.pi, 0.0]]  # on the x axis, looking back along it: y to the right, z up
    frame = render(world, camera, 64)[0]
    red, blue = middle(frame[..., 0] == 255), middle(frame[..., 2] == 255)
    assert red[0] > 40
    assert abs(red[1] - 32) < 0.5
    assert blue[1] < 24
    assert abs(blue[0] - 32) < 0.5


def test_shadow_is_darker_and_light_comes_from_its_direction() -> None:
    light = Lighting(ambient=0.2, headlight=0, diffuse=0.5, specular=0.1, direction=(0, 0, 3))
    world = world_of([[1, 1, 0.1], [0.2, 0.2, 0.2]], [[0, 0, -0.1], [0, 0, 1]], light)
    above, beside, below = [0.0, 0, 0], [0.8, 0, 0], [0, 0, -0.2]
    lit = out_of_shadow(world, np.array([above, beside, below]))
    assert lit.tolist() == [False, True, False]
    aslant = replace(world, lighting=replace(light, direction=(1, 0, 1)))
    assert out_of_shadow(aslant, np.array([above])).all()
    camera = look_at([[3, 0, 1.5]], [0, 0, 0])
    hits = trace(world, camera, 64)
    slab = hits.geom[hits.seen] == 0
    x, y, z = hits.point[slab].T
    lit = (z > -1e-6) & (np.maximum(abs(x), abs(y)) > 0.2)
    assert (~lit[z > -1e-6]).sum() > 20
    # In shadow or on the side, 0.2 of red; in light, 0.2 + 0.5 of it and 0.1 of white.
    frame = render(world, camera, 64)
    expected = np.where(lit[:, None], [204, 26, 26], [51, 0, 0])
    np.testing.assert_array_equal(frame[hits.seen][slab], expected)


def test_headlight_goes_with_the_cosine_to_the_camera() -> None:
    light = Lighting(ambient=0.2, headlight=0.6, diffuse=0, specular=0, direction=(0, 0, -1))
    for degrees in (0, 30, 60):
        angle = np.deg2rad(degrees)
        camera = look_at([[3 * np.cos(angle), 3 * np.sin(angle), 0]], [0, 0, 0])
        world = world_of([[0.1] * 3], [[0, 0, 0]], light)
        hits = trace(world, camera, 64)
        frame = render(world, camera, 64)
        face = frame[hits.seen][hits.normal[:, 0] > 0.9]
        assert {tuple(colour) for colour in face.tolist()} == {(round(255 * (0.2 + 0.6 * np.cos(angle))), 0, 0)}


def test_background_and_antialiasing() -> None:
    world, cameras = replace(world_of([[0.3] * 3], [[0, 0, 0]]), background=BLUE), orbit(3, 20, 3)
    hard, smooth = (render(world, cameras, 32, samples) for samples in (1, 4))
    assert {tuple(colour) for colour in hard.reshape(-1, 3).tolist()} == {(255, 0, 0), (0, 0, 255)}
    between = (smooth[..., 0] > 0) & (smooth[..., 0] < 255)
    assert between.any()
    assert between.mean() < 0.1
    assert abs(hard[..., 0].mean() - smooth[..., 0].mean()) < 3
    nothing = trace(world_of([[0.3] * 3], [[0, 0, 50]]), cameras, 8)
    assert (nothing.geom == BACKGROUND).all()


def test_a_lamp_shines_from_where_it_hangs() -> None:
    light = Lighting(ambient=0.2, headlight=0, diffuse=0.5, specular=0, lamp=(0.0, 0.0, 2.0))
    world = world_of([[1, 1, 0.1], [0.2, 0.2, 0.2]], [[0, 0, -0.1], [0, 0, 1]], light)
    # The box, 0.2 about the axis up to a height of 0.8 to 1.2, hides from a lamp at 2 what is nearer than 0.5.
    points = np.array([[0.45, 0, 0], [0.55, 0, 0]])
    assert out_of_shadow(world, points).tolist() == [False, True]
    frame = render(world, look_at([[3, 0, 1.5]], [0, 0, 0]), 64)
    hits = trace(world, look_at([[3, 0, 1.5]], [0, 0, 0]), 64)
    top = (hits.geom[hits.seen] == 0) & (hits.point[:, 2] > -1e-6) & (np.abs(hits.point[:, :2]).max(axis=1) > 0.6)
    towards = np.array([0, 0, 2]) - hits.point[top]
    cosine = towards[:, 2] / np.linalg.norm(towards, axis=1)
    red = frame[hits.seen][top][:, 0].astype(float)
    np.testing.assert_allclose(red, 255 * (0.2 + 0.5 * cosine), atol=0.51)


def test_a_pattern_lies_straight_on_the_wall_wherever_the_camera_stands() -> None:
    world = replace(world_of([[0.1, 2, 2]], [[0, 0, 0]]), colours=np.ones((1, 3)), textures={0: "checker"})
    for place in ([3.0, 0, 0], [2.0, 1.5, 0.7]):
        hits = trace(world, look_at([place], [0, 0, 0]), 96)
        colours = surface_colours(world, hits, 96)
        wall = hits.normal[:, 0] > 0.9
        y, z = hits.point[wall][:, 1:].T
        light = (np.floor(4 * y / TILE) + np.floor(-4 * z / TILE)) % 2  # squares of a quarter of a tile
        inside = np.abs((4 * np.stack([y, z]) / TILE) % 1 - 0.5).max(axis=0) < 0.4
        assert inside.sum() > 500
        assert (((colours[wall].mean(axis=1) > 0.6) == light)[inside]).mean() > 0.99


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_repeats_and_its_coarse_copies_are_means(name: str) -> None:
    u, v = np.random.default_rng(0).uniform(-5, 5, (2, 500))
    fine, first = np.full(500, 1e-4), np.zeros(500, int)
    here = look_up((name,), first, u, v, fine)
    np.testing.assert_array_equal(here, look_up((name,), first, u + 3 * TILE, v - TILE, fine))
    assert here.min() >= 0
    assert here.max() <= 1
    assert here.std(axis=0).max() > 0.02  # there is something to see
    grid = (np.arange(256) + 0.5) * TILE / 256
    corners = [axis.ravel() for axis in np.meshgrid(grid, grid)]
    whole = look_up((name,), np.zeros(256**2, int), *corners, np.full(256**2, 1e-4))
    np.testing.assert_allclose(
        look_up((name,), first[:1], u[:1], v[:1], np.array([100.0]))[0], whole.mean(axis=0), atol=1e-3
    )


def test_a_spot_shines_downward_and_narrows_with_its_exponent() -> None:
    """A white floor under a lamp at a height of 2: light falls with a power of the cosine."""
    for exponent in (0.0, 10.0):
        light = Lighting(ambient=0.1, headlight=0, diffuse=0.8, specular=0, lamp=(0.0, 0.0, 2.0), exponent=exponent)
        world = world_of([[3, 3, 0.1]], [[0, 0, -0.1]], light)
        frame = render(world, [[0, 0, 1.9, 0, -np.pi / 2]], 65)[0, 32, :, 0]
        hits = trace(world, [[0, 0, 1.9, 0, -np.pi / 2]], 65)
        away = np.hypot(*hits.point.reshape(65, 65, 3)[32, :, :2].T)
        cosine = 2 / np.hypot(2, away)
        np.testing.assert_allclose(frame, 255 * (0.1 + 0.8 * cosine ** (1 + exponent)), atol=1.01)


def test_the_optical_centre_moves_the_picture_and_nothing_else() -> None:
    world, camera = world_of([[0.3] * 3], [[0, 0, 0]]), orbit(3, 20, 1)
    middle = trace(world, camera, 64).geom[0]
    moved = trace(replace(world, optical_centre=(0.5 + 5 / 64, 0.5 - 3 / 64)), camera, 64).geom[0]
    np.testing.assert_array_equal(moved[:-3, 5:], middle[3:, :-5])


def test_what_is_lit_does_not_depend_on_the_balls_that_save_rays() -> None:
    light = Lighting(ambient=0.2, headlight=0, diffuse=0.5, specular=0, lamp=(0.4, 0.2, 1.5))
    world = world_of([[1, 1, 0.1], [0.2, 0.2, 0.2], [0.1, 0.3, 0.1]], [[0, 0, -0.1], [0, 0, 0.5], [0.5, 0, 0.3]], light)
    points = np.concatenate([np.random.default_rng(0).uniform(-1, 1, (500, 2)), np.zeros((500, 1))], axis=1)
    expected = []
    for point in points:
        ray = point - light.lamp
        distance = np.linalg.norm(ray)
        expected.append(feel(world, np.array(light.lamp), ray / distance) > distance - 1e-4)
    np.testing.assert_array_equal(out_of_shadow(world, points), expected)
    assert 0.05 < np.mean(expected) < 0.95
