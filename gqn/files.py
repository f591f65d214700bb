"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write that appears at `path` when the block ends, or not at all where the block raises.

    It is written beside `path`, with `.partial` after its name, and renamed.
    """
    aside = Path(f"{os.fspath(path)}.partial")
    try:
        with aside.open("wb") as file:
            yield file
            # On the disk before it has its name, or a power cut could leave the name on an empty file.
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all."""
    with whole_file(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def save_tensors(path: str | os.PathLike[str], contents: dict[str, Any]) -> None:
    """Write tensors and plain values by torch.save, whole or not at all. Raises OSError, as of a full disk."""
    with whole_file(path) as file:
        try:
            torch.save(contents, file)
        except RuntimeError as error:
            # torch puts an error of its own over the system's.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
