"""Solids of the named shapes, as MuJoCo models: boxes, balls and the like as its own, the others as meshes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.scenes.physics import mujoco

Array = NDArray[np.float64]
Shape = Literal["box", "sphere", "cylinder", "capsule", "cone", "triangle", "icosahedron"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

# Of size 1, which no shape exceeds by much: MuJoCo's own type and sizes.
BUILT_IN = {
    "box": (mujoco.mjtGeom.mjGEOM_BOX, (0.75, 0.75, 0.75)),
    "sphere": (mujoco.mjtGeom.mjGEOM_SPHERE, (0.6, 0, 0)),
    "cylinder": (mujoco.mjtGeom.mjGEOM_CYLINDER, (0.85, 0.72, 0)),
    "capsule": (mujoco.mjtGeom.mjGEOM_CAPSULE, (0.5, 0.55, 0)),
}
SEGMENTS = 48  # round a cone or the tube of a triangle


@dataclass(frozen=True)
class Solid:
    """A solid: its shape, size, place, turn and colour."""

    shape: Shape
    size: float  # world units, about half of its extent
    position: Array  # (3,), of its centre
    rotation: Array  # (4,), unit quaternion, w first
    colour: Array  # (3,), in [0, 1]


@cache
def mesh(shape: Shape) -> tuple[Array, NDArray[np.int64]]:
    """Return vertices (n, 3) and triangles (m, 3), counter-clockwise from outside, of a mesh shape of size 1."""
    turn = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    step = np.arange(SEGMENTS)
    after = (step + 1) % SEGMENTS
    if shape == "cone":
        rim = np.stack([0.95 * np.cos(turn), 0.95 * np.sin(turn), np.full(SEGMENTS, -0.9)], axis=1)
        top, middle = np.full(SEGMENTS, SEGMENTS), np.full(SEGMENTS, SEGMENTS + 1)
        vertices = np.concatenate([rim, [[0, 0, 0.9], [0, 0, -0.9]]])
        return vertices, np.concatenate([np.stack([step, after, top], 1), np.stack([after, step, middle], 1)])
    if shape == "triangle":
        return _triangle()
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, s, t * golden] for s in (-1, 1) for t in (-1, 1)])
    vertices = np.concatenate([np.roll(corners, turns, axis=1) for turns in range(3)])
    vertices /= np.linalg.norm(vertices[0])
    # It stands on a corner: a turn about x brings one of them on top.
    _, sine, cosine = vertices[(vertices[:, 0] == 0) & (vertices[:, 1] > 0) & (vertices[:, 2] > 0)][0]
    vertices = vertices @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    near = np.linalg.norm(vertices[:, None] - vertices, axis=-1) < 1.1  # the edges are 1.05 long
    faces = []
    for a in range(12):
        for b in range(a + 1, 12):
            for c in range(b + 1, 12):
                if near[a, b] and near[b, c] and near[a, c]:
                    inside_out = np.linalg.det(vertices[[a, b, c]]) < 0
                    faces.append([a, c, b] if inside_out else [a, b, c])
    return vertices, np.array(faces)


def _triangle() -> tuple[Array, NDArray[np.int64]]:
    """Return an upright triangular torus across the y axis: three round bars, mitred where they meet."""
    bar, corner = 0.19, 0.89  # radius of a bar, distance of the middle of its ends from that of the triangle
    around = 2 * np.pi * np.arange(SEGMENTS // 2) / (SEGMENTS // 2)
    vertices = []
    for angle in np.pi / 2 + 2 * np.pi * np.arange(3) / 3:
        away = corner + 2 * bar * np.cos(around)  # a mitre of 60 degrees is twice as wide as the bar
        vertices.append(np.stack([away * np.cos(angle), bar * np.sin(around), away * np.sin(angle)], axis=-1))
    side, step = np.meshgrid(np.arange(3), np.arange(len(around)), indexing="ij")
    after, side_after = (step + 1) % len(around), (side + 1) % 3
    a, b, c, d = (
        s * len(around) + t for s, t in ((side, step), (side, after), (side_after, after), (side_after, step))
    )
    triangles = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])
    return np.concatenate(vertices), triangles.reshape(-1, 3)


def matrix(rotation: ArrayLike) -> Array:
    """Return the rotation matrix (3, 3) of a unit quaternion (4,), w first."""
    result = np.empty(9)
    mujoco.mju_quat2Mat(result, np.asarray(rotation, np.float64))
    return result.reshape(3, 3)


def random_rotation(random: np.random.Generator) -> Array:
    """Return a unit quaternion (4,), w first, of a rotation uniform over all."""
    quaternion = random.normal(size=4)
    return quaternion / np.linalg.norm(quaternion)


def height_above_ground(shape: Shape, rotation: Array) -> float:
    """Return the height of the centre of a turned solid of size 1 that touches the ground."""
    down = -matrix(rotation)[2]  # in the axes of the solid
    if shape == "sphere":
        return BUILT_IN[shape][1][0]
    if shape == "box":
        return float(np.abs(down) @ BUILT_IN[shape][1])
    if shape == "cylinder":
        radius, half, _ = BUILT_IN[shape][1]
        return float(radius * np.hypot(down[0], down[1]) + half * abs(down[2]))
    if shape == "capsule":
        radius, half, _ = BUILT_IN[shape][1]
        return float(radius + half * abs(down[2]))
    return float((mesh(shape)[0] @ down).max())


def model_of(solids: Sequence[Solid], slabs: ArrayLike, group: int = 0) -> mujoco.MjModel:
    """Return a model whose geoms are first fixed boxes, rows of `slabs` (n, 6): centre and half sizes; then the solids.

    group: MuJoCo's, of the slabs; that of the solids is 0.
    """
    spec = mujoco.MjSpec()
    add_slabs(spec, slabs, group)
    for number, solid in enumerate(solids):
        body = spec.worldbody.add_body(pos=solid.position, quat=solid.rotation)
        if solid.shape in BUILT_IN:
            kind, sizes = BUILT_IN[solid.shape]
            body.add_geom(type=kind, size=solid.size * np.array(sizes))
        else:
            vertices, triangles = mesh(solid.shape)
            spec.add_mesh(
                name=str(number),
                uservert=(solid.size * vertices).ravel(),
                userface=triangles.ravel().astype(np.int32),
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            )
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=str(number))
    return spec.compile()


def add_slabs(spec: mujoco.MjSpec, slabs: ArrayLike, group: int) -> None:
    """Add fixed boxes, the rows of `slabs` (n, 6): centre and half sizes, in world units."""
    for slab in np.asarray(slabs, np.float64).reshape(-1, 6):
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=slab[:3], size=slab[3:], group=group)


def posed(model: mujoco.MjModel) -> mujoco.MjData:
    """Return the data of a model in the pose in which it was compiled."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return data


def boxes(half_sizes: ArrayLike) -> mujoco.MjModel:
    """Return a model of boxes of `half_sizes` (n, 3), in world units, that `place_boxes` puts in their places."""
    spec = mujoco.MjSpec()
    for sizes in np.asarray(half_sizes, np.float64):
        spec.worldbody.add_body(mocap=True).add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=sizes)
    return spec.compile()


def place_boxes(model: mujoco.MjModel, positions: ArrayLike) -> mujoco.MjData:
    """Return the data of a model by `boxes`, with the boxes' centres at `positions` (n, 3), along the world's axes."""
    data = mujoco.MjData(model)
    data.mocap_pos[:] = positions
    mujoco.mj_kinematics(model, data)
    return data
