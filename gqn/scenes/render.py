"""Frames of a MuJoCo scene without OpenGL: rays from the camera, and rays from the light for shadows.

A `World` is a model in its pose, with the colours of its surfaces. `trace` finds the surface of each pixel, `shade`
lights it, and `render` does both. Only the pose moves, so that a model is compiled once where the shapes stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.camera import axes
from gqn.scenes.physics import mujoco
from gqn.scenes.textures import TILE, look_up

Array = NDArray[np.float64]

BACKGROUND = -1  # the geom that a ray which hits nothing gives
SUN_DISTANCE = 1e3  # world units; the rays of one call share an origin, so parallel light comes from afar
SHADOW_TOLERANCE = 1e-4  # world units between a point and where the ray from the light ends
SHADOW, BRIGHT = 0, 1  # groups of geoms that cast a shadow, and that do not
CASTERS = np.array([group == SHADOW for group in range(6)], np.uint8)[:, None]
DIM = 1e-3  # of a spot's light, below which nothing is lit
FEW = 4  # geoms that are looked at one by one
PIXELS_AT_ONCE = 2**16  # as many as fit the processor's cache


@dataclass(frozen=True)
class Lighting:
    """Levels of the light, as fractions of a surface's full colour, and where the light that casts shadows comes from.

    colour = surface (ambient + headlight n.c + [lit] diffuse spot n.l) + [lit] specular, n the normal of the surface, c
    the direction to the camera (of its axis, not of the pixel), l the direction to the light, lit out of shadow, and
    spot = l_z ^ exponent, which is 1 where the exponent is 0.
    """

    ambient: float = 0.3
    headlight: float = 0.3
    diffuse: float = 0.6
    specular: float = 0.15  # white, added alike to all that is lit
    direction: tuple[float, float, float] = (1.0, 1.0, 1.0)  # towards a sun, of any length
    lamp: tuple[float, float, float] | None = None  # where a lamp hangs, instead of the sun
    exponent: float = 0.0  # of a lamp that shines downward: the higher, the narrower


@dataclass(frozen=True)
class World:
    """A model in its pose, what its geoms look like, and the light."""

    model: mujoco.MjModel
    data: mujoco.MjData
    colours: Array  # (geoms, 3), in [0, 1]
    field_of_view: float  # degrees, vertical
    textures: Mapping[int, str] = field(default_factory=dict)  # pattern that multiplies the colour, by geom
    lighting: Lighting = field(default_factory=Lighting)
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    optical_centre: tuple[float, float] = (0.5, 0.5)  # as in `gqn.core.camera.Geometry`
    tile: tuple[float, float] = (TILE, TILE)  # world units, width and height of a tile of the patterns
    tile_origin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # where the upper left corner of a tile lies


@dataclass(frozen=True)
class Hits:
    """Surfaces that the pixels of `views` frames see: arrays over all pixels, and over the n that see something."""

    geom: NDArray[np.int32]  # (views, h, w), BACKGROUND where there is nothing
    depth: Array  # (views, h, w), distance along the ray, -1 where there is nothing
    seen: NDArray[np.bool_]  # (views, h, w), where there is something
    pixels: NDArray[np.intp] | slice  # (n,), which of all pixels see something
    point: Array  # (n, 3), where in the world
    normal: Array  # (n, 3), of the surface, towards the outside
    headlight: Array  # (n,), cosine between the normal and the direction to the camera


def trace(world: World, cameras: ArrayLike, size: int) -> Hits:
    """Return what each pixel of square frames sees, by one ray through its centre; recorded cameras (views, 5)."""
    cameras = np.asarray(cameras, np.float64)
    forward, right, up = axes(cameras)
    half = np.tan(np.deg2rad(world.field_of_view) / 2)
    across, down = (2 * half * ((np.arange(size) + 0.5) / size - centre) for centre in world.optical_centre)
    rays = np.stack(np.broadcast_arrays(1.0, across, -down[:, None]), axis=-1)  # along forward, right and up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    frame = np.stack([forward, right, up], axis=-2)
    directions = rays.reshape(-1, 3) @ frame  # (views, h w, 3)
    shape = directions.shape[:-1]
    geom, depth, normal = np.empty(shape, np.int32), np.empty(shape), np.empty((*shape, 3))
    for number, camera in enumerate(cameras):
        _cast(world, camera[:3], directions[number], geom[number], depth[number], normal[number])
    seen = geom != BACKGROUND
    # In a closed room every pixel sees something: take views of the arrays, which is faster than an index.
    pixels: NDArray[np.intp] | slice = slice(None)
    if seen.all():
        point = (cameras[:, None, :3] + depth[..., None] * directions).reshape(-1, 3)
        headlight = -(normal @ forward[..., None]).reshape(-1)
        normal = normal.reshape(-1, 3)
    else:
        (pixels,) = np.nonzero(seen.reshape(-1))
        view = pixels // (size * size)
        point = cameras[view, :3] + depth.reshape(-1)[pixels, None] * directions.reshape(-1, 3)[pixels]
        normal = normal.reshape(-1, 3)[pixels]
        headlight = -_dot(normal, forward[view])
    return Hits(
        geom=geom.reshape(-1, size, size),
        depth=depth.reshape(-1, size, size),
        seen=seen.reshape(-1, size, size),
        pixels=pixels,
        point=point,
        normal=normal,
        headlight=headlight,
    )


def out_of_shadow(world: World, points: Array) -> NDArray[np.bool_]:
    """Return which surface points (n, 3) see the light, (n,), by rays from the light."""
    lit = np.ones(len(points), bool)
    (near,) = np.nonzero(_near_shadow(world, points))
    source = _source(world.lighting)
    rays = points[near] - source
    distance = np.sqrt(_dot(rays, rays))
    rays /= distance[:, None]
    geom, reached = np.empty(len(near), np.int32), np.empty(len(near))
    _cast(world, source, rays, geom, reached, None, CASTERS)
    lit[near] = (geom == BACKGROUND) | (reached > distance - SHADOW_TOLERANCE)
    return lit


def _near_shadow(world: World, points: Array) -> NDArray[np.bool_]:
    """Return which points (n, 3) may lie in a shadow, by balls round the geoms that cast one."""
    (casters,) = np.nonzero(world.model.geom_group == SHADOW)
    if not len(casters):
        return np.zeros(len(points), bool)
    places, radii = world.data.geom_xpos[casters], world.model.geom_rbound[casters]
    if len(casters) > FEW:
        middle = places.mean(axis=0)
        places, radii = middle[None], (np.linalg.norm(places - middle, axis=1) + radii).max(keepdims=True)
    towards = _source(world.lighting) - points
    towards /= np.sqrt(_dot(towards, towards))[:, None]
    near = np.zeros(len(points), bool)
    for place, radius in zip(places, radii, strict=True):
        offset = points - place
        along = _dot(offset, towards)
        near |= _dot(offset, offset) - along * along < radius * radius  # the ray to the light passes through the ball
    return near


def on_tiles(
    world: World, hits: Hits, size: int, chosen: NDArray[np.intp] | slice = slice(None)
) -> tuple[Array, Array, Array]:
    """Return where on the tiles of patterns chosen pixels of frames of `size` look, and the extent of a pixel there.

    To the right, down, and the extent: (n,) each, in tiles.
    """
    # Extent of the surface in a pixel, the mean of an ellipse's axes: it grows with the distance and the slant.
    pixel = 2 * np.tan(np.deg2rad(world.field_of_view) / 2) / size
    extent = pixel * hits.depth.reshape(-1)[hits.pixels][chosen]
    extent /= np.sqrt(np.maximum(np.abs(hits.headlight[chosen]), 0.05))
    x, y, z = (hits.point[chosen] - world.tile_origin).T
    # Texture coordinates run along a wall and down it; on a flat surface along x and y.
    facing_x, _, flat = np.abs(hits.normal[chosen].T) > 0.7
    width, height = world.tile
    return np.where(facing_x, y, x) / width, np.where(flat, y, -z) / height, extent / min(width, height)


def surface_colours(world: World, hits: Hits, size: int) -> Array:
    """Return colours (n, 3) in [0, 1] of the surfaces that the pixels of frames of `size` see, patterns included."""
    geom = hits.geom.reshape(-1)[hits.pixels]
    colours = world.colours[geom]
    if not world.textures:
        return colours
    textured = np.full(world.model.ngeom, -1)
    names = sorted(set(world.textures.values()))
    for number, name in world.textures.items():
        textured[number] = names.index(name)
    pattern = textured[geom]
    chosen: NDArray[np.intp] | slice = slice(None) if (textured >= 0).all() else np.flatnonzero(pattern >= 0)
    u, v, extent = on_tiles(world, hits, size, chosen)
    colours[chosen] *= look_up(tuple(names), pattern[chosen], TILE * u, TILE * v, TILE * extent)
    return colours


def shade(world: World, hits: Hits, colours: Array) -> Array:
    """Return the light (n, 3) from surfaces of `colours` (n, 3), 1 the brightest, as `Lighting` says."""
    lighting = world.lighting
    level = lighting.ambient + lighting.headlight * hits.headlight.clip(0)
    if not (lighting.diffuse or lighting.specular):
        return (colours * level[:, None]).clip(0, 1)
    if lighting.lamp is None:
        cosine = hits.normal @ (np.asarray(lighting.direction) / np.linalg.norm(lighting.direction))
    else:
        towards = np.asarray(lighting.lamp) - hits.point
        towards /= np.sqrt(_dot(towards, towards))[:, None]
        cosine = _dot(hits.normal, towards)
        if lighting.exponent:
            cosine *= towards[:, 2].clip(0) ** lighting.exponent
    lit = cosine > (DIM if lighting.exponent else 0.0)
    lit[lit] = out_of_shadow(world, hits.point[lit])
    level += lighting.diffuse * cosine * lit
    light = colours * level[:, None]
    if lighting.specular:
        light += lighting.specular * lit[:, None]
    return light.clip(0, 1, out=light)


def render(world: World, cameras: ArrayLike, size: int, samples: int = 1) -> NDArray[np.uint8]:
    """Return frames (views, size, size, 3) of recorded cameras (views, 5).

    samples: rays along the side of a pixel, whose mean is the pixel: more than 1 smooths edges.
    """
    cameras = np.asarray(cameras)
    fine = size * samples
    at_once = max(1, PIXELS_AT_ONCE // fine**2)
    frames = np.empty((len(cameras), size, size, 3), np.uint8)
    for first in range(0, len(cameras), at_once):
        hits = trace(world, cameras[first : first + at_once], fine)
        light = shade(world, hits, surface_colours(world, hits, fine))
        if len(light) < hits.seen.size:
            seen, light = light, np.empty((hits.seen.size, 3))
            light[:] = world.background
            light[hits.pixels] = seen
        light = light.reshape(-1, size, samples, size, samples, 3)
        light = light.mean(axis=(2, 4)) if samples > 1 else light[:, :, 0, :, 0]
        frames[first : first + at_once] = 255 * light + 0.5
    return frames


def _source(lighting: Lighting) -> Array:
    if lighting.lamp is not None:
        return np.array(lighting.lamp)
    return SUN_DISTANCE * np.asarray(lighting.direction, np.float64) / np.linalg.norm(lighting.direction)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...i,...i->...", a, b)


def _cast(
    world: World,
    origin: Array,
    directions: Array,
    geom: NDArray[np.int32],
    distance: Array,
    normal: Array | None,
    groups: NDArray[np.uint8] | None = None,
) -> None:
    """Fill geom (n,), distance (n,) and normal (n, 3) where rays of unit length (n, 3) from `origin` first hit."""
    if not len(directions):
        return
    mujoco.mj_multiRay(
        world.model,
        world.data,
        pnt=np.array(origin, np.float64)[:, None],
        vec=np.ascontiguousarray(directions).reshape(-1, 1),
        geomgroup=groups,
        flg_static=True,
        bodyexclude=-1,
        geomid=geom,
        dist=distance,
        normal=None if normal is None else normal.reshape(-1, 1),
        nray=len(directions),
        cutoff=mujoco.mjMAXVAL,
    )
