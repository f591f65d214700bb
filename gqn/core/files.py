"""Files that appear whole or not at all, and folders that one process at a time writes to."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` when the block ends, or not at all where the block raises.

    It is written beside `path`, with `.partial` after its name, and renamed; of several writers one waits for the
    other. An OSError of writing names the file.
    """
    aside = Path(f"{os.fspath(path)}.partial")
    file = _alone(aside)
    try:
        yield file
        # Sync before the rename: else a power cut could leave the name on an empty file.
        file.flush()
        os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        with suppress(OSError):  # what could not be written has been told
            file.close()


def _flock(file: IO[bytes], how: int) -> None:
    """Lock a file as far as its file system can: Lustre, SMB and NFS may have no locks, and then there are none."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _alone(path: Path) -> IO[bytes]:
    """Open an empty file at `path` that no other process or thread writes until it is closed."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        _flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate()
                return file
        file.close()  # who had it before has renamed or removed it


@contextmanager
def locked(path: Path, *, shared: bool = False, patience: float = 0.0) -> Iterator[int]:
    """Lock the file at `path` until the block ends and all copies of its descriptor, which it yields, are closed.

    Args:
        shared: hold the lock beside others that share it.
        patience: seconds to wait for whoever has it.

    Raises:
        BlockingIOError: where another still has it then.
    """
    with path.open("ab") as file:
        began = time.monotonic()
        while True:
            try:
                _flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - began >= patience:
                    raise
                time.sleep(0.1)
        yield file.fileno()


def given_name(folder: str | os.PathLike[str]) -> str:
    """Return the name of a folder as it is given, even if it is a link; for `.` and `..` the real name."""
    return os.path.basename(os.path.abspath(folder))


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all."""
    with whole_file(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def append_json_line(path: Path, values: Any) -> None:
    """Append a line of JSON, which is on the disk before this returns; several processes may share the file."""
    with locked(path, patience=60.0), path.open("ab") as file:
        unfinished = path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        file.write(b"\n" * unfinished + json.dumps(values).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: Path) -> list[Any]:
    """Return the lines of a file by `append_json_line`, none without a file; leave out one that a kill cut off."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def save_tensors(path: str | os.PathLike[str], contents: dict[str, Any]) -> None:
    """Write tensors and plain values by torch.save, whole or not at all. Raises OSError, as of a full disk."""
    with whole_file(path) as file:
        try:
            torch.save(contents, file)
        except RuntimeError as error:
            # torch wraps the system's error in one of its own.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
