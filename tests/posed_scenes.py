"""Drawn scenes as other programs would have them: pictures in files, and poses in the formats of those programs."""

import csv
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gqn.core.camera import axes
from gqn.scenes.shepard_metzler import ShepardMetzler

SIZE, VIEWS = 32, 6
FIELD_OF_VIEW = ShepardMetzler().geometry.field_of_view
FOCAL = SIZE / 2 / np.tan(np.deg2rad(FIELD_OF_VIEW) / 2)
FLIPPED = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's axes of a camera in OpenCV's
LENS: dict[str, Any] = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}


def drawn(number: int = 0, size: int = SIZE, views: int = VIEWS) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (views, h, w, 3) and recorded cameras (views, 5) of a scene."""
    scene = ShepardMetzler(size=size, views=views).scene(np.random.default_rng(number))
    return scene.frames, scene.cameras.astype(np.float64)


def matrices(cameras: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """Return camera-to-world matrices (views, 4, 4) in OpenGL's axes, of cameras that roll by an angle in radians."""
    forward, right, up = axes(cameras)
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    found = np.tile(np.eye(4), (len(cameras), 1, 1))
    found[:, :3] = np.stack([right, up, -forward, cameras[:, :3]], axis=-1)
    return found


def moved(cameras: np.ndarray, rotation: np.ndarray, scale: float, shift: Sequence[float]) -> np.ndarray:
    """Return camera-to-world matrices in another world: p becomes scale rotation p + shift."""
    found = cameras.copy()
    found[:, :3, :3] = rotation @ cameras[:, :3, :3]
    found[:, :3, 3] = scale * cameras[:, :3, 3] @ rotation.T + np.asarray(shift)
    return found


def pictures(folder: Path, frames: np.ndarray) -> list[str]:
    """Write the frames as PNG files to a folder, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:03d}.png" for number in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return names


def nerfstudio(folder: Path, frames: np.ndarray, cameras: np.ndarray, **changes: Any) -> Path:
    names = pictures(folder / "images", frames)
    poses = [{"file_path": f"images/{n}", "transform_matrix": c.tolist()} for n, c in zip(names, cameras, strict=True)]
    (folder / "transforms.json").write_text(json.dumps({**LENS, "frames": poses, **changes}))
    return folder


def blender(folder: Path, frames: np.ndarray, cameras: np.ndarray, split: str = "train") -> Path:
    names = pictures(folder / split, frames)
    poses = [
        {"file_path": f"./{split}/{name.removesuffix('.png')}", "rotation": 0.1, "transform_matrix": camera.tolist()}
        for name, camera in zip(names, cameras, strict=True)
    ]
    text = json.dumps({"camera_angle_x": np.deg2rad(FIELD_OF_VIEW), "frames": poses})
    (folder / f"transforms_{split}.json").write_text(text)
    return folder


def table(folder: Path, frames: np.ndarray, cameras: np.ndarray, **lens: float) -> Path:
    names = pictures(folder, frames)
    with (folder / "poses.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "x", "y", "z", "yaw", "pitch", *lens])
        lines.writerows([name, *camera, *lens.values()] for name, camera in zip(names, cameras.tolist(), strict=True))
    return folder


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Return the unit quaternion, w first, of a rotation: the eigenvector of Bar-Itzhack's matrix."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, zx + xz],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, zx + xz, zy + yz, zz - xx - yy],
        ]
    )
    return np.linalg.eigh(symmetric / 3)[1][:, -1]


def colmap(
    folder: Path,
    frames: np.ndarray,
    cameras: np.ndarray,
    *,
    binary: bool,
    model: tuple[int, str, Sequence[float]] = (1, "PINHOLE", (FOCAL, FOCAL, SIZE / 2, SIZE / 2)),
) -> Path:
    """Write a model of COLMAP's; the pictures are listed in another order than that of their names, with points."""
    names = pictures(folder / "images", frames)
    place = folder / "sparse/0"
    place.mkdir(parents=True)
    number, kind, parameters = model
    images = []
    for name, camera in reversed(list(zip(names, cameras, strict=True))):
        to_camera = np.linalg.inv(camera @ FLIPPED)
        images.append((name, *quaternion(to_camera[:3, :3]), *to_camera[:3, 3]))
    if binary:
        data = struct.pack("<QiiQQ", 1, 7, number, SIZE, SIZE) + struct.pack(f"<{len(parameters)}d", *parameters)
        (place / "cameras.bin").write_bytes(data)
        data = struct.pack("<Q", len(images))
        for index, (name, *pose) in enumerate(images):
            data += struct.pack("<i7di", index, *pose, 7) + name.encode() + b"\0"
            data += struct.pack("<Q", index) + struct.pack("<ddq", 1.5, 2.5, -1) * index
        (place / "images.bin").write_bytes(data)
        return folder
    values = " ".join(map(repr, map(float, parameters)))
    (place / "cameras.txt").write_text(f"# Camera list\n7 {kind} {SIZE} {SIZE} {values}\n")
    lines = ["# Image list with two lines of data per image:"]
    for index, (name, *pose) in enumerate(images):
        lines += [" ".join([str(index), *map(repr, map(float, pose)), "7", name]), "1.5 2.5 -1 " * index]
    (place / "images.txt").write_text("\n".join(lines) + "\n")
    return folder
