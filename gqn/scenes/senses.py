"""Further senses of a drawn scene: depth and normals of its views, and touch by a probe at known poses."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.camera import axes, look_at
from gqn.scenes.physics import mujoco
from gqn.scenes.render import PIXELS_AT_ONCE, World, trace

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

PROBES = 15  # of a scene
SIDE = 4  # sensors along a side of the probe's square
SENSORS = SIDE**2
REACH = 1.5  # sides of the probe, how far its sensors feel


def depth_and_normals(world: World, cameras: ArrayLike, size: int) -> tuple[Floats, Floats]:
    """Return depth and surface normals of the pixels of frames of `size`.

    depth: (views, size, size), in world units along the ray through the pixel's centre, 0 where there is nothing.
    normals: (views, size, size, 3), unit vectors in the world's axes, 0 where there is nothing.
    """
    cameras = np.asarray(cameras)
    depth = np.zeros((len(cameras), size, size), np.float32)
    normals = np.zeros((len(cameras), size, size, 3), np.float32)
    at_once = max(1, PIXELS_AT_ONCE // size**2)
    for first in range(0, len(cameras), at_once):
        some = slice(first, first + at_once)
        hits = trace(world, cameras[some], size)
        depth[some] = np.where(hits.seen, hits.depth, 0)
        normals[some][hits.seen] = hits.normal
    return depth, normals


def touch(world: World, probes: NDArray[np.float32], hand: float) -> Floats:
    """Return what a square probe feels at recorded poses (probes, 5): distances (probes, SENSORS), in world units.

    The probe lies across the direction in which a camera of that pose would look; its sensors, in rows from the upper
    left as pixels are, say how far the nearest surface lies ahead, REACH sides of the probe at most.
    hand: side of the probe, in world units.
    """
    forward, right, up = axes(probes)
    along = hand * ((2 * np.arange(SIDE) + 1) / SIDE - 1) / 2
    column, row = np.meshgrid(along, -along)
    distance = np.empty((len(probes), SENSORS))
    for number, probe in enumerate(np.asarray(probes, np.float64)):
        places = probe[:3] + column.reshape(-1, 1) * right[number] + row.reshape(-1, 1) * up[number]
        distance[number] = [feel(world, place, forward[number]) for place in places]
    return np.minimum(distance, REACH * hand).astype(np.float32)


def feel(world: World, place: Array, direction: Array) -> float:
    """Return the distance of the nearest surface from `place` (3,) in the unit `direction` (3,); infinite for none."""
    geom = np.empty((1, 1), np.int32)
    distance = mujoco.mj_ray(world.model, world.data, place[:, None], direction[:, None], None, True, -1, geom)
    return distance if distance >= 0 else np.inf


def random_probes(
    world: World, touchable: Array, hand: float, ground: float | None, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return recorded poses (PROBES, 5) just off a surface and turned towards it.

    touchable: points (n, 3) inside of what is to be touched, of which each probe takes one; hand: side of the probe, in
    world units; ground: height of a floor through which no probe comes, None for none.
    """
    probes: list[Array] = []
    while len(probes) < PROBES:
        point = touchable[int(random.integers(len(touchable)))]
        outward = random.normal(size=3)
        if ground is not None:
            outward[2] = abs(outward[2])
        outward /= np.linalg.norm(outward)
        gap = random.uniform(0.1, 0.9) * REACH * hand
        aim = point + random.uniform(-0.5, 0.5, 3) * hand
        start = aim + 8 * hand * outward
        contact = feel(world, start, -outward)
        place = start - (contact - gap) * outward
        # A wall, or what lies on the far side of the object, is none of the probe's.
        if abs(contact - 8 * hand) < 3 * hand and (ground is None or place[2] > ground + hand / 2):
            probes.append(look_at(place, place - outward))
    return np.array(probes, np.float32)
