"""From TFRecords to torch shards: each record file becomes shards of its own, and an index says which are whole.

DATA_DIR/DATASET/{train,test}/001-of-900.tfrecord   ->   DATA_DIR/DATASET/torch/{train,test}/001-of-900.0000.pt, ...
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from gqn.data.dataset import (
    CAMERA_RECORDED,
    SPLITS,
    DatasetError,
    DatasetInfo,
    Index,
    RecordFile,
    Shard,
    dataset_info,
    how_to_fetch,
    read_index,
)
from gqn.data.tfrecord import RecordError, decode_scene, read_records
from gqn.data.workers import worker_pool
from gqn.files import whole_file

RECORD_FILE = re.compile(r"\d+-of-\d+\.tfrecord(\.gz)?")
SHARD_FILE = re.compile(r"\d+-of-\d+\.\d{4,}\.pt(\.partial)?|index\.json\.partial")
INDEX_INTERVAL = 5.0  # seconds; the index of a large dataset is megabytes, too much to write after every file


@dataclass
class Report:
    """What a conversion did; `str` of it is one line."""

    name: str
    scenes: int = 0
    shards: int = 0
    files: int = 0
    files_done_before: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # lines on what is odd, but no error

    def add(self, file: RecordFile, source: Path) -> None:
        self.files += 1
        self.scenes += file.records
        self.shards += len(file.shards)
        if not file.records:
            self.notes.append(f"{source}: {file.bytes} bytes, no records")

    def __str__(self) -> str:
        rate = self.scenes / self.seconds if self.seconds else 0.0
        return (
            f"{self.name}: {self.scenes} scenes in {self.shards} shards, {self.seconds:.1f} s, {rate:.0f} scenes/s "
            f"(record files: {self.files} converted, {self.files_done_before} done before)"
        )


@dataclass(frozen=True)
class _Job:
    source: Path
    size: int
    folder: Path  # of the shards
    info: DatasetInfo
    batch: int


def convert(
    directory: str | os.PathLike[str],
    batch: int,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    splits: Sequence[str] = SPLITS,
) -> Report:
    """Convert the TFRecords of the dataset in `directory` to shards of at most `batch` scenes, as far as they are not.

    directory: DATA_DIR/DATASET. output: the shards go to output/DATASET/torch instead of DATA_DIR/DATASET/torch.
    workers: processes, by default as many as there are cores; each holds one shard at a time. More than one are
    spawned, so a script calls this under `if __name__ == "__main__"`.
    A record file is converted again when its size or the batch changed or a shard is missing; one that is gone since
    keeps its shards. Raises DatasetError, naming dataset, file and record, where the TFRecords are missing or wrong;
    what was converted before that stays, and nothing is half-written.
    """
    began = time.monotonic()
    if batch < 1:
        raise ValueError(f"a shard of {batch} scenes")
    directory = Path(directory)
    info = dataset_info(directory)
    place = Path(output) / directory.resolve().name if output is not None else directory
    report = Report(info.name)
    jobs: list[_Job] = []
    indices: dict[Path, Index] = {}
    for split in splits:
        sizes, folder = _record_files(directory / split), place / "torch" / split
        if not sizes and not (folder / "index.json").exists():
            report.notes.append(f"{info.name}: no record files in {directory / split}")
            continue
        indices[folder] = _still_valid(folder, info, batch, sizes, report)
        done = {file.name for file in indices[folder].files}
        report.files_done_before += len(done)
        todo = ((name, size) for name, size in sizes.items() if name not in done)
        jobs += [_Job(directory / split / name, size, folder, info, batch) for name, size in todo]
    if not indices:
        raise DatasetError(how_to_fetch(info.name, directory))
    for folder, index in indices.items():
        folder.mkdir(parents=True, exist_ok=True)
        # First the index without what is to be done anew, so that it never lists a shard that has changed or gone.
        _write_index(folder, index)
        listed = {shard.name for file in index.files for shard in file.shards}
        for file in folder.iterdir():
            if SHARD_FILE.fullmatch(file.name) and file.name not in listed:
                file.unlink()
    if jobs:
        _convert_all(jobs, indices, workers or os.cpu_count() or 1, progress, report)
    report.seconds = time.monotonic() - began
    return report


def _record_files(folder: Path) -> dict[str, int]:
    """Names and bytes of the record files in `folder`, in order; whatever else lies there is none of ours."""
    if not folder.is_dir():
        return {}
    files = sorted(file for file in folder.iterdir() if RECORD_FILE.fullmatch(file.name) and file.is_file())
    for first, second in pairwise(files):
        if _stem(first.name) == _stem(second.name):
            raise DatasetError(f"{folder}: both {first.name} and {second.name} are there: remove one of them")
    return {file.name: file.stat().st_size for file in files}


def _stem(name: str) -> str:
    return name.partition(".")[0]  # 001-of-900


def _still_valid(folder: Path, info: DatasetInfo, batch: int, sizes: Mapping[str, int], report: Report) -> Index:
    """The index of what need not be converted again; `sizes` are the bytes of the record files by name."""
    fresh = Index(info.name, info.pixels, info.views, batch, files=())
    path = folder / "index.json"
    try:
        old = read_index(path)
    except FileNotFoundError:
        return fresh
    stems = {_stem(name) for name in sizes}
    counts = {stem.rpartition("-")[2] for stem in stems}
    # Files of another count, say 1-of-2 after 1-of-1, are another set of scenes and not the rest of this one.
    gone = {
        file.name
        for file in old.files
        if _stem(file.name) not in stems and (not counts or _stem(file.name).rpartition("-")[2] in counts)
    }
    if replace(old, files=()) != fresh:
        if gone:
            raise DatasetError(
                f"{path}: {old.dataset} in shards of {old.batch}, and record files gone since: {len(gone)} "
                f"(such as {min(gone)}): bring them back, or remove {folder} to start afresh"
            )
        return fresh
    if gone:
        report.notes.append(f"{folder}: record files gone since: {len(gone)} (such as {min(gone)}); their shards stay")
    same = (file for file in old.files if file.name in gone or sizes.get(file.name) == file.bytes)
    return replace(fresh, files=tuple(file for file in same if all(_whole(folder, shard) for shard in file.shards)))


def _whole(folder: Path, shard: Shard) -> bool:
    file = folder / shard.name
    return file.is_file() and file.stat().st_size == shard.bytes


def _write_index(folder: Path, index: Index) -> None:
    with whole_file(folder / "index.json") as file:
        file.write(replace(index, files=tuple(sorted(index.files, key=lambda file: file.name))).json())


def _convert_all(jobs: list[_Job], indices: dict[Path, Index], workers: int, progress: bool, report: Report) -> None:
    began = written = time.monotonic()
    bar = tqdm(total=sum(job.size for job in jobs), unit="B", unit_scale=True, disable=not progress, desc=report.name)
    workers = min(workers, len(jobs))
    executor: Executor = worker_pool(workers) if workers > 1 else ThreadPoolExecutor(1)
    with bar, executor:
        futures = {executor.submit(_convert_file, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                report.add(future.result(), futures[future].source)
                rate = report.scenes / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:.0f} scenes/s, {len(jobs) - report.files} files left", refresh=False)
                bar.update(futures[future].size)
                if time.monotonic() - written > INDEX_INTERVAL:
                    _note_done(futures, indices)
                    written = time.monotonic()
        except BrokenProcessPool as error:
            raise DatasetError(
                f"{report.name}: a worker died, perhaps for want of memory: try fewer workers"
            ) from error
        finally:
            # After an error or Ctrl-C too: the files under way are finished, and those that succeeded are noted.
            executor.shutdown(cancel_futures=True)
            _note_done(futures, indices)


def _note_done(futures: dict[Future[RecordFile], _Job], indices: dict[Path, Index]) -> None:
    """Write each split's index with what was done before and by the futures that have succeeded."""
    done = [(job, future) for future, job in futures.items() if future.done() and not future.cancelled()]
    for folder, index in indices.items():
        new = [future.result() for job, future in done if job.folder == folder and not future.exception()]
        _write_index(folder, replace(index, files=(*index.files, *new)))


def _convert_file(job: _Job) -> RecordFile:
    """Convert one record file; where that fails, its shards are removed again."""
    shards: list[Shard] = []
    records = 0
    try:
        for frames, cameras in _batches(job):
            path = job.folder / f"{_stem(job.source.name)}.{len(shards):04d}.pt"
            with whole_file(path) as file:
                _save(frames, cameras, file)
            shards.append(Shard(path.name, path.stat().st_size, records, len(frames)))
            records += len(frames)
    except BaseException as error:
        for shard in shards:
            (job.folder / shard.name).unlink(missing_ok=True)
        if isinstance(error, RecordError):
            raise DatasetError(f"{job.info.name}: {error}") from error
        raise
    return RecordFile(job.source.name, job.size, records, tuple(shards))


def _save(frames: NDArray[np.uint8], cameras: NDArray[np.float32], file: IO[bytes]) -> None:
    try:
        torch.save({"frames": torch.from_numpy(frames), "cameras": torch.from_numpy(cameras)}, file)
    except RuntimeError as error:
        # torch puts an error of its own over the system's, such as that of a full disk.
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def _batches(job: _Job) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Frames and cameras of up to `batch` scenes at a time, in arrays that the next ones overwrite."""
    views, pixels = job.info.views, job.info.pixels
    try:
        frames = np.empty((job.batch, views, 3, pixels, pixels), np.uint8)
    except (MemoryError, ValueError) as error:  # numpy's ValueError: more than an address can hold
        raise DatasetError(f"{job.info.name}: no memory for {job.batch} scenes: take a smaller batch") from error
    cameras = np.empty((job.batch, views, CAMERA_RECORDED), np.float32)
    count = 0
    for number, record in enumerate(read_records(job.source)):
        try:
            decode_scene(record, frames[count], cameras[count])
        except RecordError as error:
            raise RecordError(f"{job.source}: record {number} (from 0): {error}") from error
        count += 1
        if count == job.batch:
            yield frames, cameras
            count = 0
    if count:
        yield frames[:count], cameras[:count]
