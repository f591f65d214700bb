"""Conversion of one record file to its shards, as a worker does it without knowing the other files."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.core.files import save_tensors
from gqn.data.dataset import DatasetError, DatasetInfo, RecordFile, Shard
from gqn.data.tfrecord import Damage, Record, RecordError, decode_example, decode_scene, scan_records

MOST_BYTES = 2**24  # of a shard, so that memory stays flat whatever the batch
REFUSED = 100  # sound records in a row that are no scenes, from the first: another dataset, not a damaged one


@dataclass(frozen=True)
class Job:
    """A record file to convert."""

    source: Path
    size: int  # bytes
    folder: Path  # of the shards
    info: DatasetInfo
    batch: int  # most scenes of a shard


def stem(name: str) -> str:
    """Return 001-of-900 for 001-of-900.tfrecord.gz and 001-of-900.0007.pt."""
    return name.partition(".")[0]


def check_stems(place: object, names: Iterable[str]) -> None:
    """Raise DatasetError where two record files would become shards of one name; place: where they lie."""
    first: dict[str, str] = {}
    for name in names:
        if stem(name) in first:
            raise DatasetError(f"{place}: both {first[stem(name)]} and {name} are there: remove one of them")
        first[stem(name)] = name


@dataclass
class _Scenes:
    """Scenes that become a shard."""

    jpegs: bytearray = field(default_factory=bytearray)
    offsets: list[int] = field(default_factory=lambda: [0])
    tensors: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)

    def add(self, jpegs: list[bytes], tensors: dict[str, NDArray[np.float32]]) -> None:
        for jpeg in jpegs:
            self.jpegs += jpeg
            self.offsets.append(len(self.jpegs))
        self.tensors.append(tensors)

    def shard(self) -> dict[str, Tensor]:
        named = {name: torch.from_numpy(np.stack([t[name] for t in self.tensors])) for name in self.tensors[0]}
        return {
            "jpegs": torch.frombuffer(self.jpegs, dtype=torch.uint8),
            "offsets": torch.tensor(self.offsets),
            **named,
        }


def convert_file(job: Job) -> RecordFile:
    """Convert one record file and return its entry for the index, damages included.

    Where that fails, its shards are removed. Raises DatasetError where the file is of another dataset, and OSError.
    """
    shards: list[Shard] = []
    damages: list[Damage] = []
    records = 0
    try:
        for scenes in _batches(job, damages):
            path = job.folder / f"{stem(job.source.name)}.{len(shards):04d}.pt"
            save_tensors(path, scenes.shard())
            shards.append(Shard(path.name, path.stat().st_size, records, len(scenes.tensors)))
            records += len(scenes.tensors)
    except BaseException:
        for shard in shards:
            (job.folder / shard.name).unlink(missing_ok=True)
        raise
    return RecordFile(job.source.name, job.size, records, tuple(shards), tuple(damages))


def _batches(job: Job, damages: list[Damage]) -> Iterator[_Scenes]:
    """Yield the scenes of each shard; what is damaged goes to `damages`."""
    frame = np.empty((job.info.pixels, job.info.pixels, 3), np.uint8)
    scenes, records, refused = _Scenes(), 0, 0
    for found in scan_records(job.source):
        if isinstance(found, Damage):
            damages.append(found)
            continue
        try:
            scenes.add(*decode_scene(found.data, frame, job.info.tensors))
        except RecordError as error:
            damages.append(Damage(found.offset, found.size, str(error)))
            refused += 1
            if not records and refused == REFUSED:
                raise DatasetError(
                    f"{job.info.name}: {job.source}: its first {REFUSED} records are sound, but no scenes of this "
                    f"dataset ({error}): is its folder's name right?"
                ) from error
            continue
        records += 1
        if len(scenes.tensors) == job.batch or len(scenes.jpegs) > MOST_BYTES:
            yield scenes
            scenes = _Scenes()
    if scenes.tensors:
        yield scenes


def verify_file(job: Job, file: RecordFile) -> None:
    """Check that the shards on the disk hold every sound scene of a record file, byte for byte.

    Raises DatasetError.
    """
    lost = {damage.offset for damage in file.damages}
    sound = (r for r in scan_records(job.source) if isinstance(r, Record) and r.offset not in lost)
    for shard in file.shards:
        path = job.folder / shard.name
        with path.open("rb") as on_disk:
            os.fsync(on_disk.fileno())
        tensors = torch.load(path, mmap=True, weights_only=True)
        scenes = _Scenes()
        for record in islice(sound, shard.count):
            features = decode_example(record.data)
            named = {n: np.array(features[n], np.float32).reshape(s) for n, s in job.info.tensors.items()}
            scenes.add(list(features["frames"]), named)
        expected = scenes.shard()
        if expected.keys() != tensors.keys() or not all(torch.equal(expected[n], tensors[n]) for n in expected):
            raise DatasetError(f"{path}: does not hold what {job.source} does: remove it and run again")
    if next(sound, None):
        raise DatasetError(f"{job.folder}: the shards of {job.source} do not hold all of it: run again")
