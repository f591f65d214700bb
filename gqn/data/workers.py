"""Processes that share work on many files."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

import torch


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes of one thread each that leave Ctrl-C to their parent and do not outlive it."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    # Ctrl-C is the parent's to handle: it lets the running files finish, and notes them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool's workers outlive a killed parent, and would go on writing beside the next run.
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
