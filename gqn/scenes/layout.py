"""Layouts of mazes: rooms and corridors on a grid, all of them connected.

Rooms are placed first, corridors fill what is left as depth-first mazes, and doors are broken through the walls between
them (Nystrom, "Rooms and Mazes", 2014, which labmaze follows too).
"""

import numpy as np
from numpy.typing import NDArray

ROOM = 3  # cells along a side
TRIES = 10  # of placing a room that overlaps no other
STEPS = ((0, 2), (2, 0), (0, -2), (-2, 0))  # from a cell of a corridor to the next, over the wall between


def maze_layout(cells: int, rooms: int, random: np.random.Generator, *, extra_doors: float = 0.3) -> NDArray[np.bool_]:
    """Return which cells of a random maze can be walked, (cells, cells); the outermost never can.

    Args:
        cells: of the grid along a side, walls round it included; odd, 5 or more.
        rooms: how many to place, as far as there is room; of a grid of 5 cells, corridors only.
        random: the same state gives the same maze.
        extra_doors: probability that a wall between parts that are connected already is broken through too.
    """
    region = np.zeros((cells, cells), int)  # 0 is wall; each room and each corridor has a number of its own
    count = 0
    for _ in range(rooms if cells > ROOM + 2 else 0):
        for _ in range(TRIES):
            row, column = 1 + 2 * random.integers((cells - ROOM) // 2, size=2)
            # With the walls round it, or two rooms would be one.
            if not region[row - 1 : row + ROOM + 1, column - 1 : column + ROOM + 1].any():
                count += 1
                region[row : row + ROOM, column : column + ROOM] = count
                break
    starts = [(row, column) for row in range(1, cells, 2) for column in range(1, cells, 2)]
    for number in random.permutation(len(starts)):
        if not region[starts[number]]:
            count += 1
            _carve(region, starts[number], count, random)
    _break_through(region, random, extra_doors)
    return region > 0


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
