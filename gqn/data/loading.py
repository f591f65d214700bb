"""Loading of batches by worker processes, which always end; their errors and deaths are raised here."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from gqn.core.errors import Error
from gqn.core.signals import leave_signals_to_parent

Item = TypeVar("Item")


class WorkerDied(Error):
    """A worker that was killed, or that could not hand over a batch."""


class _Carried(Dataset[Item | Exception], Generic[Item]):
    """Dataset whose item is an Error where reading it raised one, so that the parent process raises it as it is."""

    def __init__(self, items: Dataset[Item]) -> None:
        self.items = items

    def __getitem__(self, index: int) -> Item | Exception:
        try:
            return self.items[index]
        except (Error, OSError) as error:
            return error


@contextmanager
def loading(items: Dataset[Item], indices: range, *, workers: int, pin_memory: bool) -> Iterator[Iterator[Item]]:
    """Yield the items at `indices`, in order; no worker is left when the block ends, however it ends.

    Args:
        workers: processes that read ahead; with 0, this one reads.
        pin_memory: for a copy to a GPU in the background.

    Raises:
        WorkerDied: where a worker did; and what reading an item raises.
    """
    loader = DataLoader(
        _Carried(items),
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin,
    )
    iterator = iter(loader)
    # torch would raise the death of a worker from a signal's handler, in the middle of whatever runs: it is told below.
    main = workers and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main else None
    try:
        yield _received(iterator)
    finally:
        if workers:
            # A traceback would keep the iterator, and Python's end would wait for workers that leave signals to it.
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            for worker in iterator._workers:  # type: ignore[attr-defined]
                worker.kill()
                worker.join()
        if main:
            signal.signal(signal.SIGCHLD, before)


def _received(iterator: Iterator[Item | Exception]) -> Iterator[Item]:
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except (RuntimeError, ConnectionError, EOFError) as error:
            # The connection ends where one dies while it hands over a batch; torch tells of any other death.
            ended = isinstance(error, ConnectionError) or (isinstance(error, EOFError) and not error.args)
            if not ended and not str(error).startswith("DataLoader worker"):
                raise
            raise WorkerDied(
                "a worker that reads scenes died, killed or for want of memory or of room in /dev/shm: "
                "take fewer --workers (0 reads without any), or give a container --shm-size"
            ) from error
        if isinstance(item, Exception):
            raise item
        yield item


def _begin(worker: int) -> None:
    leave_signals_to_parent(worker)
    # A batch that can't be handed over, as where /dev/shm is full, would be dropped, and the parent would wait for it.
    Queue._on_queue_feeder_error = staticmethod(lambda error, item: os._exit(1))  # type: ignore[attr-defined]
