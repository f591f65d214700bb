"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write that appears at `path` when the block ends, or not at all where the block raises.

    It is written beside `path`, with `.partial` after its name, and renamed.
    """
    aside = Path(f"{os.fspath(path)}.partial")
    try:
        with aside.open("wb") as file:
            yield file
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all."""
    with whole_file(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")
