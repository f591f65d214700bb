"""Drawing of datasets, with DeepMind's file names and record schema.

DIR/NAME/{train,test}/001-of-900.tfrecord, SCENES_PER_FILE scenes each but the last, and DIR/NAME/dataset.json. Beside
each record file lies what its scenes truly hold: 001-of-900.labels.json, a list with one entry a record. DIR/NAME/twins
holds the twins of the test scenes, where they are asked for: the same but for what the scenes hold.
"""

import json
import operator
import os
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.core.camera import turned
from gqn.core.checked import checked
from gqn.core.files import whole_file
from gqn.core.progress import Progress
from gqn.data.dataset import SPLITS, TWINS, DatasetError, claim, labels_file, record_file_name
from gqn.data.tfrecord import encode_jpeg, encode_scene, write_records
from gqn.data.workers import dropped_pool, quiet_start, worker_died
from gqn.scenes import FAMILIES
from gqn.scenes.family import Family, Labels, Scene

SCENES_PER_FILE = 100


@dataclass(frozen=True)
class _File:
    """A record file to write: scenes `first` to `stop` of a split."""

    path: Path
    family: Family
    seed: int
    split: str
    first: int
    stop: int


@checked
def generate(
    family: str,
    directory: str | os.PathLike[str],
    scenes: int,
    seed: int,
    *,
    name: str | None = None,
    test_scenes: int | None = None,
    twins: bool = False,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Path:
    """Draw the scenes that are missing of a dataset, as record files; equal arguments give equal bytes.

    Args:
        family: the world, a name in FAMILIES.
        directory: folder of all datasets; this one goes to directory/name.
        scenes: training scenes.
        seed: of the scenes.
        name: by default the world's.
        test_scenes: by default a tenth of `scenes`, at least 1.
        twins: draw the twin of each test scene too, in a split of its own, which may be asked for later.
        workers: processes, by default as many as there are cores; they do not change the bytes. More than one are
            spawned, so a script calls this under `if __name__ == "__main__"`.
        progress: show a bar.
        options: the world's own, by default as published.

    Returns:
        The dataset's folder.

    Raises:
        DatasetError: for arguments that make no dataset, and for a folder that holds another one or other files.
    """
    name = family if name is None else name
    test_scenes = max(1, scenes // 10) if test_scenes is None else test_scenes
    _check(name, scenes, test_scenes, seed, workers)
    drawn = _family(family, {option: value for option, value in options.items() if value is not None})
    folder = Path(directory) / name
    # Check that the family's libraries are there before anything is written.
    drawn.setting(np.random.default_rng(seed), np.random.default_rng(seed) if twins else None)
    description = {
        "name": name,
        "family": family,
        "pixels": drawn.size,
        "views": drawn.views,
        "tensors": drawn.tensors,
        "geometry": asdict(drawn.geometry),
        "display": drawn.covered,
        "seed": seed,
        "scenes": scenes,
        "test_scenes": test_scenes,
        "options": asdict(drawn),
    }
    # As it will be read: lists, not tuples, and no numbers of numpy's.
    description = json.loads(json.dumps(description, default=operator.methodcaller("item")))
    claim(folder, description)
    counts = {**dict(zip(SPLITS, (scenes, test_scenes), strict=True)), **({TWINS: test_scenes} if twins else {})}
    files = [file for split, count in counts.items() for file in _files(folder, drawn, seed, split, count)]
    missing = [file for file in files if not (file.path.exists() and labels_file(file.path).exists())]
    count = sum(file.stop - file.first for file in missing)
    with Progress(title=f"drawing {name}", unit="scenes", total=count, shown=progress) as bar:
        for written in _write_all(missing, workers or os.cpu_count() or 1):
            bar.update(written)
    return folder


def _check(name: str, scenes: int, test_scenes: int, seed: int, workers: int | None) -> None:
    least = {"scenes": (scenes, 1), "test_scenes": (test_scenes, 0), "seed": (seed, 0), "workers": (workers, 1)}
    for argument, (value, smallest) in least.items():
        if value is not None and value < smallest:
            raise DatasetError(f"{argument} is {value}, must be at least {smallest}")
    if name in ("", ".", "..") or Path(name).name != name:
        raise DatasetError(f"{name!r} is no name of a folder")


def _family(name: str, options: Mapping[str, Any]) -> Family:
    if name not in FAMILIES:
        raise DatasetError(f"no family of scenes {name!r}, only {', '.join(FAMILIES)}")
    try:
        return FAMILIES[name](**options)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{name}: {error}") from error


def _files(folder: Path, family: Family, seed: int, split: str, scenes: int) -> Iterator[_File]:
    count = -(-scenes // SCENES_PER_FILE)
    for number in range(count):
        first = number * SCENES_PER_FILE
        path = folder / split / record_file_name(number + 1, count)
        yield _File(path, family, seed, split, first, min(first + SCENES_PER_FILE, scenes))


def _write_all(files: list[_File], workers: int) -> Iterator[int]:
    """Write the files and yield the number of scenes of each, in order."""
    for parent in {file.path.parent for file in files}:
        parent.mkdir(exist_ok=True)
    workers = min(workers, len(files))
    if workers <= 1:
        yield from map(_write, files)
        return
    with dropped_pool(workers) as pool:
        try:
            with quiet_start():
                written = [pool.submit(_write, file) for file in files]  # by map, what is left would be cancelled twice
            yield from (future.result() for future in written)
        except BrokenProcessPool as error:
            raise DatasetError(worker_died()) from error


def _write(file: _File) -> int:
    labels: list[Labels] = []
    write_records(file.path, _records(file, labels))
    with whole_file(labels_file(file.path)) as beside:
        lines = ",\n".join(map(labels_text, labels))
        beside.write(f"[\n{lines}\n]\n".encode())
    return file.stop - file.first


def _records(file: _File, labels: list[Labels]) -> Iterator[bytes]:
    """Yield the records of a file; `labels` grows with them."""
    for index in range(file.first, file.stop):
        twin = file.split == TWINS
        random = stream(file.seed, "test" if twin else file.split, index)
        scene = file.family.scene(random, stream(file.seed, TWINS, index) if twin else None)
        labels.append(scene.labels)
        yield encode_scene(*recorded(file.family, scene), scene.tensors)


def recorded(family: Family, scene: Scene) -> tuple[list[bytes], NDArray[np.float32]]:
    """Return the JPEGs of a scene's frames, and its cameras (views, 5), as they are recorded."""
    # As DeepMind's of that name are, and turned again where they are read.
    cameras = turned(torch.from_numpy(scene.cameras), family.geometry.yaw_sign).numpy()
    return [encode_jpeg(frame) for frame in scene.frames], cameras


def labels_text(labels: Labels) -> str:
    """Return the ground truth of a scene as JSON."""
    return json.dumps(labels, default=lambda value: value.tolist())


def stream(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the generator that draws scene `index` of a split; of TWINS, what the twin of a test scene holds."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=((*SPLITS, TWINS).index(split), index)))
