"""From TFRecords to torch shards: each record file becomes shards of its own, and an index says which are whole.

DATA_DIR/DATASET/{train,test}/001-of-900.tfrecord   ->   DATA_DIR/DATASET/torch/{train,test}/001-of-900.0000.pt, ...
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from gqn.data.dataset import (
    FORMAT,
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
from gqn.data.shards import Job, convert_file, stem
from gqn.data.tfrecord import Damage
from gqn.data.workers import quiet_start, worker_pool
from gqn.files import locked, whole_file, write_json

RECORD_FILE = re.compile(r"\d+-of-\d+\.tfrecord(\.gz)?")
SHARD_FILE = re.compile(r"\d+-of-\d+\.\d{4,}\.pt(\.partial)?")
PART_FILE = re.compile(r"index\.\d+-of-\d+\.json")  # of a run that shares the work with others
INDEX_INTERVAL = 5.0  # seconds; the index of a large dataset is megabytes, too much to write after every file
PATIENCE = 10.0  # seconds for the workers of a killed run to leave
TABLE_LINES = 20  # of damages


@dataclass
class Report:
    """What a conversion did and what is damaged; `str` of it is one line, `table` has a line for each damage."""

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
        """File, byte offset, bytes and cause of what is damaged; empty where nothing is."""
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
    """Everything sound is converted, but not everything was sound; the message is the report's table."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.table())
        self.report = report


@dataclass
class _Split:
    """One split's record files, and which of them are converted."""

    source: Path
    folder: Path  # of the shards
    sizes: dict[str, int]  # bytes of all its record files, by name
    todo: list[str]  # names of those that this run converts
    index: Index  # of those that this run looks after and that are done
    path: Path  # of that index

    def note(self, done: Sequence[RecordFile]) -> Index:
        """Write the index with what was done before and `done`."""
        index = replace(self.index, files=(*self.index.files, *done))
        _write_index(self.path, index)
        return index


def convert(
    directory: str | os.PathLike[str],
    batch: int,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    splits: Sequence[str] = SPLITS,
    share: tuple[int, int] = (1, 1),
    allow_damaged: bool = False,
) -> Report:
    """Convert the TFRecords of the dataset in `directory` to shards of at most `batch` scenes, as far as they are not.

    directory: DATA_DIR/DATASET. output: the shards go to output/DATASET/torch instead of DATA_DIR/DATASET/torch.
    workers: processes, by default as many as there are cores; each holds one shard at a time. More than one are
    spawned, so a script calls this under `if __name__ == "__main__"`. share: (i, n) does the i-th of n parts of the
    record files, i from 1, for n runs beside each other; the last to finish writes the index.
    A record file is converted again when its size or the batch changed, a shard is missing or it was damaged; one that
    is gone since keeps its shards. A damaged record costs itself alone: conversion.json lists file, byte and cause.
    Raises DamagedRecords at the end where there were some, unless allow_damaged; DatasetError where the TFRecords are
    missing or another run is at work; OSError. What was converted before that stays, and nothing is half-written.
    """
    began = time.monotonic()
    if batch < 1:
        raise ValueError(f"a shard of {batch} scenes")
    if not 1 <= share[0] <= share[1]:
        raise DatasetError(f"part {share[0]} of {share[1]}: must be from 1 to {share[1]}")
    directory = Path(directory)
    info = dataset_info(directory)
    place = (Path(output) / directory.resolve().name if output is not None else directory) / "torch"
    report = Report(info.name, details=place / "conversion.json")
    found: dict[str, dict[str, int]] = {}
    for split in splits:
        sizes = _record_files(directory / split)
        if sizes or _indices(place / split):
            found[split] = sizes
        else:
            report.notes.append(f"{info.name}: no record files in {directory / split}")
    if not found:
        raise DatasetError(how_to_fetch(info.name, directory))
    fresh = Index(info.name, info.pixels, info.views, batch, files=(), format=FORMAT)
    with _claimed(place, share) as locks:
        work = [_split(directory / split, place / split, sizes, fresh, share, report) for split, sizes in found.items()]
        report.files_done_before = sum(len(split.index.files) for split in work)
        _convert_all(work, info, batch, locks, workers or os.cpu_count() or 1, progress, report)
        merged = [_merge(split, fresh) for split in work]
        if all(merged):
            _write_conversion(place)
        else:
            report.notes.append(f"{info.name}: the index is written when the other parts of {share[1]} are done")
    report.seconds = time.monotonic() - began
    if report.damages and not allow_damaged:
        raise DamagedRecords(report)
    return report


def _record_files(folder: Path) -> dict[str, int]:
    """Names and bytes of the record files in `folder`, in order; whatever else lies there is none of ours."""
    if not folder.is_dir():
        return {}
    files = sorted(file for file in folder.iterdir() if RECORD_FILE.fullmatch(file.name) and file.is_file())
    for first, second in pairwise(files):
        if stem(first.name) == stem(second.name):
            raise DatasetError(f"{folder}: both {first.name} and {second.name} are there: remove one of them")
    return {file.name: file.stat().st_size for file in files}


@contextmanager
def _claimed(place: Path, share: tuple[int, int]) -> Iterator[list[int]]:
    """The folder of the shards for this run alone, or for the parts of a shared run together; yields what locks it.

    The workers hold the locks too, so that none of a killed run writes beside the next.
    """
    place.mkdir(parents=True, exist_ok=True)
    alone = share == (1, 1)
    with ExitStack() as stack:
        try:
            locks = [stack.enter_context(locked(place / ".lock", shared=not alone, patience=PATIENCE))]
            if not alone:
                path = place / f".lock-{share[0]}-of-{share[1]}"
                locks.append(stack.enter_context(locked(path, patience=PATIENCE)))
        except BlockingIOError:
            raise DatasetError(f"{place}: another run is converting to it: wait until it ends") from None
        yield locks


def _split(
    source: Path, folder: Path, sizes: dict[str, int], fresh: Index, share: tuple[int, int], report: Report
) -> _Split:
    """What is to be done of a split by this run; shards of what it does anew, or of no record file, are removed."""
    folder.mkdir(exist_ok=True)
    part, parts = share
    mine = list(sizes)[part - 1 :: parts]
    stems = {stem(name) for name in mine}
    known = _known(folder, fresh, sizes, report)
    valid = {name: file for name, file in known.items() if _valid(folder, file, sizes)}
    todo = [name for name in mine if name not in valid]
    if parts == 1:
        path, index = folder / "index.json", replace(fresh, files=tuple(valid.values()))
    else:
        path = folder / f"index.{part}-of-{parts}.json"
        index = replace(fresh, files=tuple(valid[name] for name in mine if name in valid))
        _forget(folder / "index.json", todo, fresh)
    split = _Split(source, folder, sizes, todo, index, path)
    # First the index without what is to be done anew, so that it never lists a shard that has changed or gone.
    split.note([])
    listed = {shard.name for file in valid.values() for shard in file.shards}
    for file in folder.iterdir():
        if SHARD_FILE.fullmatch(file.name) and file.name not in listed and (parts == 1 or stem(file.name) in stems):
            file.unlink()
    return split


def _indices(folder: Path) -> list[Path]:
    """The parts of a folder's index, and the index itself; newest last."""
    parts = sorted(file for file in folder.iterdir() if PART_FILE.fullmatch(file.name)) if folder.is_dir() else []
    return [path for path in (folder / "index.json", *parts) if path.exists()]


def _known(folder: Path, fresh: Index, sizes: Mapping[str, int], report: Report) -> dict[str, RecordFile]:
    """Converted record files by name, of indices that are of the same dataset, batch and format as `fresh`."""
    stems = {stem(name) for name in sizes}
    counts = {name.rpartition("-")[2] for name in stems}
    known: dict[str, RecordFile] = {}
    for path in _indices(folder):
        old = read_index(path)
        # Files of another count, say 1-of-2 after 1-of-1, are another set of scenes and not the rest of this one.
        files = [
            f for f in old.files if stem(f.name) in stems or not counts or stem(f.name).rpartition("-")[2] in counts
        ]
        gone = [file.name for file in files if stem(file.name) not in stems]
        if replace(old, files=()) == fresh:
            known |= {file.name: file for file in files}
        elif gone:
            raise DatasetError(
                f"{path}: {old.dataset} in shards of {old.batch} (format {old.format}), and record files gone since: "
                f"{len(gone)} (such as {min(gone)}): bring them back, or remove {folder} to start afresh"
            )
    if gone := [name for name in known if stem(name) not in stems]:
        report.notes.append(f"{folder}: record files gone since: {len(gone)} (such as {min(gone)}); their shards stay")
    return known


def _valid(folder: Path, file: RecordFile, sizes: Mapping[str, int]) -> bool:
    """Whether a converted record file need not be converted again."""
    here = sizes.get(file.name)
    gone = stem(file.name) not in {stem(name) for name in sizes}
    # A damaged file may have been replaced by a sound one of the same size.
    return (gone or (here == file.bytes and not file.damages)) and all(_whole(folder, shard) for shard in file.shards)


def _whole(folder: Path, shard: Shard) -> bool:
    file = folder / shard.name
    return file.is_file() and file.stat().st_size == shard.bytes


def _forget(path: Path, names: Sequence[str], fresh: Index) -> None:
    """Take record files out of the index that a shared run will replace, where there is one."""
    if path.exists():
        old = read_index(path)
        files = tuple(file for file in old.files if file.name not in names)
        _write_index(path, replace(fresh, files=files if replace(old, files=()) == fresh else ()))


def _merge(split: _Split, fresh: Index) -> bool:
    """Make one index of its parts where all record files are in them; false where other runs' parts are missing."""
    path = split.folder / "index.json"
    parts = [part for part in _indices(split.folder) if part != path]
    if split.path != path:
        known: dict[str, RecordFile] = {}
        for index in [*parts, path]:  # the whole index last: another part may just have made it, and removed the parts
            with suppress(FileNotFoundError):
                read = read_index(index)
                files = read.files if replace(read, files=()) == fresh else ()
                known = {file.name: file for file in files} | known
        if not split.sizes.keys() <= known.keys():
            return False
        _write_index(path, replace(fresh, files=tuple(known.values())))
    for part in parts:
        part.unlink(missing_ok=True)
    return True


def _write_index(path: Path, index: Index) -> None:
    with whole_file(path) as file:
        file.write(replace(index, files=tuple(sorted(index.files, key=lambda file: file.name))).json())


def _write_conversion(place: Path) -> None:
    """conversion.json: what all splits hold and what is damaged, the same for the same record files."""
    splits = {}
    for split in SPLITS:
        with suppress(FileNotFoundError):
            index = read_index(place / split / "index.json")
            splits[split] = {
                "files": len(index.files),
                "scenes": sum(file.records for file in index.files),
                "shards": sum(len(file.shards) for file in index.files),
                "bytes": sum(shard.bytes for file in index.files for shard in file.shards),
                "damages": [{"file": file.name, **asdict(damage)} for file in index.files for damage in file.damages],
            }
    write_json(place / "conversion.json", {"dataset": index.dataset, "batch": index.batch, "splits": splits})


def _convert_all(
    work: list[_Split], info: DatasetInfo, batch: int, locks: list[int], workers: int, progress: bool, report: Report
) -> None:
    jobs = [
        (split, Job(split.source / name, split.sizes[name], split.folder, info, batch))
        for split in work
        for name in split.todo
    ]
    began = written = time.monotonic()
    bar = tqdm(total=sum(job.size for _, job in jobs), unit="B", unit_scale=True, disable=not progress, desc=info.name)
    workers = min(workers, len(jobs))
    executor: Executor = worker_pool(workers, locks) if workers > 1 else ThreadPoolExecutor(1)
    with bar, executor:
        futures: dict[Future[RecordFile], tuple[_Split, Job]] = {}
        try:
            with quiet_start():
                futures.update((executor.submit(convert_file, job), (split, job)) for split, job in jobs)
            for future in as_completed(futures):
                job = futures[future][1]
                report.add(future.result(), job.source)
                rate = report.scenes / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:.0f} scenes/s, {len(jobs) - report.files} files left", refresh=False)
                bar.update(job.size)
                if time.monotonic() - written > INDEX_INTERVAL:
                    _note_done(work, futures)
                    written = time.monotonic()
        except BrokenProcessPool as error:
            raise DatasetError(f"{info.name}: a worker died, perhaps for want of memory: try fewer workers") from error
        finally:
            # After an error or Ctrl-C too: the files under way are finished, and those that succeeded are noted.
            executor.shutdown(cancel_futures=True)
            for split, index in zip(work, _note_done(work, futures), strict=True):
                damaged = ((split.source / file.name, damage) for file in index.files for damage in file.damages)
                report.damages += sorted(damaged, key=lambda found: (found[0], found[1].offset))


def _note_done(work: list[_Split], futures: Mapping[Future[RecordFile], tuple[_Split, Job]]) -> list[Index]:
    """Write each split's index with what was done before and by the futures that have succeeded."""
    done = [(split, f) for f, (split, _) in futures.items() if f.done() and not f.cancelled() and not f.exception()]
    return [split.note([future.result() for owner, future in done if owner is split]) for split in work]
