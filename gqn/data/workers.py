"""Worker processes that share work on many files."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import DupFd
from pathlib import Path

import torch

from gqn.core.errors import Error


class _Held:
    """A file descriptor that is handed to another process, which holds it open with its lock."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __getstate__(self) -> object:
        return DupFd(self.descriptor)

    def __setstate__(self, duplicate: object) -> None:
        self.descriptor = duplicate.detach()  # type: ignore[attr-defined]


def worker_pool(workers: int, held: Sequence[int] = (), until: Connection | None = None) -> ProcessPoolExecutor:
    """Return a pool of fresh processes of one thread each, which leave Ctrl-C to their parent and do not outlive it.

    They start as work is submitted: do that under `quiet_start`.

    Args:
        workers: processes.
        held: file descriptors that they keep open.
        until: end of a pipe that they outlive as little.
    """
    _check_guarded()
    context, arguments = get_context("spawn"), (until, list(map(_Held, held)))
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=arguments)


@contextmanager
def dropped_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool as of `worker_pool`, whose processes drop their work where the block raises, as by Ctrl-C.

    Files that they write must appear whole.
    """
    until, here = get_context("spawn").Pipe(duplex=False)
    with until, here, worker_pool(workers, until=until) as pool:
        try:
            yield pool
        except BaseException:
            here.close()
            raise


@contextmanager
def quiet_start() -> Iterator[None]:
    """Start processes and threads that never see Ctrl-C; this process sees it when the block ends.

    A process that is still importing would print a traceback. Outside the main thread, which alone sees Ctrl-C, only
    the processes that it starts change.
    """
    caught: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda number, _: caught.append(number)) if main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what starts here inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)


_held: list[_Held] = []


def _start_worker(until: Connection | None, held: list[_Held]) -> None:
    _held.extend(held)
    torch.set_num_threads(1)
    # A pool's workers outlive a killed parent, and would go on writing beside the next run.
    threading.Thread(target=_leave, args=(until,), daemon=True).start()


def _leave(until: Connection | None) -> None:
    """Leave with the parent, or as the other end of the pipe `until` is closed."""
    if parent := parent_process():
        wait([parent.sentinel, *([until] if until else [])])
    os._exit(1)


def worker_died() -> str:
    """Return the line for the user about a worker that died."""
    return "a worker died, killed or for want of memory: try fewer workers"


def _check_guarded() -> None:
    """Raise Error where workers, which begin by importing the script that is run, would run all of it again."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    with suppress(OSError, UnicodeDecodeError):  # nothing can be said of what can't be read
        if script and "__main__" not in Path(script).read_text():
            raise Error(
                f'{script}: workers begin by importing this script: call it under `if __name__ == "__main__":`, '
                "or with workers=1"
            )
