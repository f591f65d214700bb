"""Mazes whose layout and colours are read off genuine frames, and which are drawn along the same walk."""

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import MAZES, axes
from gqn.core.display import MAZES_DISPLAY, mask
from gqn.core.extras import extra
from gqn.scenes.mazes import CELL, CORRIDOR, FLOOR, MIDDLE, SKY, TOP, Look, maze, surfaces
from gqn.scenes.render import render, trace
from gqn.studies.worlds.fit import Fit, Frames

Array = NDArray[np.float64]

FEW = 60  # frames of a walk that are drawn again, spread over it
SURE = 5  # columns of pixels that speak of a cell, at least
SMALLEST = 6  # cells of a room
WALLS = ("panels", "circles", "weave", "mosaic", "circuits", "stucco")
FLOORS = ("marble", "spots", "rays", "scales", "honeycomb")


def walls_of(frames: Frames, cameras: Array) -> tuple[NDArray[np.bool_], Array]:
    """Return which cells (9, 9) of a maze are seen to be open, and each cell's floor colour (9, 9, 3), nan if unseen.

    The upper edge of the walls says how far the wall in a column of pixels stands.
    """
    size, cells = frames.shape[1], 9
    focal = size / 2 / np.tan(np.deg2rad(MAZES.field_of_view) / 2)
    through, against, seen = np.zeros((cells, cells)), np.zeros((cells, cells)), np.zeros((cells, cells))
    colours = np.zeros((cells, cells, 3))
    forward, right, _ = axes(cameras)
    sky = 255 * np.array(SKY)
    lowest, middle = int(0.46 * size), size / 2

    def cell(places: Array) -> NDArray[np.int64]:
        indices = np.floor((places - MIDDLE) * [1, -1] / CELL + cells / 2).astype(int)
        return indices[..., ::-1]  # row and column

    for frame, camera, ahead, across in zip(frames.astype(float), cameras, forward, right, strict=True):
        above = np.abs(frame - sky).max(axis=-1) < 14
        for column in range(1, size, 3):
            if not above[3:8, column].all() or above[8:lowest, column].all():
                continue
            row = 8 + int(np.argmin(above[8:lowest, column]))
            wall = frame[row + 2, column]
            covered = ((frame[row - 1 : row + 1, column] - sky) @ (wall - sky)) / ((wall - sky) @ (wall - sky))
            depth = TOP * focal / (middle - (row + 1 - covered.clip(0, 1).sum()))
            if depth > 0.5:
                continue
            ray = ahead[:2] + (column + 0.5 - middle) / focal * across[:2]
            for part in np.arange(0, 1, 0.1):
                through[tuple(cell(camera[:2] + part * max(depth - 0.012, 0) * ray))] += 1
            behind = cell(camera[:2] + (depth + 0.015) * ray)
            if ((behind >= 0) & (behind < cells)).all():
                against[tuple(behind)] += 1
            for floor_row in (int(0.72 * size), int(0.79 * size)):
                near = -FLOOR * focal / (floor_row + 0.5 - middle)
                if near < depth - 0.01:
                    place = tuple(cell(camera[:2] + near * ray))
                    colours[place] += frame[floor_row, column]
                    seen[place] += 1
    open_cells = (through > against) & (through > SURE)
    open_cells[[0, -1]] = open_cells[:, [0, -1]] = False
    with np.errstate(invalid="ignore", divide="ignore"):
        return open_cells, colours / seen[..., None]


def fit_maze(frames: Frames, cameras: Array) -> Fit:
    """Return a maze like that of the frames, drawn along the same walk.

    Args:
        frames: (views, h, w, 3) of a whole walk.
        cameras: (views, 5).
    """
    open_cells, floors = walls_of(frames, cameras)
    rooms = _rooms(open_cells, floors)
    count = int(rooms.max())
    chosen = np.linspace(0, len(frames) - 1, FEW).round().astype(int)
    frames, cameras, size = frames[chosen], cameras[chosen], frames.shape[1]
    counted = ~mask(MAZES_DISPLAY, size)
    looks = [Look(*CORRIDOR)] * (count + 1)
    _, owners = surfaces(open_cells, rooms, count + 1)
    hits = trace(maze(open_cells, rooms, looks), cameras, size)
    owner = np.array([*owners, -1])[hits.geom]  # of a pixel: twice the number of its look, one more on the floor
    for number, part in [(number, part) for number in range(count + 1) for part in (0, 1)]:
        mine = (owner == 2 * number + part) & counted
        if number == 0 or not mine.any():
            continue
        red, green, blue = (int(value) for value in frames[mine].mean(axis=0))
        best = np.inf
        for pattern in (WALLS, FLOORS)[part]:
            surface = pattern, (red, green, blue)
            tried = looks[number]._replace(floor=surface) if part else looks[number]._replace(wall=surface)
            drawn = render(maze(open_cells, rooms, [*looks[:number], tried, *looks[number + 1 :]]), cameras, size)
            error = (np.abs(drawn.astype(float) - frames)[mine] ** 2).mean()
            if error < best:
                best, kept = error, tried
        looks[number] = kept
    drawn = render(maze(open_cells, rooms, looks), cameras, size)
    found = {"open_cells": open_cells.astype(int).tolist(), "rooms": [look._asdict() for look in looks[1:]]}
    return Fit(frames, drawn, counted, found)


def _rooms(open_cells: NDArray[np.bool_], floors: Array) -> NDArray[np.int64]:
    """Return the number of each cell's room, 0 for none: open cells that touch and have another floor."""
    orange = np.abs(floors - CORRIDOR[1][1]).max(axis=-1) < 40
    apart, count = extra("scipy.ndimage").label(open_cells & ~orange & np.isfinite(floors[..., 0]))
    large = [number for number in range(1, count + 1) if (apart == number).sum() >= SMALLEST]
    rooms = sum(((apart == number) * place for place, number in enumerate(large, 1)), np.zeros(apart.shape, np.int64))
    return rooms if large else open_cells.astype(np.int64)
