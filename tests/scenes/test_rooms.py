"""Properties of rooms, and of the solids in them."""

import mujoco
import numpy as np
import pytest

from gqn.scenes.render import World, trace
from gqn.scenes.rooms import FLOOR, HALF, RING, SPREAD, Rooms
from gqn.scenes.senses import feel
from gqn.scenes.solids import SHAPES, Shape, Solid, height_above_ground, model_of, posed, random_rotation

DOWN = [0.0, 0.0, 5.0, 0.0, -np.pi / 2]  # a camera five units up that looks straight down


def seen_from_above(shape: Shape, rotation: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) of the surface of a solid of size 1 and where its rays from below first hit it."""
    model = model_of([Solid(shape, 1.0, np.array([0, 0, height]), rotation, np.ones(3))], np.zeros((0, 6)))
    world = World(model, posed(model), np.ones((1, 3)), 45.0)
    below = [0.0, 0.0, -5.0, 0.0, np.pi / 2]
    return trace(world, [DOWN], 128).point, trace(world, [below], 128).point


@pytest.mark.parametrize("shape", SHAPES)
def test_a_solid_touches_the_ground_whichever_way_it_lies(shape: Shape) -> None:
    random = np.random.default_rng(0)
    for rotation in [np.array([1.0, 0, 0, 0]), *(random_rotation(random) for _ in range(4))]:
        top, bottom = seen_from_above(shape, rotation, height_above_ground(shape, rotation))
        assert -1e-6 < bottom[:, 2].min() < 0.05
        assert top[:, 2].max() > 0.5
        assert np.abs(top).max() < 2.6


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_point_outward(shape: Shape) -> None:
    model = model_of([Solid(shape, 1.0, np.zeros(3), np.array([1.0, 0, 0, 0]), np.ones(3))], np.zeros((0, 6)))
    hits = trace(World(model, posed(model), np.ones((1, 3)), 45.0), [DOWN, [4.0, 0, 0, np.pi, 0.0]], 64)
    assert len(hits.normal) > 400
    assert hits.headlight.min() > -0.3  # towards the camera, but for the rim that its axis does not see
    np.testing.assert_allclose(np.linalg.norm(hits.normal, axis=1), 1, atol=1e-6)


def test_objects_stand_apart_in_the_room() -> None:
    family = Rooms(size=4, views=1, rotations="free", fewest_objects=3)
    shapes, counts = set(), set()
    for seed in range(40):
        objects = family.setting(np.random.default_rng(seed)).labels["objects"]
        counts.add(len(objects))
        for number, thing in enumerate(objects):
            shapes.add(thing["shape"])
            assert np.abs(thing["position"][:2]).max() <= SPREAD
            for other in objects[:number]:
                apart = np.linalg.norm(thing["position"][:2] - other["position"][:2])
                assert apart > thing["size"] + other["size"]
    assert shapes == set(SHAPES)
    assert counts == {3}


def test_labels_say_what_is_in_the_picture() -> None:
    """The solid that a label describes, and nothing else, lies where rays to its centre end."""
    family = Rooms(size=4, views=1, cameras="free", rotations="free", shapes=("box", "sphere", "icosahedron"))
    for seed in range(10):
        setting = family.setting(np.random.default_rng(seed))
        for number, thing in enumerate(setting.labels["objects"]):
            geom = np.zeros((1, 1), np.int32)
            above = np.array([*thing["position"][:2], 1.0])
            down = np.array([0, 0, -1.0])
            distance = mujoco.mj_ray(
                setting.world.model, setting.world.data, above[:, None], down[:, None], None, True, -1, geom
            )
            assert geom[0, 0] == 5 + number  # after the floor and four walls
            assert thing["position"][2] < 1 - distance <= thing["position"][2] + 1.3 * thing["size"]
            np.testing.assert_array_equal(setting.world.colours[geom[0, 0]], thing["colour"])


def test_ring_cameras_look_at_the_axis_from_the_height_of_the_eye() -> None:
    cameras = Rooms(views=200).setting(np.random.default_rng(0)).cameras
    np.testing.assert_allclose(np.hypot(cameras[:, 0], cameras[:, 1]), RING)
    np.testing.assert_array_equal(cameras[:, [2, 4]], 0)
    np.testing.assert_allclose(np.cos(cameras[:, 3]) * RING, -cameras[:, 0], atol=1e-9)
    np.testing.assert_allclose(np.sin(cameras[:, 3]) * RING, cameras[:, 1], atol=1e-9)


def test_walls_and_floor_stand_where_they_were_measured() -> None:
    family = Rooms(views=1, fewest_objects=0)
    world = family.setting(np.random.default_rng(0)).world
    eye = np.zeros(3)
    for direction, distance in (([1, 0, 0], HALF), ([0, -1, 0], HALF), ([0, 0, -1], -FLOOR)):
        assert feel(world, eye, np.array(direction, float)) == pytest.approx(distance)
    assert feel(world, eye, np.array([1, 0, 0.36]) / np.hypot(1, 0.36)) == np.inf  # over the wall, whose slope is 0.354
    assert feel(world, eye, np.array([1, 0, 0.35]) / np.hypot(1, 0.35)) < np.inf


def test_options_make_the_world_easier() -> None:
    options = {"hues": 2, "textures": False, "light": "fixed", "shapes": ("sphere",), "most_objects": 1}
    family = Rooms(size=8, views=2, **options)
    settings = [family.setting(np.random.default_rng(seed)) for seed in range(8)]
    assert {len(setting.labels["objects"]) for setting in settings} == {1}
    assert {setting.labels["objects"][0]["shape"] for setting in settings} == {"sphere"}
    assert len({setting.world.lighting for setting in settings}) == 1
    assert not any(setting.world.textures for setting in settings)
    strongest = {int(np.argmax(setting.labels["objects"][0]["colour"])) for setting in settings}
    assert strongest <= {0, 1, 2}
    red_or_cyan = [setting.labels["objects"][0]["colour"] for setting in settings]
    assert all(colour[1] == colour[2] for colour in red_or_cyan)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"cameras": "dome"}, "cameras"),
        ({"rotations": "all"}, "rotations"),
        ({"shapes": ()}, "shapes"),
        ({"shapes": ("teapot",)}, "shapes"),
        ({"most_objects": 0, "fewest_objects": 0}, "most_objects"),
        ({"fewest_objects": 3, "most_objects": 2}, "most_objects"),
        ({"most_objects": 7}, "most_objects"),
        ({"smallest": 0.2, "largest": 0.1}, "smallest"),
        ({"samples": 0}, "samples"),
    ],
)
def test_refuses_an_option_out_of_range(options: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Rooms(**options)
