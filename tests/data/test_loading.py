"""Workers that read ahead: they always leave, their errors are the caller's, and their death is told in time."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from torch.utils.data import Dataset

from gqn.core.errors import Error
from gqn.data.loading import WorkerDied, loading


class Numbers(Dataset[torch.Tensor]):
    """Item i is i, but for item 5, which is trouble."""

    def __init__(self, trouble: str = "") -> None:
        self.trouble = trouble

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5 and self.trouble == "error":
            raise Error("a shard of mine is damaged")
        if index == 5 and self.trouble == "file":
            raise PermissionError(13, "Permission denied", "shard.pt")
        if index == 5 and self.trouble == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 5 and self.trouble == "slow":
            time.sleep(60)
        return torch.full((1000,), index)


def received(trouble: str, workers: int) -> list[int]:
    found = []
    with loading(Numbers(trouble), range(9), workers=workers, pin_memory=False) as items:
        for item in items:
            found.append(int(item[0]))
    return found


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order_and_an_error_is_what_was_raised(workers: int) -> None:
    began = time.monotonic()
    assert received("", workers) == list(range(9))
    with pytest.raises(Error, match=r"^a shard of mine is damaged$"):
        received("error", workers)
    with pytest.raises(PermissionError, match="shard.pt") as error:
        received("file", workers)
    assert error.value.filename == "shard.pt"
    assert not active_children()
    assert time.monotonic() - began < 30


def test_a_worker_that_is_killed_is_told_and_the_others_leave() -> None:
    received("", 1)  # torch sets a handler of its own for the first worker of a process
    began = time.monotonic()
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(WorkerDied, match="fewer --workers"):
        received("death", 2)
    assert not active_children()
    assert signal.getsignal(signal.SIGCHLD) is before
    assert time.monotonic() - began < 45


@pytest.mark.parametrize("ending", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_is_killed_while_it_hands_over_a_batch_is_told(
    monkeypatch: pytest.MonkeyPatch, ending: Exception
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise ending

    monkeypatch.setattr("multiprocessing.connection.Client", ended)  # by which a batch is fetched
    with pytest.raises(WorkerDied, match="fewer --workers"):
        received("", 1)
    assert not active_children()


def test_workers_leave_with_the_block_though_one_is_busy_and_the_error_is_kept() -> None:
    began, before = time.monotonic(), set(active_children())  # other tests' may be there
    kept = []
    try:
        with loading(Numbers("slow"), range(9), workers=2, pin_memory=False) as items:
            next(items)
            raise Error("of the caller")
    except Error as error:
        kept.append(error)  # and with it the frames that hold the iterator
    assert not [child for child in set(active_children()) - before if child.is_alive()]
    assert time.monotonic() - began < 30


def test_a_process_with_workers_ends_at_an_error_that_nobody_catches() -> None:
    script = (
        "import sys; sys.path[:0] = ['tests/data', 'tests']; from test_loading import received;"
        "print('begun', flush=True); received('error', 2)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (run.returncode, run.stdout) == (1, "begun\n")
    assert run.stderr.splitlines()[-1].endswith("a shard of mine is damaged")


def test_where_shared_memory_is_full_a_worker_is_told_to_have_died(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = ['tests/data', 'tests']; import torch, test_loading as t\n"
        "t.Numbers.__getitem__ = lambda self, index: torch.zeros(500_000)\n"
        "try: t.received('', 1)\nexcept t.WorkerDied as error: print(error)"
    )
    mount = "mount -t tmpfs -o size=1m none /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("may not mount a disk here")
    command = ["unshare", "-rm", "sh", "-c", f"{mount} && exec '{sys.executable}' -c \"$0\"", script]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert "/dev/shm" in run.stdout, run.stderr
