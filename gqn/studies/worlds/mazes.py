"""Mazes whose layout and colours are read off genuine frames, and which are drawn along the same walk."""

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import MAZES, axes
from gqn.core.display import MAZES_DISPLAY, mask
from gqn.core.extras import extra
from gqn.scenes.mazes import CELL, CORRIDOR, MIDDLE, SKY, TOP, Look, maze, surfaces
from gqn.scenes.render import World, on_tiles, render, trace
from gqn.studies.worlds.fit import Fit, Frames

Array = NDArray[np.float64]

FEW = 60  # frames of a walk that are drawn again, spread over it
OTHERS = 120  # frames, none of those, off which patterns are read
SURE = 5  # columns of pixels that speak of a cell, at least
TEXELS = 64  # along the side of a tile that is read off
WALLS = ("panels", "circles", "weave", "mosaic", "circuits", "stucco")
FLOORS = ("marble", "spots", "rays", "scales", "honeycomb")


def walls_of(frames: Frames, cameras: Array) -> NDArray[np.bool_]:
    """Return which cells (9, 9) of a maze are seen to be open.

    The upper edge of the walls says how far the wall in a column of pixels stands.
    """
    size, cells = frames.shape[1], 9
    focal = size / 2 / np.tan(np.deg2rad(MAZES.field_of_view) / 2)
    through, against = np.zeros((cells, cells)), np.zeros((cells, cells))
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
    open_cells = (through > against) & (through > SURE)
    open_cells[[0, -1]] = open_cells[:, [0, -1]] = False
    return open_cells


def rooms_of(open_cells: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of the room to which each cell belongs, 0 for none: corridors are one cell wide, rooms more."""
    squares = open_cells[:-1, :-1] & open_cells[1:, :-1] & open_cells[:-1, 1:] & open_cells[1:, 1:]
    wide = np.zeros_like(open_cells)
    for row, column in np.argwhere(squares):
        wide[row : row + 2, column : column + 2] = True
    return np.asarray(extra("scipy.ndimage").label(wide)[0], np.int64)


def fit_maze(frames: Frames, cameras: Array) -> Fit:
    """Return a maze like that of the frames, drawn along the same walk.

    Args:
        frames: (views, h, w, 3) of a whole walk.
        cameras: (views, 5).
    """
    open_cells = walls_of(frames, cameras)
    rooms = rooms_of(open_cells)
    count = int(rooms.max())
    chosen = np.linspace(0, len(frames) - 1, FEW).round().astype(int)
    further = np.delete(np.arange(len(frames)), chosen)
    further = further[:: max(1, len(further) // OTHERS)]
    others, other_cameras = frames[further], cameras[further]
    frames, cameras, size = frames[chosen], cameras[chosen], frames.shape[1]
    counted = ~mask(MAZES_DISPLAY, size)
    looks = [Look(*CORRIDOR)] * (count + 1)
    bare = maze(open_cells, rooms, looks)
    owners = np.array([*surfaces(open_cells, rooms, count + 1)[1], -1])
    owner = owners[trace(bare, cameras, size).geom]  # of a pixel: twice the number of its look, one more on the floor
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
    worn = with_patterns_of(bare, owners, (others, other_cameras), cameras, counted)
    found = {
        "open_cells": open_cells.astype(int).tolist(),
        "rooms": [look._asdict() for look in looks[1:]],
        "rmse_with_patterns_read_off": round(Fit(frames, worn, counted, {}).error, 2),
    }
    return Fit(frames, render(maze(open_cells, rooms, looks), cameras, size), counted, found)


def with_patterns_of(
    world: World, owners: NDArray[np.int64], others: tuple[Frames, Array], cameras: Array, counted: NDArray[np.bool_]
) -> Frames:
    """Return frames of a maze at cameras (views, 5), its patterns and colours read off other frames of the same walk.

    Args:
        world: the maze.
        owners: whose each of its geoms is, and last what is nobody's.
        others: frames (n, h, w, 3) and their cameras (n, 5).
        cameras: of the frames to draw.
        counted: (h, w), pixels that are of the scene.
    """
    size = others[0].shape[1]

    def seen(cameras: Array) -> tuple[NDArray[np.intp], NDArray[np.int64], Array, Array, Array]:
        """Return pixels that see something, which surface from which side, where on a tile, and how much of one."""
        hits = trace(world, cameras, size)
        u, v, extent = on_tiles(world, hits, size)
        side = np.abs(hits.normal).argmax(axis=1)
        side = 2 * side + (np.take_along_axis(hits.normal, side[:, None], axis=1)[:, 0] > 0)
        return np.flatnonzero(hits.seen), 6 * owners[hits.geom.reshape(-1)[hits.pixels]] + side, u, v, extent

    pixels, surface, u, v, extent = seen(others[1])
    colours = others[0].reshape(-1, 3)[pixels].astype(float)
    shown = np.tile(counted.reshape(-1), len(others[0]))[pixels]
    frames = np.full((len(cameras) * size**2, 3), 255 * np.array(SKY))
    to_draw, surface_drawn, u_drawn, v_drawn, extent_drawn = seen(cameras)
    for number in np.unique(surface_drawn):
        mine, drawn = (surface == number) & shown, surface_drawn == number
        if not mine.any():
            continue
        levels = _pyramid(u[mine], v[mine], extent[mine], colours[mine])
        level = np.rint(np.log2(np.maximum(TEXELS * extent_drawn[drawn], 1))).astype(int).clip(0, len(levels) - 1)
        painted = np.empty((drawn.sum(), 3))
        for depth, texels in enumerate(levels):
            here, texel = level == depth, len(texels)
            row, column = ((texel * place[drawn][here]).astype(int) % texel for place in (v_drawn, u_drawn))
            painted[here] = texels[row, column]
        frames[to_draw[drawn]] = painted
    return (frames.reshape(len(cameras), size, size, 3) + 0.5).astype(np.uint8)


def _pyramid(u: Array, v: Array, extent: Array, colours: Array) -> list[Array]:
    """Return a tile and its coarser copies, each the mean of what pixels (n,) of no coarser extent saw there."""
    levels, coarser = [], colours.mean(axis=0)[None, None]
    for side in [1 << depth for depth in range(TEXELS.bit_length())]:
        fine = extent * side < 1.5
        place = (side * v[fine]).astype(int) % side * side + (side * u[fine]).astype(int) % side
        weight = np.bincount(place, minlength=side**2)
        sums = [np.bincount(place, colour, minlength=side**2) for colour in colours[fine].T]
        base = coarser.repeat(side // len(coarser), axis=0).repeat(side // len(coarser), axis=1).reshape(-1, 3)
        # A texel that few pixels saw is as the coarser copy has it.
        texels = (np.stack(sums, axis=-1) + base) / (weight[:, None] + 1)
        coarser = texels.reshape(side, side, 3)
        levels.append(coarser)
    return levels[::-1]
