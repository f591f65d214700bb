"""Random mazes: every cell that can be walked is reached from every other, and the border stays closed."""

import numpy as np
import pytest
from scipy.ndimage import label

from gqn.scenes.layout import maze_layout


@pytest.mark.parametrize(("cells", "rooms"), [(5, 1), (7, 1), (7, 2), (9, 3), (21, 6)])
def test_a_maze_is_connected_and_closed_and_the_same_for_the_same_seed(cells: int, rooms: int) -> None:
    seen = set()
    for seed in range(40):
        maze, numbers = maze_layout(cells, rooms, np.random.default_rng(seed))
        assert label(maze)[1] == 1
        assert maze[1:-1, 1:-1].sum() == maze.sum()
        again = maze_layout(cells, rooms, np.random.default_rng(seed))
        np.testing.assert_array_equal(maze, again[0])
        np.testing.assert_array_equal(numbers, again[1])
        assert maze[numbers > 0].all()
        ways = sum(np.roll(maze, step, axis).astype(int) for step in (-1, 1) for axis in (0, 1))
        if cells > 5:
            assert 1 <= numbers.max() <= rooms
            assert (ways[maze & (numbers == 0)] > 1).all()  # no corridor ends nowhere
        seen.add(maze.tobytes())
    assert len(seen) == 4 if cells == 5 else len(seen) > 10


def test_rooms_are_placed_and_extra_doors_make_loops() -> None:
    def loops(extra_doors: float) -> int:
        found = 0
        for seed in range(50):
            maze, numbers = maze_layout(7, 1, np.random.default_rng(seed), extra_doors=extra_doors)
            maze = maze.astype(int)
            high, wide = (np.ptp(where) + 1 for where in np.nonzero(numbers))
            assert {high, wide} <= {3, 5}
            assert (numbers > 0).sum() == high * wide
            edges = (maze[1:] * maze[:-1]).sum() + (maze[:, 1:] * maze[:, :-1]).sum()
            found += edges - maze.sum() + 1 - (high - 1) * (wide - 1)  # a room alone has loops
        return found

    assert loops(0.0) == 0 < loops(0.3) < loops(1.0)
