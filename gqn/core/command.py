"""The front door of every script: an error for the user, Ctrl-C and SIGTERM are one line each; a bug is a traceback."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gqn.core.errors import Error, of_memory
from gqn.core.progress import QUIET, QUIET_HELP, be_quiet
from gqn.core.signals import ENDING, Interrupted

UNREAD = 128 + signal.SIGPIPE  # status of a script whose output nobody reads any more


class Terminated(KeyboardInterrupt):
    """A SIGTERM, which ends a script as Ctrl-C does: through every `finally`."""


def quiet_imports(module: str) -> None:
    """End the script in one line at Ctrl-C or SIGTERM while it imports its libraries, which takes seconds.

    Args:
        module: the caller's `__name__`; nothing happens where it is imported and not run.
    """
    if module == "__main__":
        for number in ENDING:
            signal.signal(number, _leave)


@contextmanager
def command(hint: str = "") -> Iterator[None]:
    """A block that ends the script in one line, and with its status, at an error for the user or at a signal.

    Errors for the user are `gqn.core.errors.Error`, an OSError that names a file, and memory that is not there; any
    other passes through.

    With `--quiet` among its arguments a script shows no progress; the option belongs to all scripts, so none parses it.

    Args:
        hint: what to do after an interruption.
    """
    if QUIET in sys.argv:
        be_quiet()
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != QUIET]
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
        sys.stdout.flush()
    except Interrupted as stop:
        _end(f"{stop}; {hint}" if hint else str(stop), 128 + stop.signal)
    except SystemExit as end:
        if not end.code and {"-h", "--help"} & set(sys.argv):
            print(QUIET_HELP)
        raise
    except KeyboardInterrupt as stop:
        if isinstance(stop, Terminated) and (error := _on_its_way(stop)):  # torchrun ends all when one of them is gone
            _end(str(error), 1)
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        _end(f"interrupted; {hint}" if hint else "interrupted", 128 + number)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    except Exception as error:
        if isinstance(error, Error) or (isinstance(error, OSError) and error.filename is not None):
            sys.exit(f"{_script()}: {error}")
        if not of_memory(error):
            raise
        sys.exit(f"{_script()}: {str(error).partition(chr(10))[0]}: ask for less at once, such as a smaller --batch")
    finally:
        told = isinstance(sys.exception(), SystemExit)  # Python prints its line after this block
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if told and handler is _leave else handler)


def _on_its_way(stop: BaseException) -> Error | None:
    """Return the error for the user that was ending the script when a signal came."""
    error = stop.__context__
    while error is not None:
        if isinstance(error, Error):
            return error
        error = error.__context__
    return None


def _end(line: str, status: int) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would be a traceback of this very line
    print(f"{_script()}: {line}", file=sys.stderr, flush=True)
    sys.exit(status)


def _script() -> str:
    return Path(sys.argv[0]).stem


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _leave(number: int, frame: FrameType | None) -> None:
    # No exception: libraries turn one in the middle of their import into others. Nothing has begun that must end well.
    os.write(2, f"{_script()}: interrupted\n".encode())
    os._exit(128 + number)
