"""Ctrl-C and SIGTERM: the process that saves looks for them between steps, and its workers ignore them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A run that a signal stopped and that saved itself; `signal` is its number."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step} by {signal.Signals(number).name} and saved: --resume goes on")
        self.signal = number


class Stop(BaseException):
    """A signal that ends a block at once, see `Caught.raised`."""


class Caught(list[int]):
    """The signals that came."""

    at_once = False

    @contextmanager
    def raised(self, at_once: bool = True) -> Iterator[None]:
        """A block that a signal ends at once, by raising Stop."""
        self.at_once = at_once
        try:
            yield
        finally:
            self.at_once = False


@contextmanager
def caught_signals() -> Iterator[Caught]:
    """Collect SIGTERM and Ctrl-C in a list instead of ending the process; a second Ctrl-C does end it.

    Outside the main thread, which alone gets signals, it collects nothing.
    """
    caught = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def catch(number: int, frame: object) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)
        if caught.at_once:
            raise Stop

    before = {number: signal.signal(number, catch) for number in ENDING}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_parent(worker: int) -> None:
    """Ignore signals in the worker of a loader: they go to the whole group, and the parent still needs its batches."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
