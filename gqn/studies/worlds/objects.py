"""The lens of the Shepard-Metzler scenes: which field of view draws genuine objects best, cubes of any size."""

from colorsys import hsv_to_rgb, rgb_to_hsv
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.render import BACKGROUND, World, render, trace
from gqn.scenes.shepard_metzler import CUBE, STEPS, cubes
from gqn.scenes.solids import boxes, place_boxes
from gqn.studies.worlds.fit import Fit, Frames

Array = NDArray[np.float64]

FIELDS = (14.0, 17.0, 20.0, 23.0, 26.0, 30.0, 35.0)  # degrees
SIZES = (
    0.96,
    0.97,
    0.98,
    0.99,
    1.0,
    1.01,
    1.02,
    1.03,
    1.04,
)  # parts of the cube that would look as large in the middle
LOW = 0.133  # cubes, how far below the origin a genuine object's bounding box lies
OBJECT = 48  # of 255, the darkest pixel of an object: what is darker is noise of the JPEG round it


@cache
def chains(parts: int) -> list[Array]:
    """Return all sets of cells (parts, 3) that self-avoiding walks visit, their bounding box about the origin."""
    walks = [np.zeros((1, 3), np.int64)]
    for _ in range(parts - 1):
        walks = [
            np.concatenate([walk, [walk[-1] + step]])
            for walk in walks
            for step in STEPS
            if not (walk == walk[-1] + step).all(axis=1).any()
        ]
    found = {}
    for walk in walks:
        middled = walk - (walk.min(axis=0) + walk.max(axis=0)) / 2
        found[tuple(sorted(map(tuple, middled.tolist())))] = middled
    return list(found.values())


def fit_lens(frames: Frames, cameras: Array, parts: int = 5) -> dict[str, Any]:
    """Return the object of a scene, and for each field of view the best overlap of silhouettes over cubes' sizes.

    Overlap is intersection over union of the pixels of all views together.

    Args:
        frames: (views, h, w, 3).
        cameras: (views, 5).
        parts: cubes of the object.
    """
    masks = frames.max(axis=-1) > OBJECT
    size = frames.shape[1]
    few = slice(None, None, 3)  # views that choose among the objects
    scored = [(_overlap(masks[few], cells, cameras[few], size, 20.0, CUBE), cells) for cells in chains(parts)]
    cells = max(scored, key=lambda pair: pair[0])[1]
    overlaps = {}
    for field in FIELDS:
        alike = CUBE * np.tan(np.deg2rad(field) / 2) / np.tan(np.deg2rad(20.0) / 2)
        tried = [(_overlap(masks, cells, cameras, size, field, part * alike), part * alike) for part in SIZES]
        overlap, cube = max(tried)
        overlaps[f"{field:g}"] = {"overlap": round(overlap, 4), "cube": round(float(cube), 4)}
    return {"cells": cells.tolist(), "by_field_of_view": overlaps}


def fit_object(frames: Frames, cameras: Array, cells: Array) -> Fit:
    """Return the object with cubes at `cells` (n, 3), their hues read off the frames, drawn at the same cameras."""
    positions = CUBE * (cells - [0, 0, LOW])
    white = cubes(positions, np.ones((len(cells), 3)))
    seen = trace(white, cameras, frames.shape[1]).geom
    colours = []
    for number in range(len(cells)):
        pixels = frames[seen == number].astype(float)
        # Where it is hidden in all views, any hue will do.
        hue = (
            rgb_to_hsv(*np.median(pixels / pixels.max(axis=1, keepdims=True).clip(1), axis=0))[0] if len(pixels) else 0
        )
        colours.append(hsv_to_rgb(hue, 1, 1))
    drawn = render(cubes(positions, np.array(colours)), cameras, frames.shape[1])
    return Fit(frames, drawn, np.ones(frames.shape[1:3], bool), {"colours": np.round(colours, 3).tolist()})


def _overlap(masks: NDArray[np.bool_], cells: Array, cameras: Array, size: int, field: float, cube: float) -> float:
    """Return intersection over union of masks and the silhouettes of cubes of edge `cube` at `cells` (n, 3)."""
    model = boxes(np.full((len(cells), 3), cube / 2))
    data = place_boxes(model, cube * (cells - [0, 0, LOW]))
    shown = trace(World(model, data, np.ones((len(cells), 3)), field), cameras, size).geom != BACKGROUND
    return float((shown & masks).sum() / (shown | masks).sum())
