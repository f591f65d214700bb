"""Mazes: layouts on a grid of 7x7 cells, one or two rooms and the corridors between them, seen along paths.

Section 4 of the supplement of Eslami et al. (2018). Differs from the paper: the patterns, light and measures are ours.
"""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import Geometry
from gqn.core.errors import Error
from gqn.scenes.family import Family, Setting
from gqn.scenes.jaco import SKY, sunlight
from gqn.scenes.layout import maze_layout
from gqn.scenes.render import World
from gqn.scenes.rooms import PLAIN
from gqn.scenes.solids import model_of, posed
from gqn.scenes.textures import FLOORS, WALLS

Array = NDArray[np.float64]
Cell = tuple[int, int]  # row and column

WALL = 1.0  # world units, height of the walls; a cell is one unit wide
EYE = 0.5  # world units, height of the camera
STEP = 0.12  # world units between views along a path, at most
TURN = 0.22  # radians between views, at most
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Mazes(Family):
    """A maze, seen by a walker that goes from one of its cells to the next chosen."""

    size: int = 84
    """Pixels, height and width of a frame."""
    views: int = 300
    """Frames, and cameras, of a scene."""
    cells: int = 7
    """Of the grid along a side, walls round it included; odd."""
    most_rooms: int = 2
    """Rooms of a maze, from 1."""
    textures: bool = True
    """Patterns on walls and floor; without, all mazes are plain alike."""
    light: Literal["random", "fixed"] = "random"
    """Where the sun stands."""

    geometry: ClassVar[Geometry] = Geometry(75.0, cube_radius=3.5, cameras_inside=True)
    hand: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(5, "cells")
        self.at_least(1, "most_rooms")
        if not self.cells % 2:
            raise Error(f"cells is {self.cells}, must be odd")

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        if contents is not None:
            raise Error("mazes have no twins: they hold no objects, and another layout has other ways to walk")
        rooms = int(random.integers(1, self.most_rooms, endpoint=True))
        open_cells = maze_layout(self.cells, rooms, random)
        slabs = _walls(open_cells)
        walls = [str(name) for name in random.permutation(WALLS)[:3]]
        floor = str(random.choice(FLOORS))
        # Of three patterns, so that places can be told apart.
        pattern = [walls[int(random.integers(3))] for _ in slabs[1:]]
        model = model_of([], slabs)
        world = World(
            model,
            posed(model),
            np.tile((1.0, 1.0, 1.0) if self.textures else PLAIN, (len(slabs), 1)),
            self.field_of_view,
            dict(enumerate([floor, *pattern])) if self.textures else {},
            sunlight(random if self.light == "random" else None),
            SKY,
        )
        labels = {
            "open_cells": open_cells,
            "light": {"direction": world.lighting.direction},
            "walls": walls if self.textures else [],
            "floor": floor if self.textures else None,
        }
        return Setting(world, self._walk(open_cells, random), labels, np.empty((0, 3)))

    def _walk(self, open_cells: NDArray[np.bool_], random: np.random.Generator) -> Array:
        """Recorded cameras (views, 5) on a path through cells chosen at random, in steps of STEP and TURN at most."""
        middle = (self.cells - 1) / 2
        choices = [(int(row), int(column)) for row, column in np.argwhere(open_cells)]
        here = choices[int(random.integers(len(choices)))]
        x, y, yaw = here[1] - middle, middle - here[0], random.uniform(-np.pi, np.pi)
        cameras = [[x, y, EYE, yaw, 0.0]]
        path: list[Cell] = []
        while len(cameras) < self.views:
            if not path:
                path = _way(open_cells, here, choices[int(random.integers(len(choices)))])
                if not path:  # it is there already, or no way leads there: look round
                    yaw += TURN
                    cameras.append([x, y, EYE, yaw, 0.0])
                    continue
            aim = np.array([path[0][1] - middle - x, middle - path[0][0] - y])
            distance = float(np.hypot(*aim))
            if distance < 1e-9:
                here = path.pop(0)
                continue
            turn = (np.arctan2(-aim[1], aim[0]) - yaw + np.pi) % (2 * np.pi) - np.pi
            yaw += float(np.clip(turn, -TURN, TURN))
            if abs(turn) < 3 * TURN:  # it walks while it turns the last bit
                step = min(STEP, distance) * aim / distance
                x, y = x + float(step[0]), y + float(step[1])
            cameras.append([x, y, EYE, yaw, 0.0])
        recorded = np.array(cameras)
        recorded[:, 3] = (recorded[:, 3] + np.pi) % (2 * np.pi) - np.pi
        return recorded


def _walls(open_cells: NDArray[np.bool_]) -> Array:
    """Slabs (n, 6), centres and half sizes, of the floor and of the walls: rows of cells that cannot be walked."""
    rows, columns = open_cells.shape
    slabs: list[list[float]] = [[0, 0, -0.1, columns / 2, rows / 2, 0.1]]
    left = {(int(row), int(column)) for row, column in np.argwhere(~open_cells)}
    # First rows of two cells and more, then columns of what is left: the fewer walls, the faster the rays.
    for down, right, fewest in ((0, 1, 2), (1, 0, 1)):
        for cell in sorted(left):
            run = []
            while cell in left:
                run.append(cell)
                cell = (cell[0] + down, cell[1] + right)
            if len(run) >= fewest:
                left -= set(run)
                row, column = np.mean(run, axis=0)
                half = 0.5 * (1 + right * (len(run) - 1)), 0.5 * (1 + down * (len(run) - 1))
                slabs.append([column - (columns - 1) / 2, (rows - 1) / 2 - row, WALL / 2, *half, WALL / 2])
    return np.array(slabs)


def _way(open_cells: NDArray[np.bool_], start: Cell, goal: Cell) -> list[Cell]:
    """The cells of a shortest way, without the start; none where there is none."""
    before: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue and goal not in before:
        row, column = queue.popleft()
        for down, right in NEIGHBOURS:
            cell = (row + down, column + right)
            if open_cells[cell] and cell not in before:
                before[cell] = (row, column)
                queue.append(cell)
    if goal not in before:
        return []
    way = []
    while goal != start:
        way.append(goal)
        goal = before[goal]
    return way[::-1]
