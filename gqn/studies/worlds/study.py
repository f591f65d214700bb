"""The study of worlds: genuine scenes of three datasets fitted, one file of figures, one sheet for a person."""

from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from matplotlib import pyplot

from gqn.core.distributed import processes
from gqn.core.files import whole_file, write_json
from gqn.core.progress import Progress
from gqn.core.provenance import provenance
from gqn.data.dataset import SceneDataset
from gqn.studies.worlds.fit import Fit, read
from gqn.studies.worlds.mazes import fit_maze
from gqn.studies.worlds.objects import fit_lens, fit_object
from gqn.studies.worlds.rooms import ROOMS_SEEN, fit_room
from gqn.studies.worlds.told_apart import told_apart


def study(converted: Path, output: Path, mazes: int = 5, objects: int = 5) -> Path:
    """Return the file of figures of genuine scenes fitted by drawing them; a sheet lies beside it.

    Args:
        converted: folder of the converted datasets.
        output: folder of the results.
        mazes: how many of the mazes.
        objects: how many Shepard-Metzler objects with fitted cameras, beside the one with genuine ones.
    """
    output.mkdir(parents=True, exist_ok=True)
    with processes("cpu") as group:
        found: dict[str, Any] = {"provenance": provenance(group)}
    shown: list[list[Fit]] = []
    for world, fits in (
        ("rooms_ring_camera", _rooms(converted)),
        ("mazes", _mazes(converted, mazes)),
        ("shepard_metzler_5_parts", _objects(converted, objects)),
    ):
        found[world] = {
            "rmse": [round(fit.error, 2) for fit in fits],
            "told_apart": told_apart(fits),
            "scenes": [fit.found for fit in fits],
        }
        shown.append(fits)
        write_json(output / "fits.json", found)
    with whole_file(output / "genuine-above-drawn.png") as file:
        pyplot.imsave(cast(BinaryIO, file), _sheet(shown), format="png")
    return output / "fits.json"


def _rooms(converted: Path) -> list[Fit]:
    dataset = SceneDataset(converted / "rooms_ring_camera_six_views", "test")
    rooms = Progress(list(enumerate(ROOMS_SEEN)), "rooms", unit="scenes")
    return [fit_room(*read(dataset, scene), sight) for scene, sight in rooms]


def _mazes(converted: Path, count: int) -> list[Fit]:
    dataset = SceneDataset(converted / "mazes", "train")
    return [
        fit_maze(*read(dataset, scene)) for scene in Progress(range(min(count, len(dataset))), "mazes", unit="scenes")
    ]


def _objects(converted: Path, count: int) -> list[Fit]:
    fits = []
    for name, split, most in (
        ("shepard_metzler_5_parts", "train", 1),
        ("shepard_metzler_5_parts_fitted", "test", count),
    ):
        dataset = SceneDataset(converted / name, split)
        for scene in Progress(range(min(most, len(dataset))), name, unit="scenes"):
            frames, cameras = read(dataset, scene)
            lens = fit_lens(frames, cameras)
            fit = fit_object(frames, cameras, np.array(lens["cells"]))
            fit.found.update(lens, dataset=name)
            fits.append(fit)
    return fits


def _sheet(worlds: list[list[Fit]], across: int = 5, side: int = 128) -> np.ndarray:
    """Return rows of one genuine frame of each scene, and below them the frames drawn after them."""
    rows = []
    for fits in worlds:
        for kind in ("genuine", "drawn"):
            row = [_larger(getattr(fit, kind)[len(fit.genuine) // 2], side) for fit in fits[:across]]
            row += [np.full((side, side, 3), 255, np.uint8)] * (across - len(row))
            rows.append(np.concatenate([np.pad(frame, ((1, 1), (1, 1), (0, 0))) for frame in row], axis=1))
    return np.concatenate(rows)


def _larger(frame: np.ndarray, side: int) -> np.ndarray:
    """Return a frame (h, w, 3) enlarged to `side` pixels."""
    index = np.arange(side) * len(frame) // side
    return frame[index][:, index]
