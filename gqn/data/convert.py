"""Conversion of TFRecords to torch shards: each record file gets shards of its own, and an index lists whole ones.

DATA_DIR/DATASET/{train,test}/001-of-900.tfrecord   ->   DATA_DIR/DATASET/torch/{train,test}/001-of-900.0000.pt, ...
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from typing import Any

from gqn.core.checked import checked
from gqn.core.files import given_name, whole_file
from gqn.core.progress import Progress, note
from gqn.data.dataset import (
    FORMAT,
    SPLITS,
    TWINS,
    DatasetError,
    DatasetInfo,
    Index,
    RecordFile,
    dataset_info,
    how_to_fetch,
)
from gqn.data.fetch import Fetch, Remote, Store
from gqn.data.plan import Split, claimed, indices, merge, plan, write_conversion
from gqn.data.shards import Job, check_stems, convert_file, verify_file
from gqn.data.tfrecord import Damage
from gqn.data.workers import quiet_start, worker_died, worker_pool

INDEX_INTERVAL = 5.0  # seconds; the index of a large dataset is megabytes, too much to write after every file
TABLE_LINES = 20  # of damages
RECORDS = re.compile(r"\.tfrecords?(\.gz)?$")  # in the names of what are record files, whatever else they are called


@dataclass
class Report:
    """Report of a conversion: files, scenes and damages. `str` is one line; `table` has a line for each damage."""

    name: str
    scenes: int = 0
    shards: int = 0
    files: int = 0
    files_done_before: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # lines on what is odd, but no error
    damages: list[tuple[Path, Damage]] = field(default_factory=list)  # of all files that this run looked after
    details: Path = Path("conversion.json")

    def add(self, file: RecordFile, source: Path) -> None:
        self.files += 1
        self.scenes += file.records
        self.shards += len(file.shards)
        if not (file.records or file.damages):
            self.notes.append(f"{source}: {file.bytes} bytes, no records")

    def table(self) -> str:
        """Lines of file, byte offset, number of bytes and cause for each damage; empty where nothing is damaged."""
        if not self.damages:
            return ""
        rows = [(str(path), str(d.offset), str(d.bytes), d.cause) for path, d in self.damages[:TABLE_LINES]]
        rows.insert(0, ("file", "at byte", "bytes", "cause"))
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"  {a:{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}  {d}" for a, b, c, d in rows]
        if len(self.damages) > TABLE_LINES:
            lines.append(f"  and {len(self.damages) - TABLE_LINES} more")
        return "\n".join([f"{self.name}: damaged: {len(self.damages)}, all of them in {self.details}:", *lines])

    def __str__(self) -> str:
        rate = self.scenes / self.seconds if self.seconds else 0.0
        return (
            f"{self.name}: {self.scenes} scenes in {self.shards} shards, {self.seconds:.1f} s, {rate:.0f} scenes/s "
            f"(record files: {self.files} converted, {self.files_done_before} done before)"
        )


class DamagedRecords(DatasetError):
    """Damaged records were found, and all sound ones are converted; the message is the report's table."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.table())
        self.report = report


@checked
def convert(
    directory: str | os.PathLike[str],
    batch: int,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    splits: Sequence[str] = (*SPLITS, TWINS),
    share: tuple[int, int] = (1, 1),
    allow_damaged: bool = False,
    fetch: Fetch | None = None,
) -> Report:
    """Convert the record files of a dataset that are not converted yet to shards.

    A record file is converted again when its size or the batch changed, a shard is missing or it was damaged; one that
    is gone since keeps its shards. A damaged record costs itself alone: conversion.json lists file, byte and cause.

    Args:
        directory: the dataset's folder, DATA_DIR/DATASET.
        batch: most scenes of a shard.
        output: the shards go to output/DATASET/torch instead of DATA_DIR/DATASET/torch.
        workers: processes, by default as many as there are cores; each holds one shard at a time. More than one are
            spawned, so a script calls this under `if __name__ == "__main__"`.
        progress: show a bar.
        splits: which to convert.
        share: (i, n) does the i-th of n parts of the record files, i from 1, for n runs beside each other; the last to
            finish writes the index.
        allow_damaged: do not raise for damaged records.
        fetch: get the record files first, those that are not converted, and convert each as soon as it is whole.

    Returns:
        A report of files, scenes and damages.

    Raises:
        DamagedRecords: at the end, where there were some.
        DatasetError: where the record files are missing or another run is at work.
        OSError: as of a full disk. Shards that were written before stay, and nothing is half-written.
    """
    began = time.monotonic()
    if batch < 1:
        raise DatasetError(f"a shard of {batch} scenes: must be 1 or more")
    if not 1 <= share[0] <= share[1]:
        raise DatasetError(f"part {share[0]} of {share[1]}: must be from 1 to {share[1]}")
    directory = Path(directory)
    store = Store(fetch.source, given_name(directory)) if fetch else None
    if store:
        store.fetch_description(directory)
    info = dataset_info(directory)
    place = (Path(output) / given_name(directory) if output is not None else directory) / "torch"
    report = Report(info.name, details=place / "conversion.json")
    found: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    remote: dict[Path, Remote] = {}
    for split in splits:
        sizes = _record_files(directory / split, info, report.notes)
        if fetch and store and split in SPLITS:
            there = store.record_files(split, fetch.files, info)
            sizes = dict(sorted({**sizes, **{name: file.size for name, file in there.items()}}.items()))
            remote |= {directory / split / name: file for name, file in there.items()}
        if sizes or indices(place / split):
            found[split] = sizes
        elif split in SPLITS:
            where = f"{store.address}/{split}" if store else directory / split
            missing.append(f"{info.name}: no record files in {where}")
    if store and not remote:
        raise DatasetError(f"{store.address}: no record files there: check --source and the dataset's name")
    report.notes += _other_folders(directory)
    if not found:
        raise DatasetError("\n".join([how_to_fetch(info.name, directory), *report.notes]))
    report.notes += missing
    known: dict[str, Any] = {"tensors": info.further, "geometry": info.geometry, "display": info.display}
    fresh = Index(info.name, info.pixels, info.views, batch, files=(), format=FORMAT, **known)
    with claimed(place, share) as locks:
        work = [
            plan(directory / split, place / split, sizes, fresh, share, report.notes) for split, sizes in found.items()
        ]
        report.files_done_before = sum(len(split.index.files) for split in work)
        jobs = [
            (split, Job(split.source / name, split.sizes[name], split.folder, info, batch))
            for split in work
            for name in split.todo
        ]
        loads = None
        if fetch and store:
            wanted = {job.source: remote[job.source] for _, job in jobs if job.source in remote}
            loads = _Loads(store, fetch, wanted)
            loads.check_room(directory, place, [job.size for _, job in jobs], tell=progress)
        _convert_all(work, jobs, loads, locks, workers or os.cpu_count() or 1, progress, report)
        if output is not None:
            _take_along(directory, place.parent, [*found])
        merged = [merge(split, fresh) for split in work]
        if all(merged):
            write_conversion(place)
        else:
            report.notes.append(f"{info.name}: the index is written when the other parts of {share[1]} are done")
    report.seconds = time.monotonic() - began
    if report.damages and not allow_damaged:
        raise DamagedRecords(report)
    return report


def _record_files(folder: Path, info: DatasetInfo, notes: list[str]) -> dict[str, int]:
    """Return names and bytes of the record files in `folder`, in order; `notes` gets a line on those of other names."""
    if not folder.is_dir():
        return {}
    there = sorted(file.name for file in folder.iterdir() if file.is_file())
    names = [name for name in there if info.is_record_file(name)]
    if left := [name for name in there if RECORDS.search(name) and name not in names]:
        wanted = info.record_files or "001-of-900.tfrecord"
        notes.append(
            f"{folder}: {len(left)} files ignored, such as {left[0]}, for their names: {wanted} is wanted; "
            'a dataset.json may say "record_files": "*.tfrecord"'
        )
    check_stems(folder, names)
    return {name: (folder / name).stat().st_size for name in names}


def _other_folders(directory: Path) -> list[str]:
    """Return a line for each folder beside train/ and test/ that holds record files."""
    if not directory.is_dir():
        return []
    others = [
        folder
        for folder in sorted(directory.iterdir())
        if folder.is_dir() and folder.name not in (*SPLITS, TWINS, "torch")
    ]
    counts = {folder: sum(bool(RECORDS.search(file.name)) for file in folder.iterdir()) for folder in others}
    return [
        f"{folder}: {count} record files ignored: only train/, test/ and twins/ are converted; rename it, or move "
        "them there"
        for folder, count in counts.items()
        if count
    ]


def _take_along(source: Path, target: Path, splits: Sequence[str]) -> None:
    """Copy a dataset's description and its labels to the folder of its shards."""
    files = [
        source / "dataset.json",
        *(file for split in splits for file in sorted(source.glob(f"{split}/*.labels.json"))),
    ]
    for file in files:
        there = target / file.relative_to(source)
        if file.is_file() and not (there.exists() and there.read_bytes() == file.read_bytes()):
            there.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(there) as copy:
                copy.write(file.read_bytes())


@dataclass(frozen=True)
class _Loads:
    """Downloads: record files that are fetched and converted one by one."""

    store: Store
    fetch: Fetch
    remote: Mapping[Path, Remote]

    def check_room(self, records: Path, shards: Path, sizes: list[int], *, tell: bool) -> None:
        """Raise DatasetError where the disks have no room for the downloads and their shards."""
        missing = [file.size - _bytes(path) for path, file in self.remote.items()]
        kept = sorted(missing)[-self.fetch.at_once :] if self.fetch.delete_records else missing
        # Shards hold the same JPEGs, and no more than that.
        need = {records: sum(kept), shards: sum(sizes)}
        together = os.stat(records).st_dev == os.stat(shards).st_dev
        needs = {shards: sum(need.values())} if together else need
        if tell:
            note(
                f"{self.store.address}: {len(self.remote)} files, {sum(missing) / 1e9:.2f} GB to fetch; "
                + ", ".join(f"{n / 1e9:.2f} GB needed of {disk_usage(p).free / 1e9:.2f} free" for p, n in needs.items())
            )
        for path, bytes_needed in needs.items():
            if bytes_needed > (free := disk_usage(path).free):
                raise DatasetError(
                    f"{path}: {bytes_needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free: "
                    "take fewer --files, --delete-records, or another disk"
                )

    def convert(self, job: Job, pool: Executor) -> RecordFile:
        """Fetch a record file if the store has it, convert it, and verify its shards if the file is to be removed."""
        if job.source not in self.remote:
            return pool.submit(convert_file, job).result()
        self.store.fetch(self.remote[job.source], job.source)
        file = pool.submit(convert_file, job).result()
        if self.fetch.delete_records:
            pool.submit(verify_file, job, file).result()
        return file

    def remove(self, job: Job, file: RecordFile) -> None:
        """Remove a converted record file if the user asked for that; a damaged one stays."""
        if self.fetch.delete_records and job.source in self.remote and not file.damages:
            job.source.unlink(missing_ok=True)


def _bytes(path: Path) -> int:
    """Return the bytes on the disk of a record file, or of its partial download; 0 where there is neither."""
    for file in (path, Path(f"{path}.partial")):
        if file.is_file():
            return file.stat().st_size
    return 0


def _convert_all(
    work: list[Split],
    jobs: list[tuple[Split, Job]],
    loads: _Loads | None,
    locks: list[int],
    workers: int,
    progress: bool,
    report: Report,
) -> None:
    began = written = time.monotonic()
    total = sum(job.size for _, job in jobs)
    bar = Progress(title=report.name, unit="B", unit_scale=True, total=total, shown=progress)
    workers = min(workers, len(jobs))
    pool: Executor = worker_pool(workers, locks) if workers > 1 else ThreadPoolExecutor(1)
    # With downloads, a thread looks after each record file from the store to its shards.
    front: Executor = ThreadPoolExecutor(loads.fetch.at_once) if loads else pool
    with bar, pool, front:
        futures: dict[Future[RecordFile], tuple[Split, Job]] = {}
        try:
            with quiet_start():
                for split, job in jobs:
                    run = front.submit(loads.convert, job, pool) if loads else pool.submit(convert_file, job)
                    futures[run] = split, job
            for future in as_completed(futures):
                job = futures[future][1]
                report.add(future.result(), job.source)
                rate = report.scenes / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:.0f} scenes/s, {len(jobs) - report.files} files left", refresh=False)
                bar.update(job.size)
                if time.monotonic() - written > INDEX_INTERVAL:
                    _note_done(work, futures, loads)
                    written = time.monotonic()
        except BrokenProcessPool as error:
            raise DatasetError(f"{report.name}: {worker_died()}") from error
        finally:
            # After an error or Ctrl-C too: the files under way are finished, and those that succeeded are noted.
            if loads:
                loads.store.stop.set()
            front.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)
            for split, index in zip(work, _note_done(work, futures, loads), strict=True):
                damaged = ((split.source / file.name, damage) for file in index.files for damage in file.damages)
                report.damages += sorted(damaged, key=lambda found: (found[0], found[1].offset))


def _note_done(
    work: list[Split], futures: Mapping[Future[RecordFile], tuple[Split, Job]], loads: _Loads | None
) -> list[Index]:
    """Write each split's index with what was done before and by the futures that have succeeded."""
    done = [(*by, f.result()) for f, by in futures.items() if f.done() and not f.cancelled() and not f.exception()]
    indices = [split.note([file for owner, _, file in done if owner is split]) for split in work]
    if loads:
        for _, job, file in done:
            loads.remove(job, file)
    return indices
