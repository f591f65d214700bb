"""Survey of a converted dataset: counts, ranges of its cameras, damages, and a sheet of its pictures."""

import os
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from matplotlib.image import imsave
from torch import Tensor

from gqn.core.files import whole_file
from gqn.data.dataset import SPLITS, TWINS, DatasetError, SceneDataset, read_index

CAMERA = ("x", "y", "z", "yaw", "pitch")
LOOKED_AT = 1000  # scenes of a split, spread over it, whose cameras are read


def survey(directory: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return plain values for each split of a converted dataset: counts, sizes, ranges and damages.

    `cameras` holds smallest and largest x, y, z (world units), yaw, pitch (radians) and distance from the origin over
    up to LOOKED_AT scenes; `brightness` mean and standard deviation of pixels, 0 to 255; `damages` what is damaged
    in the record files; `unreadable` scenes that could not be read. Raises DatasetError where there is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for split in (*SPLITS, TWINS):
        path = Path(directory) / "torch" / split / "index.json"
        if not path.exists():
            continue
        index, scenes = read_index(path), SceneDataset(directory, split)
        cameras, pixels, unreadable = _look(scenes)
        found[split] = {
            "dataset": scenes.name,
            "scenes": len(scenes),
            "views": scenes.views,
            "pixels": scenes.pixels,
            "record_files": len(index.files),
            "shards": sum(len(file.shards) for file in index.files),
            "bytes": sum(shard.bytes for file in index.files for shard in file.shards),
            "cameras": _ranges(cameras),
            "brightness": [round(float(value), 1) for value in (pixels.mean(), pixels.std())] if len(pixels) else None,
            "damages": [
                f"{file.name} at byte {damage.offset}, {damage.bytes} bytes: {damage.cause}"
                for file in index.files
                for damage in file.damages
            ],
            "unreadable": unreadable,
        }
    if not found:
        raise DatasetError(f"{directory}: no torch/train or torch/test in it: convert it first, see data.sh")
    return found


def _spread(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist() if count else []


def _look(scenes: SceneDataset) -> tuple[Tensor, Tensor, list[str]]:
    """Return cameras (n, 5) and pixels of scenes spread over a split, and the errors of those that can't be read."""
    cameras, pixels, unreadable = [torch.zeros(0, 5)], [torch.zeros(0)], []
    for number in _spread(len(scenes), LOOKED_AT):
        try:
            cameras.append(scenes.scene(number)[1])
            pixels.append(scenes.scene(number, [0])[0].float().flatten())
        except DatasetError as error:
            unreadable.append(f"scene {number}: {error}")
    return torch.cat(cameras), torch.cat(pixels), unreadable


def _ranges(cameras: Tensor) -> dict[str, list[float]]:
    if not len(cameras):
        return {}
    columns = {**dict(zip(CAMERA, cameras.T, strict=True)), "distance": cameras[:, :3].norm(dim=-1)}
    return {
        name: [round(float(value), 4) for value in (column.min(), column.max())] for name, column in columns.items()
    }


def contact_sheet(
    directory: str | os.PathLike[str], path: str | os.PathLike[str], scenes: int = 8, views: int = 10
) -> None:
    """Write a PNG with a row for each of some scenes, spread over the splits, and a column for each of its views."""
    rows = []
    splits = [split for split in (*SPLITS, TWINS) if (Path(directory) / "torch" / split / "index.json").exists()]
    for split in splits:
        dataset = SceneDataset(directory, split)
        for number in _spread(len(dataset), max(1, scenes // len(splits))):
            frames, _ = dataset.scene(number, range(min(views, dataset.views)))
            rows.append(torch.cat([torch.nn.functional.pad(frame, (1, 1, 1, 1), value=255) for frame in frames], dim=2))
    if not rows:
        raise DatasetError(f"{directory}: no scenes to draw")
    with whole_file(path) as file:
        imsave(cast(BinaryIO, file), torch.cat(rows, dim=1).permute(1, 2, 0).contiguous().numpy(), format="png")
