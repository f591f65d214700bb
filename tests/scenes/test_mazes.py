"""Properties of mazes and of the walks through them."""

import numpy as np
import pytest

from gqn.scenes.mazes import EYE, STEP, TURN, WALL, Mazes
from gqn.scenes.senses import feel


def test_the_walk_stays_in_open_cells_and_goes_in_small_steps() -> None:
    family = Mazes()
    for seed in range(4):
        setting = family.setting(np.random.default_rng(seed))
        cameras, open_cells = setting.cameras, np.array(setting.labels["open_cells"])
        assert cameras.shape == (300, 5)
        assert open_cells.shape == (7, 7)
        column, row = np.rint(cameras[:, 0] + 3).astype(int), np.rint(3 - cameras[:, 1]).astype(int)
        assert open_cells[row, column].all()
        assert np.hypot(*np.diff(cameras[:, :2], axis=0).T).max() <= STEP + 1e-9
        turn = (np.diff(cameras[:, 3]) + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(turn).max() <= TURN + 1e-9
        assert len(set(zip(row.tolist(), column.tolist(), strict=True))) > 5
        np.testing.assert_array_equal(cameras[:, [2, 4]], [[EYE, 0]] * 300)


def test_it_looks_where_it_goes() -> None:
    cameras = Mazes().setting(np.random.default_rng(1)).cameras
    step = np.diff(cameras[:, :2], axis=0)
    far = np.hypot(*step.T) > 0.9 * STEP
    ahead = np.stack([np.cos(cameras[1:, 3]), -np.sin(cameras[1:, 3])], axis=1)
    cosine = (step * ahead).sum(axis=1)[far] / np.hypot(*step.T)[far]
    assert far.sum() > 100
    assert np.quantile(cosine, 0.2) > 0.95


def test_mazes_differ_and_larger_ones_are_larger() -> None:
    layouts = {str(Mazes(views=1).setting(np.random.default_rng(seed)).labels["open_cells"]) for seed in range(8)}
    assert len(layouts) > 4
    assert Mazes(cells=11, views=1).setting(np.random.default_rng(0)).labels["open_cells"].shape == (11, 11)


@pytest.mark.parametrize(("option", "value"), [("cells", 3), ("cells", 8), ("most_rooms", 0), ("light", "night")])
def test_refuses_an_option_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        Mazes(**{option: value})


def test_walls_stand_where_the_layout_says() -> None:
    for seed in range(4):
        setting = Mazes(views=1).setting(np.random.default_rng(seed))
        random = np.random.default_rng(0)
        for row, column in np.ndindex(7, 7):
            place = np.array([column - 3, 3 - row, 5.0]) + random.uniform(-0.49, 0.49, 3) * [1, 1, 0]
            below = 5 - feel(setting.world, place, np.array([0, 0, -1.0]))
            assert below == pytest.approx(0 if setting.labels["open_cells"][row, column] else WALL)
