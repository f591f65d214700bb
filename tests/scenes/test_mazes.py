"""Properties of mazes and of the walks through them."""

import numpy as np
import pytest

from gqn.core.camera import axes
from gqn.core.display import mask
from gqn.scenes.mazes import CELL, FLOOR, MIDDLE, STEP, TOP, TURN, Mazes
from gqn.scenes.render import render
from gqn.scenes.senses import feel

COLUMN = np.array([1, -1]) / CELL  # columns count along x, rows against y


def test_the_walk_turns_once_and_then_stays_in_open_cells_in_small_steps() -> None:
    for seed in range(6):
        setting = Mazes().setting(np.random.default_rng(seed))
        cameras, open_cells = setting.cameras, setting.labels["open_cells"]
        assert cameras.shape == (300, 5)
        assert open_cells.shape == (9, 9)
        column, row = np.rint((cameras[:, :2] - MIDDLE) * COLUMN + 4).astype(int).T
        assert open_cells[row, column].all()
        np.testing.assert_array_equal(setting.labels["walker_cells"], np.stack([row, column], axis=1))
        turn = (np.diff(cameras[:, 3]) + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(turn[:41], -TURN)
        assert np.ptp(cameras[:42, :2], axis=0).max() == 0
        assert np.hypot(*np.diff(cameras[:, :2], axis=0).T).max() <= STEP + 1e-9
        assert np.abs(turn).max() <= TURN + 1e-9
        assert np.abs(turn / TURN * 2 - np.rint(turn / TURN * 2)).max() < 1e-6
        assert len(set(zip(row.tolist(), column.tolist(), strict=True))) > 5
        np.testing.assert_array_equal(cameras[:, [2, 4]], 0)


def test_it_looks_where_it_goes() -> None:
    cosines = []
    for seed in range(6):
        cameras = Mazes().setting(np.random.default_rng(seed)).cameras
        step = np.diff(cameras[:, :2], axis=0)
        far = np.hypot(*step.T) > 0.9 * STEP
        cosines.append((step * axes(cameras[1:])[0][:, :2]).sum(axis=1)[far] / np.hypot(*step.T)[far])
    cosine = np.concatenate(cosines)
    assert len(cosine) > 300
    assert np.quantile(cosine, 0.1) > 0.75  # as genuine walks do
    assert np.median(cosine) > 0.95


def test_mazes_differ_and_larger_ones_are_larger() -> None:
    layouts = {str(Mazes(views=1).setting(np.random.default_rng(seed)).labels["open_cells"]) for seed in range(8)}
    assert len(layouts) > 4
    assert Mazes(cells=13, views=1).setting(np.random.default_rng(0)).labels["open_cells"].shape == (13, 13)


def test_a_twin_has_other_walls_along_the_same_walk() -> None:
    family, differ = Mazes(size=8, views=300, display=False), []
    for seed in range(4):
        scene = family.scene(np.random.default_rng(seed))
        twin = family.scene(np.random.default_rng(seed), np.random.default_rng(100))
        np.testing.assert_array_equal(scene.cameras, twin.cameras)
        np.testing.assert_array_equal(scene.labels["room_of_cell"], twin.labels["room_of_cell"])
        assert scene.labels["rooms"] != twin.labels["rooms"]
        differ.append((scene.frames != twin.frames).mean())
    assert np.mean(differ) > 0.2


def test_the_display_covers_what_the_mask_says_and_nothing_else() -> None:
    for size in (84, 32, 50):
        shown, bare = Mazes(size=size, views=60), Mazes(size=size, views=60, display=False)
        with_it, without = (family.scene(np.random.default_rng(0)).frames for family in (shown, bare))
        changed = (with_it != without).any(axis=(0, 3))
        covered = mask(Mazes().covered, size)
        assert not (changed & ~covered).any()
        assert 0.03 < changed.mean() <= covered.mean() < 0.2
    assert Mazes(display=False).covered == ()
    counters = (np.diff(with_it.astype(int), axis=0) != 0).any(axis=(0, 3))
    assert counters.any()


def test_each_room_wears_its_own_walls() -> None:
    """A ray from a room's middle meets a wall of the room's colour, along a corridor one of the corridors' colour."""
    for seed in range(20):
        family = Mazes(views=1, display=False)
        setting = family.setting(np.random.default_rng(seed))
        rooms = setting.labels["room_of_cell"]
        if rooms.max() < 2:
            continue
        colours = []
        for number in (1, 2):
            row, column = np.argwhere(rooms == number).mean(axis=0)
            place = [MIDDLE + CELL * (column - 4), MIDDLE + CELL * (4 - row), 0.0]
            walls = [render(setting.world, [[*place, yaw, 0.0]], 9)[0, 4, 4] for yaw in np.arange(4) * np.pi / 2]
            colours.append(np.median(walls, axis=0))
            np.testing.assert_allclose(colours[-1], setting.labels["rooms"][number - 1]["wall"][1], atol=60)
        return
    pytest.fail("no maze with two rooms")


@pytest.mark.parametrize(("option", "value"), [("cells", 3), ("cells", 8), ("most_rooms", 0)])
def test_refuses_an_option_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        Mazes(**{option: value})


def test_walls_stand_where_the_layout_says() -> None:
    """From the middle of each open cell a wall stands half a cell away just where the neighbour cannot be walked."""
    for seed in range(4):
        setting = Mazes(views=1).setting(np.random.default_rng(seed))
        open_cells = setting.labels["open_cells"]
        for row, column in np.argwhere(open_cells):
            place = np.array([MIDDLE + CELL * (column - 4), MIDDLE + CELL * (4 - row), 0.0])
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                distance = feel(setting.world, place, np.array([right, -down, 0.0]))
                wall = not open_cells[row + down, column + right]
                assert (distance == pytest.approx(CELL / 2)) == wall
            assert feel(setting.world, place, np.array([0, 0, -1.0])) == pytest.approx(-FLOOR)
            assert feel(setting.world, place, np.array([0, 0, 1.0])) == np.inf
    assert TOP < CELL / 2
