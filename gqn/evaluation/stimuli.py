"""Trials of Shepard-Metzler objects whose answers are known: mirror images, hidden parts, exchanged colours.

A trial is drawn by `numpy.random.Generator`: the same for the same state. Cameras stand on a ring, at the family's
elevation, and frames go through a JPEG as those of the datasets do.
"""

from colorsys import hsv_to_rgb, rgb_to_hsv
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gqn.core.camera import camera_vector, look_at
from gqn.core.views import Views
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.scenes.render import render, trace
from gqn.scenes.shepard_metzler import CUBE, RADIUS, STEPS, ShepardMetzler, cubes, walk

Array = NDArray[np.float64]
Cells = NDArray[np.int64]

HUES = 12  # of the possible answers, evenly round the circle, where the family has cubes of any hue
SEEN = 0.006  # share of a frame's pixels that a part which can be seen covers, at least: 6 of 32 x 32
FORWARD = 15.0  # degrees between the context cameras of a trial


class NoTrial(RuntimeError):
    """No trial can be made of a world; the message says why."""


@dataclass(frozen=True)
class MirrorTrial:
    """A question of mental rotation: the same object, seen from elsewhere, or its mirror image?"""

    context: Views  # (1, 1, ...) one view
    same: Tensor  # (angles, 3, h, w) the object from cameras further and further round
    mirror: Tensor  # (angles, 3, h, w) its mirror image from the same cameras
    cameras: Tensor  # (angles, 7)


@dataclass(frozen=True)
class HiddenTrial:
    """A question about the part that no context view shows: its hue and place. No possible answer changes the views."""

    context: Views  # (1, 3, ...)
    revealing: Views  # (1, 3, ...) the same but for the last view, which shows the part
    camera: Tensor  # (7,) of the query
    answers: Tensor  # (places, hues, 3, h, w) the query's frame for each place and hue of the part
    possible: NDArray[np.bool_]  # (places,) which places leave the context as it is
    weight: Array  # (places,) probability of each place under the family, given the context; 0 where not possible
    truth: Tensor  # (3, h, w)
    place: int  # of the truth
    hue: int  # of the answers' hues, nearest the truth's
    near: Cells  # hues that count as the truth's: the family's own hue, or three of any


@dataclass(frozen=True)
class ExchangeTrial:
    """A question of scene algebra: shape 1 in colour 1 (A), in colour 2 (B), shape 2 in colour 2 (C), in colour 1 (D).

    A - B + C should be D.
    """

    contexts: Views  # (4, m, ...) of A, B, C, D, from the same cameras
    query: Views  # (1, 1, ...) of D


def ring(degrees: ArrayLike, elevation: float) -> Array:
    """Return recorded cameras (n, 5) at angles round the origin, `elevation` degrees above the horizon."""
    around, height = np.deg2rad(np.atleast_1d(np.asarray(degrees, np.float64))), np.deg2rad(elevation)
    flat = RADIUS * np.cos(height)
    up = np.full(len(around), RADIUS * np.sin(height))
    return look_at(np.stack([flat * np.cos(around), flat * np.sin(around), up], axis=1), np.zeros(3))


def seen(family: ShepardMetzler, positions: Array, colours: Array, cameras: Array) -> NDArray[np.uint8]:
    """Return frames (n, size, size, 3) as they are drawn."""
    return render(cubes(positions, colours), cameras.astype(np.float32), family.size, family.samples)


def views(family: ShepardMetzler, positions: Array, colours: Array, cameras: Array) -> Views:
    """Return frames and cameras of one object, (1, n, ...), as a dataset would hold them."""
    frames = np.stack([decode_jpeg(encode_jpeg(frame)) for frame in seen(family, positions, colours, cameras)])
    tensor = torch.from_numpy(frames).float() / 255
    return Views(tensor[None], camera_vector(torch.from_numpy(cameras).float())[None])


def mirror_trial(family: ShepardMetzler, random: np.random.Generator, angles: ArrayLike) -> MirrorTrial:
    """Draw an object that is not its own mirror image, and see it from cameras at `angles` degrees round it.

    The mirror is the one along the grid that is nearest to the query's line of sight, so that the mirror image's frame
    is the true one with left and right exchanged, more or less.
    """
    while True:
        positions, colours = family.object(random)
        if np.linalg.matrix_rank(positions - positions[0], tol=CUBE / 2) == 3:
            break
    first = 360 * random.random()
    turn = first + np.asarray(angles, np.float64) * random.choice([-1, 1])
    cameras = ring(turn, family.elevation)
    context = views(family, positions, colours, ring(first, family.elevation))
    same = views(family, positions, colours, cameras)
    mirrored = [
        views(family, mirror_image(positions, angle), colours, camera[None]).frames[0, 0]
        for angle, camera in zip(turn, cameras, strict=True)
    ]
    return MirrorTrial(context, same.frames[0], torch.stack(mirrored), same.cameras[0])


def mirror_image(positions: Array, degrees: float) -> Array:
    """Return positions (n, 3) in the upright mirror along the grid or its diagonals that is nearest to a direction."""
    x, y, z = positions.T
    mirrors = [(x, -y, z), (y, x, z), (-x, y, z), (-y, -x, z)]  # that contain 0, 45, 90 and 135 degrees
    return np.stack(mirrors[round(degrees / 45) % 4], axis=1)


def hidden_trial(family: ShepardMetzler, random: np.random.Generator, attempts: int = 20_000) -> HiddenTrial:
    """Draw three context views in which one part is hidden, and a query that shows it wherever it may be.

    The places are the cells beside the others from which a walk can be made. Those that give the very same context
    frames are possible answers, each as likely as there are walks that make it. Any hue of the family is possible, and
    as likely. Raises NoTrial where none is found.
    """
    check_hues(family)
    for _ in range(attempts):
        positions, colours = family.object(random)
        first = 360 * random.random()
        context = ring(first + FORWARD * np.array([-1, 0, 1]), family.elevation).astype(np.float32).astype(np.float64)
        geoms = trace(cubes(positions, colours), context, family.size).geom
        hidden = sorted(set(range(family.parts)) - set(np.unique(geoms).tolist()))
        if len(hidden) != 1:
            continue
        trial = _hidden_trial(family, positions, colours, hidden[0], first, context)
        if trial is not None:
            return trial
    raise NoTrial(f"no object of {family.parts} parts with a hidden part in {attempts} attempts")


def _hidden_trial(
    family: ShepardMetzler, positions: Array, colours: Array, part: int, first: float, context: Array
) -> HiddenTrial | None:
    cells = np.rint((positions - positions[0]) / CUBE).astype(np.int64)
    objects, weight = [], []
    for cell in places_beside(np.delete(cells, part, axis=0)):
        changed = cells.copy()
        changed[part] = cell
        if ways := walks_through(changed):
            objects.append(changed)
            weight.append(ways)
    true_frames = seen(family, positions, colours, context)
    possible = np.array([np.array_equal(seen(family, centred(o), colours, context), true_frames) for o in objects])
    behind = first + np.arange(60, 301, 30)
    around = ring(behind, family.elevation)
    shown = [
        (trace(cubes(centred(o), colours), around, family.size).geom == part).mean(axis=(1, 2))
        for o, can in zip(objects, possible, strict=True)
        if can
    ]
    least = np.min(shown, axis=0)  # of the possible answers, at each camera
    best = int(least.argmax())
    if least[best] < SEEN:
        return None
    query = around[best : best + 1]
    hues = family.hues or HUES
    answers = []
    for changed in objects:
        painted = colours.copy()
        frames = []
        for hue in range(hues):
            painted[part] = hsv_to_rgb(hue / hues, 1, 1)
            frames.append(views(family, centred(changed), painted, query).frames[0, 0])
        answers.append(torch.stack(frames))
    # A context camera nearby shows the part too, but not from where the query asks.
    near = int(np.argsort(least)[-2])
    revealing = np.concatenate([context[:2], around[near : near + 1]])
    truth = views(family, positions, colours, query)
    true_hue = round(rgb_to_hsv(*colours[part])[0] * hues) % hues
    chance = np.where(possible, weight, 0)
    return HiddenTrial(
        context=views(family, positions, colours, context),
        revealing=views(family, positions, colours, revealing),
        camera=truth.cameras[0, 0],
        answers=torch.stack(answers),
        possible=possible,
        weight=chance / chance.sum(),
        truth=truth.frames[0, 0],
        place=next(i for i, o in enumerate(objects) if np.array_equal(o, cells)),
        hue=true_hue,
        near=(true_hue + np.array([0] if family.hues else [-1, 0, 1])) % hues,
    )


def check_hues(family: ShepardMetzler) -> None:
    """Raise NoTrial for a world of a single hue, where no hue can be asked for."""
    if family.hues == 1:
        raise NoTrial("all cubes are of one hue")


def centred(cells: Cells) -> Array:
    """Return positions (n, 3) of cubes in cells, their bounding box centred at the origin as in the drawn world."""
    return CUBE * (cells - (cells.min(axis=0) + cells.max(axis=0)) / 2)


def places_beside(cells: Cells) -> Cells:
    """Return the free cells (n, 3) that share a face with one of `cells`, in a fixed order."""
    taken = {tuple(cell) for cell in cells.tolist()}
    beside = {tuple(cell) for cell in (cells[:, None] + STEPS).reshape(-1, 3).tolist()}
    return np.array(sorted(beside - taken))


def walks_through(cells: Cells) -> int:
    """Return how many walks visit each cell once, from face to face; the world draws each with the same chance."""
    beside = np.abs(cells[:, None] - cells).sum(axis=2) == 1

    def from_there(last: int, left: frozenset[int]) -> int:
        return sum(from_there(cell, left - {cell}) for cell in left if beside[last, cell]) if left else 1

    everywhere = frozenset(range(len(cells)))
    return sum(from_there(start, everywhere - {start}) for start in everywhere)


def exchange_trial(family: ShepardMetzler, random: np.random.Generator, context: int) -> ExchangeTrial:
    """Draw two shapes in two hues, a third of the circle or more apart, each object of one hue, from random cameras.

    Raises NoTrial for a family of a single hue.
    """
    check_hues(family)
    shapes = [centred(walk(family.parts, random)) for _ in range(2)]
    if count := family.hues:
        away = [step for step in range(count) if count <= 3 * step <= 2 * count]
        number = random.integers(count)
        hues = [number / count, (number + random.choice(away)) % count / count]
    else:
        hue = random.random()
        hues = [hue, (hue + random.uniform(1 / 3, 2 / 3)) % 1]
    colours = [np.tile(hsv_to_rgb(h, 1, 1), (family.parts, 1)) for h in hues]
    cameras = ring(360 * random.random(context + 1), family.elevation)
    drawn = [views(family, shapes[s], colours[c], cameras) for s, c in ((0, 0), (0, 1), (1, 1), (1, 0))]
    frames, numbers = (torch.cat([getattr(v, name) for v in drawn]) for name in ("frames", "cameras"))
    return ExchangeTrial(
        Views(frames[:, :context], numbers[:, :context]), Views(frames[3:, context:], numbers[3:, context:])
    )
