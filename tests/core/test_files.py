"""Files appear whole or not at all."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import torch

from gqn.core.files import append_json_line, read_json_lines, save_tensors, whole_file


def test_a_file_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"after")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    with whole_file(path) as file:
        file.write(b"after")
    assert path.read_text() == "after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_of_two_writers_one_waits(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write() -> None:
        with whole_file(path) as file:
            file.write(b"second")

    other = Thread(target=write)
    with whole_file(path) as file:
        file.write(b"first, ")
        file.flush()
        other.start()
        time.sleep(0.2)
        file.write(b"whole")
        assert not path.exists()
    other.join()
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def room(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_an_error_of_the_system(tmp_path: Path) -> None:
    with room(100_000), pytest.raises(OSError, match="File too large"):
        save_tensors(tmp_path / "tensors.pt", {"x": torch.zeros(1_000_000)})
    assert not list(tmp_path.iterdir())


def test_a_line_for_which_there_is_no_room_is_an_error_and_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_json_line(path, "first")
    with room(200), pytest.raises(OSError, match="File too large"):
        append_json_line(path, 500 * "x")
    append_json_line(path, "third")
    assert read_json_lines(path) == ["first", "third"]
