"""Plan of a conversion: which record files the indices list as converted, and which are this run's to do."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gqn.core.files import locked, whole_file, write_json
from gqn.data.dataset import SPLITS, TWINS, DatasetError, Index, RecordFile, Shard, read_index
from gqn.data.shards import stem

SHARD_FILE = re.compile(r"[^.]+\.\d{4,}\.pt(\.partial)?")
PART_FILE = re.compile(r"index\.\d+-of-\d+\.json")  # of a run that shares the work with others
PATIENCE = 10.0  # seconds for the workers of a killed run to leave


@dataclass
class Split:
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


@contextmanager
def claimed(place: Path, share: tuple[int, int]) -> Iterator[list[int]]:
    """Lock the folder of the shards for this run, or for the parts of a shared run together; yields the locks.

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


def plan(
    source: Path, folder: Path, sizes: dict[str, int], fresh: Index, share: tuple[int, int], notes: list[str]
) -> Split:
    """Return what this run has to do of a split; shards that it makes anew, or of no record file, are removed."""
    folder.mkdir(exist_ok=True)
    part, parts = share
    mine = list(sizes)[part - 1 :: parts]
    stems = {stem(name) for name in mine}
    known = _known(folder, fresh, sizes, notes)
    valid = {name: file for name, file in known.items() if _valid(folder, file, sizes)}
    todo = [name for name in mine if name not in valid]
    if parts == 1:
        path, index = folder / "index.json", replace(fresh, files=tuple(valid.values()))
    else:
        path = folder / f"index.{part}-of-{parts}.json"
        index = replace(fresh, files=tuple(valid[name] for name in mine if name in valid))
        _forget(folder / "index.json", todo, fresh)
    split = Split(source, folder, sizes, todo, index, path)
    # Write the index first, without the files to be done anew: it must never list a shard that has changed or gone.
    split.note([])
    listed = {shard.name for file in valid.values() for shard in file.shards}
    for file in folder.iterdir():
        if SHARD_FILE.fullmatch(file.name) and file.name not in listed and (parts == 1 or stem(file.name) in stems):
            file.unlink()
    return split


def indices(folder: Path) -> list[Path]:
    """Return the paths of a folder's index and of its parts; newest last."""
    parts = sorted(file for file in folder.iterdir() if PART_FILE.fullmatch(file.name)) if folder.is_dir() else []
    return [path for path in (folder / "index.json", *parts) if path.exists()]


def _known(folder: Path, fresh: Index, sizes: Mapping[str, int], notes: list[str]) -> dict[str, RecordFile]:
    """Return converted record files by name, from indices of the same dataset, batch and format as `fresh`."""
    stems = {stem(name) for name in sizes}
    counts = {name.rpartition("-")[2] for name in stems}
    known: dict[str, RecordFile] = {}
    for path in indices(folder):
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
        notes.append(f"{folder}: record files gone since: {len(gone)} (such as {min(gone)}); their shards stay")
    return known


def _valid(folder: Path, file: RecordFile, sizes: Mapping[str, int]) -> bool:
    """Return whether a converted record file is still good: same size, no damage, all its shards whole."""
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


def merge(split: Split, fresh: Index) -> bool:
    """Make one index of its parts, and return whether they list all record files; else nothing changes."""
    path = split.folder / "index.json"
    parts = [part for part in indices(split.folder) if part != path]
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


def write_conversion(place: Path) -> None:
    """Write conversion.json: counts and damages of all splits, the same bytes for the same record files."""
    splits = {}
    for split in (*SPLITS, TWINS):
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
