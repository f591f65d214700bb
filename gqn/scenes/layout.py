"""Layouts of mazes: rooms and corridors on a grid, all of them connected.

Rooms are placed first, corridors fill what is left as depth-first mazes, doors are broken through the walls between
them, and corridors that end nowhere are filled up again (Nystrom, "Rooms and Mazes", 2014, which labmaze follows too).
"""

import numpy as np
from numpy.typing import NDArray

ROOM = (3, 5)  # cells along a side
TRIES = 10  # of placing a room that overlaps no other
STEPS = ((0, 2), (2, 0), (0, -2), (-2, 0))  # from a cell of a corridor to the next, over the wall between


def maze_layout(
    cells: int, rooms: int, random: np.random.Generator, *, extra_doors: float = 0.3
) -> tuple[NDArray[np.bool_], NDArray[np.int_]]:
    """Return which cells of a random maze can be walked, the outermost never, and which room each belongs to.

    Both are (cells, cells); rooms count from 1, and 0 is none.

    Args:
        cells: of the grid along a side, walls round it included; odd, 5 or more.
        rooms: how many to place, as far as there is room; of a grid of 5 cells, corridors only.
        random: the same state gives the same maze.
        extra_doors: probability that a wall between parts that are connected already is broken through too.
    """
    region = np.zeros((cells, cells), int)  # 0 is wall; each room and each corridor has a number of its own
    count = 0
    sides = [side for side in ROOM if side < cells - 2]
    for _ in range(rooms if sides else 0):
        for _ in range(TRIES):
            high, wide = random.choice(sides, 2)
            row, column = (1 + 2 * int(random.integers((cells - side) // 2)) for side in (high, wide))
            # A room must have walls round it, or two rooms would be one.
            if not region[row - 1 : row + high + 1, column - 1 : column + wide + 1].any():
                count += 1
                region[row : row + high, column : column + wide] = count
                break
    numbers = region.copy()
    starts = [(row, column) for row in range(1, cells, 2) for column in range(1, cells, 2)]
    for number in random.permutation(len(starts)):
        if not region[starts[number]]:
            count += 1
            _carve(region, starts[number], count, random)
    _break_through(region, random, extra_doors)
    open_cells = region > 0
    if sides:
        _fill_dead_ends(open_cells, numbers > 0)
    return open_cells, numbers


def _fill_dead_ends(open_cells: NDArray[np.bool_], kept: NDArray[np.bool_]) -> None:
    """Close what can be walked, is not to be kept and has one open neighbour, until nothing is such."""
    while True:
        inner = open_cells[1:-1, 1:-1]
        ways = sum(np.roll(open_cells, step, axis)[1:-1, 1:-1].astype(int) for step in (-1, 1) for axis in (0, 1))
        ends = inner & (ways < 2) & ~kept[1:-1, 1:-1]
        if not ends.any():
            return
        inner[ends] = False


def _carve(region: NDArray[np.int_], start: tuple[int, int], number: int, random: np.random.Generator) -> None:
    """Fill what is left round `start` with a corridor that branches."""
    region[start] = number
    path = [start]
    while path:
        row, column = path[-1]
        ways = [
            (row + down, column + right)
            for down, right in STEPS
            if 0 < row + down < len(region) and 0 < column + right < len(region)
        ]
        free = [way for way in ways if not region[way]]
        if not free:
            path.pop()
            continue
        there = free[int(random.integers(len(free)))]
        region[(row + there[0]) // 2, (column + there[1]) // 2] = region[there] = number
        path.append(there)


def _break_through(region: NDArray[np.int_], random: np.random.Generator, extra_doors: float) -> None:
    """Open walls until all regions are one, and some more."""
    inner = range(1, len(region) - 1)
    walls = [(row, column) for row in inner for column in inner if not region[row, column] and (row + column) % 2]
    joined = list(range(region.max() + 1))  # of each region, the number of those it is connected with
    for number in random.permutation(len(walls)):
        row, column = walls[number]
        sides = (region[row, column - 1], region[row, column + 1])
        if not all(sides):
            sides = (region[row - 1, column], region[row + 1, column])
        if not all(sides) or sides[0] == sides[1]:
            continue
        one, other = joined[sides[0]], joined[sides[1]]
        if one != other or random.random() < extra_doors:
            region[row, column] = sides[0]
            joined = [one if this == other else this for this in joined]
