"""The study of worlds: fits of what we drew ourselves find what it was drawn with."""

import numpy as np
import pytest

from gqn.scenes.layout import maze_layout
from gqn.scenes.mazes import Mazes
from gqn.scenes.render import World, render
from gqn.scenes.rooms import FLOOR, Rooms, spotlight
from gqn.scenes.shepard_metzler import CUBE, ShepardMetzler, cubes
from gqn.scenes.solids import Solid, boxes, height_above_ground, place_boxes
from gqn.studies.worlds import mazes
from gqn.studies.worlds.fit import Fit
from gqn.studies.worlds.objects import LOW, chains, fit_lens, fit_object
from gqn.studies.worlds.rooms import GREY, SAGE, Sight, fit_room
from gqn.studies.worlds.told_apart import compressed, told_apart

CELLS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]) - 0.5
HUES = np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])


@pytest.mark.parametrize("field", [20.0, 30.0])
def test_the_lens_through_which_an_object_was_drawn_is_found(field: float) -> None:
    cameras = ShepardMetzler(views=9).place_cameras(np.random.default_rng(0))
    # As large in the frame as through the usual lens, so that the size alone says nothing.
    cube = CUBE * np.tan(np.deg2rad(field) / 2) / np.tan(np.deg2rad(20) / 2)
    model = boxes(np.full((len(CELLS), 3), cube / 2))
    world = World(model, place_boxes(model, cube * (CELLS - [0, 0, LOW])), HUES, field)
    frames = render(world, cameras, 64)
    found = fit_lens(frames, cameras, parts=4)
    overlaps = {float(name): row["overlap"] for name, row in found["by_field_of_view"].items()}
    assert max(overlaps, key=overlaps.__getitem__) == field


def test_an_object_is_found_among_all_and_so_are_its_hues() -> None:
    cameras = ShepardMetzler(views=9).place_cameras(np.random.default_rng(1))
    frames = render(cubes(CUBE * (CELLS - [0, 0, LOW]), HUES), cameras, 64)
    found = fit_lens(frames, cameras, parts=4)
    assert {tuple(cell) for cell in found["cells"]} == {tuple(cell) for cell in CELLS.tolist()}
    assert found["by_field_of_view"]["20"]["cube"] == pytest.approx(CUBE, rel=0.015)
    fit = fit_object(frames, cameras, CELLS)
    np.testing.assert_allclose(fit.found["colours"], HUES, atol=0.06)
    assert fit.error < 2


def test_chains_are_all_objects_each_once() -> None:
    assert [len(chains(parts)) for parts in (1, 2, 3)] == [1, 3, 15]


def test_rooms_are_what_is_wider_than_a_corridor() -> None:
    for seed in range(40):
        open_cells, rooms = maze_layout(9, 2, np.random.default_rng(seed))
        found = mazes.rooms_of(open_cells)
        assert ((found > 0) == (rooms > 0)).all()
        pairs = set(zip(found.ravel().tolist(), rooms.ravel().tolist(), strict=True))
        assert len(pairs) == rooms.max() + 1


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, np.ndarray, dict]:
    """Frames and cameras of every third view of a walk, and the maze's labels."""
    setting = Mazes(display=False).setting(np.random.default_rng(3))
    cameras = setting.cameras[::3]
    return render(setting.world, cameras, 84), cameras, setting.labels


def test_the_layout_of_a_maze_is_read_off_a_walk(walk: tuple[np.ndarray, np.ndarray, dict]) -> None:
    frames, cameras, labels = walk
    found, truth = mazes.walls_of(frames, cameras), np.asarray(labels["open_cells"])
    assert not (found & ~truth).any()
    visited = np.asarray(labels["walker_cells"])
    assert found[visited[:, 0], visited[:, 1]].all()


def test_patterns_read_off_some_frames_draw_the_others(
    walk: tuple[np.ndarray, np.ndarray, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mazes, "FEW", 20)
    frames, cameras, labels = walk
    fit = mazes.fit_maze(frames, cameras)
    wanted = {tuple(room["wall"][1]) for room in labels["rooms"]}
    for room in fit.found["rooms"]:
        assert min(np.abs(np.subtract(room["wall"][1], colour)).max() for colour in wanted) < 25
    assert fit.error < 12
    assert fit.found["rmse_with_patterns_read_off"] < 10


def test_a_room_is_found_from_a_rough_sight_of_it() -> None:
    family = Rooms(size=32, views=5)
    cameras = family.setting(np.random.default_rng(0)).cameras
    upright = np.array([1.0, 0, 0, 0])
    height = FLOOR + 0.16 * height_above_ground("sphere", upright)
    ball = Solid("sphere", 0.16, np.array([0.1, -0.2, height]), upright, np.array([0.9, 0.1, 0.2]))
    world = family.world([ball], spotlight(np.array([0.6, -0.4])), ("stucco", SAGE), ("marble", GREY))
    frames = render(world, cameras, 32, 2)
    sight = Sight("stucco", (0.55, 0.75, 0.6), (0.85, 0.9, 0.9), (("sphere", (0.8, 0.2, 0.2), (0.13, 0.04, -0.15)),))
    fit = fit_room(frames, cameras, sight, rounds=2)
    size, x, y, _ = fit.found["place 0"]
    assert (size, x, y) == pytest.approx((0.16, 0.1, -0.2), abs=0.02)
    assert fit.error < 5


@pytest.mark.parametrize(("brighter", "least", "most"), [(0, 0.2, 0.8), (40, 0.95, 1.0)])
def test_brighter_frames_are_told_apart_and_equal_ones_are_not(brighter: int, least: float, most: float) -> None:
    random = np.random.default_rng(0)

    def frames(brighter: int) -> np.ndarray:
        return (random.integers(0, 200, (12, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2) + brighter).astype(np.uint8)

    fits = [Fit(compressed(frames(brighter)), frames(0), np.ones((32, 32), bool), {}) for _ in range(4)]
    assert least <= told_apart(fits)["accuracy"] <= most
