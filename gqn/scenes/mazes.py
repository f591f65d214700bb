"""Mazes: one or two rooms and the corridors between them, seen along a walk.

Section 4 of the supplement of Eslami et al. (2018); units, lens, heights, layouts, the walk and the colours follow 24
genuine mazes (results/worlds). Corridors look alike in all mazes; each room has walls and a floor of its own. The
patterns are ours, and so is the way that the walk takes.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import MAZES, Geometry
from gqn.core.display import MAZES_DISPLAY, Rectangle
from gqn.core.errors import Error
from gqn.scenes import display
from gqn.scenes.family import Family, Setting, draw_contents
from gqn.scenes.layout import maze_layout
from gqn.scenes.render import Lighting, World
from gqn.scenes.rooms import PLAIN
from gqn.scenes.solids import model_of, posed
from gqn.scenes.textures import tinted

Array = NDArray[np.float64]
Cell = tuple[int, int]  # row and column
Surface = tuple[str, tuple[int, int, int]]  # pattern, and mean colour of 255

CELL = 0.1  # world units, width of a cell
MIDDLE = -0.05  # world units, of the grid, along x and y
FLOOR, TOP = -0.0505, 0.0487  # world units, of floor and walls from the eye
THICK = 0.004  # world units, of what covers a wall
STEP, FASTER = (
    0.021,
    0.005,
)  # world units between views along a walk at most, and by how much it grows from one to the next
TURN = 0.153586  # radians between views at most; half of it in the smallest turn
CLEAR = 0.03  # world units, from the middle of a cell to where a walk passes, along each axis
SKY = (149 / 255, 224 / 255, 1.0)
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))
CORRIDOR = ("circuits", (84, 121, 76)), ("honeycomb", (197, 151, 48))
WALLS: tuple[Surface, ...] = (
    ("panels", (149, 70, 44)),
    ("panels", (83, 114, 47)),
    ("panels", (149, 179, 106)),
    ("circles", (82, 80, 85)),
    ("circles", (153, 87, 3)),
    ("weave", (73, 90, 103)),
    ("weave", (130, 140, 155)),
    ("weave", (183, 160, 48)),
    ("mosaic", (209, 159, 23)),
    ("mosaic", (211, 186, 74)),
    ("mosaic", (160, 50, 40)),
    ("mosaic", (163, 122, 8)),
    ("circuits", (205, 121, 98)),
    ("circuits", (165, 198, 155)),
    ("stucco", (136, 38, 29)),
)
FLOORS: tuple[Surface, ...] = (
    ("scales", (226, 179, 125)),
    ("scales", (128, 191, 227)),
    ("spots", (153, 203, 213)),
    ("rays", (113, 193, 228)),
    ("rays", (205, 160, 50)),
    ("scales", (91, 130, 56)),
    ("rays", (52, 140, 208)),
    ("marble", (4, 70, 140)),
    ("marble", (146, 184, 219)),
    CORRIDOR[1],
)


class Look(NamedTuple):
    """Surfaces of the walls and the floor of a room or of the corridors."""

    wall: Surface
    floor: Surface


@dataclass(frozen=True)
class Mazes(Family):
    """A maze, seen by a walker that turns round once and then goes from one of its cells to the next chosen."""

    size: int = 84
    """Pixels, height and width of a frame."""
    views: int = 300
    """Frames, and cameras, of a scene."""
    cells: int = 9
    """Of the grid along a side, walls round it included; odd."""
    most_rooms: int = 2
    """Rooms of a maze, from 1."""
    textures: bool = True
    """Patterns and colours of walls and floors; without, all mazes are plain alike."""
    display: bool = True
    """The head-up display of the genuine frames; `dataset.json` says where it lies."""

    geometry: ClassVar[Geometry] = MAZES
    hand: ClassVar[float] = 0.0
    ground: ClassVar[float | None] = FLOOR

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(5, "cells")
        self.at_least(1, "most_rooms")
        if not self.cells % 2:
            raise Error(f"cells is {self.cells}, must be odd")

    @property
    def covered(self) -> tuple[Rectangle, ...]:
        return MAZES_DISPLAY if self.display else ()

    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        """Return a random maze; its twin has the same layout and walk, and its rooms other walls and floors."""
        open_cells, rooms = maze_layout(self.cells, int(random.integers(1, self.most_rooms, endpoint=True)), random)
        walk = self._walk(open_cells, random)
        looks = draw_contents(self._looks, random, contents)
        world = maze(open_cells, rooms, looks, self.geometry, self.textures)
        row, column = self._cells(walk[:, :2])
        labels: dict[str, Any] = {
            "open_cells": open_cells,
            "room_of_cell": rooms,  # 0 for corridors and walls, then 1, 2, ...
            "cell_width": CELL,
            "first_cell": [MIDDLE - CELL * (self.cells - 1) / 2, MIDDLE + CELL * (self.cells - 1) / 2],
            "walker_cells": np.stack([row, column], axis=1),
        }
        if self.textures:
            labels["rooms"] = [look._asdict() for look in looks[1 : rooms.max() + 1]]
        return Setting(world, walk, labels, np.empty((0, 3)))

    def finished(self, frames: NDArray[np.uint8], views: Sequence[int]) -> NDArray[np.uint8]:
        return display.draw(frames, views) if self.display else frames

    def _looks(self, random: np.random.Generator) -> list[Look]:
        """Return the looks of the corridors, and of each room."""
        walls, floors = random.permutation(len(WALLS)), random.permutation(len(FLOORS))
        rooms = [
            Look(WALLS[walls[number % len(walls)]], FLOORS[floors[number % len(floors)]])
            for number in range(self.most_rooms)
        ]
        return [Look(*CORRIDOR), *rooms]

    def _cells(self, places: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return row and column of the cells in which places (n, 2) lie."""
        middle = (self.cells - 1) / 2
        column, row = np.rint((places - MIDDLE).T / CELL * [[1], [-1]] + middle).astype(np.int64)
        return row, column

    def _walk(self, open_cells: NDArray[np.bool_], random: np.random.Generator) -> Array:
        """Return cameras (views, 5): a whole turn in a cell's middle, then a way through cells chosen at random."""
        choices = [(int(row), int(column)) for row, column in np.argwhere(open_cells)]
        here = choices[int(random.integers(len(choices)))]
        x, y = _middle(here, self.cells)
        yaw = random.uniform(-np.pi, np.pi)
        cameras = [[x, y, 0.0, yaw, 0.0]]
        for _ in range(int(2 * np.pi / TURN) + 1):
            yaw -= TURN  # to the left
            cameras.append([x, y, 0.0, yaw, 0.0])
        way: list[Cell] = []
        aim, speed = np.array([x, y]), 0.0
        while len(cameras) < self.views:
            towards = aim - [x, y]
            distance = float(np.hypot(*towards))
            if distance < 1e-9:
                way = way or _way(open_cells, here, choices[int(random.integers(len(choices)))])
                if way:
                    here = way.pop(0)
                    aim = _middle(here, self.cells) + random.uniform(-CLEAR, CLEAR, 2)
                    continue
                speed, yaw = 0.0, yaw + TURN  # it is there already: it looks round
            else:
                turn = (np.arctan2(-towards[1], towards[0]) - yaw + np.pi) % (2 * np.pi) - np.pi
                yaw += TURN / 2 * float(np.clip(np.rint(2 * turn / TURN), -2, 2))
                ahead = abs(turn) < 7 * TURN  # it walks while it turns the last bit
                speed = min(STEP, speed + FASTER) if ahead else max(0.0, speed - FASTER)
                x, y = np.array([x, y]) + min(speed, distance) * towards / distance
            cameras.append([x, y, 0.0, yaw, 0.0])
        recorded = np.array(cameras[: self.views])
        recorded[:, 3] = (recorded[:, 3] + np.pi) % (2 * np.pi) - np.pi
        return recorded


def maze(
    open_cells: NDArray[np.bool_],
    rooms: NDArray[np.int64],
    looks: list[Look],
    geometry: Geometry = MAZES,
    textures: bool = True,
) -> World:
    """Return the world of a maze.

    Args:
        open_cells: (rows, columns), which cells can be walked; the first row lies at the greatest y.
        rooms: (rows, columns), the number in `looks` of what each open cell wears.
        looks: of the corridors, and of each room.
        geometry: the lens.
        textures: whether there are patterns and colours; else all is plain.
    """
    slabs, owners = surfaces(open_cells, rooms, len(looks))
    wear = [looks[owner // 2][owner % 2] for owner in owners]
    model = model_of([], slabs)
    corner = MIDDLE - CELL * len(open_cells) / 2
    return World(
        model,
        posed(model),
        np.array([tinted(*surface) if textures else PLAIN for surface in wear]),
        geometry.field_of_view,
        {number: name for number, (name, _) in enumerate(wear)} if textures else {},
        Lighting(ambient=1.0, headlight=0.0, diffuse=0.0, specular=0.0),
        SKY,
        geometry.optical_centre,
        (CELL, TOP - FLOOR),
        (corner, corner, TOP),
    )


def surfaces(
    open_cells: NDArray[np.bool_], rooms: NDArray[np.int64], count: int
) -> tuple[list[list[float]], list[int]]:
    """Return the slabs of a maze, centres and half sizes, and the surface number of each.

    Of the look with number i, of `count`, walls have surface 2 i and floors 2 i + 1.
    """
    slabs, owners = [], []
    for number in range(count):
        mine = open_cells & (rooms == number)
        covers = _covers(open_cells, mine)
        floors = []
        for row, first, last in _runs(mine):
            left, right = _middle((row, first), len(mine)), _middle((row, last), len(mine))
            half = (right[0] - left[0] + CELL) / 2
            floors.append([(left[0] + right[0]) / 2, left[1], FLOOR - THICK, half, CELL / 2, THICK])
        slabs += covers + floors
        owners += [2 * number] * len(covers) + [2 * number + 1] * len(floors)
    return slabs, owners


def _middle(cell: Cell, cells: int) -> Array:
    """Return the middle of a cell of a grid of `cells` by `cells`, (2,) in world units."""
    middle = (cells - 1) / 2
    return MIDDLE + CELL * np.array([cell[1] - middle, middle - cell[0]])


def _runs(cells: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return row, first and last column of unbroken runs of cells along rows: the fewer boxes, the faster the rays."""
    runs = []
    for row, line in enumerate(cells):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        runs += [(row, int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
    return runs


def _covers(open_cells: NDArray[np.bool_], mine: NDArray[np.bool_]) -> list[list[float]]:
    """Return the slabs that cover the walls towards the open cells `mine`, joined along rows and along columns."""
    cells = len(open_cells)
    up, half_up = (TOP + FLOOR) / 2, (TOP - FLOOR) / 2
    covers = []
    for down, right in NEIGHBOURS:
        # Wall cells whose neighbour on one side is open and `mine`.
        faces = ~open_cells & np.roll(mine, (down, right), axis=(0, 1))
        for line, first, last in _runs(faces if down else faces.T):
            ends = [(line, first), (line, last)] if down else [(first, line), (last, line)]
            a, b = (_middle(end, cells) for end in ends)
            x, y = (a + b) / 2
            long = np.abs(b - a).max() / 2 + CELL / 2
            inset = CELL / 2 - THICK
            if down:
                covers.append([x, y + down * inset, up, long, THICK, half_up])
            else:
                covers.append([x - right * inset, y, up, THICK, long, half_up])
    return covers


def _way(open_cells: NDArray[np.bool_], start: Cell, goal: Cell) -> list[Cell]:
    """Return the cells of a shortest way, without the start; none where there is no way."""
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
