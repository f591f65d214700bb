"""Frames of a MuJoCo scene without OpenGL: rays from the camera, and rays from the light for shadows.

`trace` says what each pixel sees, `shade` lights it, `render` does both with one colour a geom. A family with textures
puts its own colours between the two. What moves is the pose of a body (`place_boxes`), so a model is compiled once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.camera import axes

Array = NDArray[np.float64]

BACKGROUND = -1  # the geom that a ray which hits nothing gives
SUN_DISTANCE = 1e3  # world units; the rays of one call share an origin, so parallel light comes from afar
SHADOW_TOLERANCE = 1e-4  # world units between a point and where the ray from the light ends


@dataclass(frozen=True)
class Lighting:
    """Levels of the light, as fractions of a surface's full colour, and where the directional light comes from.

    colour = surface (ambient + headlight n.c + [lit] diffuse n.l) + [lit] specular, n the normal of the surface, c the
    direction to the camera (of its axis, not of the pixel), l the direction to the light, lit out of shadow.
    """

    ambient: float = 0.3
    headlight: float = 0.3
    diffuse: float = 0.6
    specular: float = 0.15  # white, added alike to all that is lit
    direction: tuple[float, float, float] = (1.0, 1.0, 1.0)  # towards the light, of any length


@dataclass(frozen=True)
class Hits:
    """What the pixels of `views` frames see: arrays over all pixels, and over the n pixels that see something."""

    geom: NDArray[np.int32]  # (views, h, w), BACKGROUND where there is nothing
    depth: Array  # (views, h, w), distance along the ray, -1 where there is nothing
    seen: NDArray[np.bool_]  # (views, h, w), where there is something
    point: Array  # (n, 3), where in the world
    normal: Array  # (n, 3), of the surface, towards the outside
    headlight: Array  # (n,), cosine between the normal and the direction to the camera


def boxes(half_sizes: ArrayLike) -> mujoco.MjModel:
    """A model of boxes of `half_sizes` (n, 3), in world units, that `place_boxes` puts in their places."""
    sizes = [" ".join(map(str, size)) for size in np.asarray(half_sizes, np.float64).tolist()]
    bodies = "".join(f'<body mocap="true"><geom type="box" size="{size}"/></body>' for size in sizes)
    return mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{bodies}</worldbody></mujoco>")


def place_boxes(model: mujoco.MjModel, positions: ArrayLike) -> mujoco.MjData:
    """The boxes of a model by `boxes` with their centres at `positions` (n, 3), along the axes of the world."""
    data = mujoco.MjData(model)
    data.mocap_pos[:] = positions
    mujoco.mj_kinematics(model, data)
    return data


def trace(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    cameras: ArrayLike,
    size: int,
    field_of_view: float,
) -> Hits:
    """What each pixel of square frames sees: one ray through its centre.

    cameras: recorded, (views, 5); size: pixels; field_of_view: degrees, vertical.
    """
    cameras = np.asarray(cameras, np.float64)
    forward, right, up = axes(cameras)
    half = np.tan(np.deg2rad(field_of_view) / 2)
    across = half * ((2 * np.arange(size) + 1) / size - 1)
    rays = np.stack(np.broadcast_arrays(1.0, across, -across[:, None]), axis=-1)  # along forward, right and up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    frame = np.stack([forward, right, up], axis=-2)
    directions = rays.reshape(-1, 3) @ frame  # (views, h w, 3)
    cast = [_cast(model, data, camera[:3], rays) for camera, rays in zip(cameras, directions, strict=True)]
    geom, depth, normal = (np.stack(values) for values in zip(*cast, strict=True))
    seen = geom != BACKGROUND
    view = np.nonzero(seen)[0]
    normal = normal[seen]
    return Hits(
        geom=geom.reshape(-1, size, size),
        depth=depth.reshape(-1, size, size),
        seen=seen.reshape(-1, size, size),
        point=cameras[view, :3] + depth[seen][:, None] * directions[seen],
        normal=normal,
        headlight=-_dot(normal, forward[view]),
    )


def out_of_shadow(
    model: mujoco.MjModel, data: mujoco.MjData, points: Array, direction: Sequence[float] | Array
) -> NDArray[np.bool_]:
    """Which of the surface `points` (n, 3) see a light in `direction` (3,), by rays from the light; (n,)."""
    source = SUN_DISTANCE * np.asarray(direction, np.float64) / np.linalg.norm(direction)
    rays = points - source
    distance = np.sqrt(_dot(rays, rays))
    _, reached, _ = _cast(model, data, source, rays / distance[:, None])
    return reached > distance - SHADOW_TOLERANCE


def shade(
    model: mujoco.MjModel, data: mujoco.MjData, hits: Hits, colours: Array, lighting: Lighting | None = None
) -> Array:
    """The light (n, 3) that comes from the pixels that see something, 1 the brightest, by the equation of `Lighting`.

    colours: (n, 3) of the surface there, in [0, 1]; lighting: by default that of `Lighting()`.
    """
    lighting = lighting or Lighting()
    direction = np.asarray(lighting.direction) / np.linalg.norm(lighting.direction)
    cosine = hits.normal @ direction
    lit = cosine > 0
    lit[lit] = out_of_shadow(model, data, hits.point[lit], direction)
    level = lighting.ambient + lighting.headlight * hits.headlight.clip(0) + lighting.diffuse * cosine * lit
    return (colours * level[:, None] + lighting.specular * lit[:, None]).clip(0, 1)


def render(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    colours: ArrayLike,
    cameras: ArrayLike,
    size: int,
    field_of_view: float,
    *,
    lighting: Lighting | None = None,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    samples: int = 1,
) -> NDArray[np.uint8]:
    """Frames (views, size, size, 3) of a scene whose geoms have `colours` (geoms, 3) in [0, 1].

    cameras: recorded, (views, 5); field_of_view: degrees, vertical; samples: rays along the side of a pixel, whose mean
    is the pixel: more than 1 smooths edges.
    """
    hits = trace(model, data, cameras, size * samples, field_of_view)
    light = np.empty((*hits.seen.shape, 3))
    light[...] = background
    light[hits.seen] = shade(model, data, hits, np.asarray(colours)[hits.geom[hits.seen]], lighting)
    if samples > 1:
        light = light.reshape(-1, size, samples, size, samples, 3).mean(axis=(2, 4))
    return (255 * light + 0.5).astype(np.uint8)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...i,...i->...", a, b)


def _cast(
    model: mujoco.MjModel, data: mujoco.MjData, origin: Array, directions: Array
) -> tuple[NDArray[np.int32], Array, Array]:
    """Geom (n,), distance (n,) and normal (n, 3) where rays of unit `directions` (n, 3) from `origin` first hit."""
    count = len(directions)
    geom = np.full(count, BACKGROUND, np.int32)
    distance, normal = np.full(count, -1.0), np.zeros((count, 3))
    if count:
        mujoco.mj_multiRay(
            model,
            data,
            pnt=origin[:, None],
            vec=np.ascontiguousarray(directions).reshape(-1, 1),
            geomgroup=None,
            flg_static=True,
            bodyexclude=-1,
            geomid=geom,
            dist=distance,
            normal=normal.reshape(-1, 1),
            nray=count,
            cutoff=mujoco.mjMAXVAL,
        )
    return geom, distance, normal
