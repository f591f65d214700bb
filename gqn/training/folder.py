"""The folder of a run: one run's alone from its beginning to its end."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from shlex import quote

from gqn.core.distributed import Processes
from gqn.core.errors import Error
from gqn.core.files import locked
from gqn.training import checkpoint
from gqn.training.config import Config

LOCK = ".lock"
LEFT = re.compile(r"\.lock|config\.json|graph\.svg|metrics\.json|\w+\.png|evaluated\.pt|scenes|events\..*|.*\.partial")


class TrainingError(Error):
    """A run that can't start or go on; the message says why and what to do."""


@contextmanager
def run_folder(config: Config, group: Processes, *, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run, runs/name, locked until the block ends; without a name, the first that is free.

    Raises:
        TrainingError: on all processes, where another run is at work there or left a checkpoint that is not resumed.
    """
    with ExitStack() as stack:
        yield group.led(lambda: stack.enter_context(_claimed(config, resume)))


@contextmanager
def _claimed(config: Config, resume: bool) -> Iterator[Path]:
    runs = Path(config.runs)
    if config.name and (
        os.path.basename(os.path.normpath(config.name)) in ("", ".")
        or ".." in Path(config.name).parts
        or Path(config.name).suffix in checkpoint.FILES
    ):
        raise TrainingError(f"--name {config.name}: no name of a folder for this run alone, within --runs")
    folder = runs / config.name if config.name else _made(runs, config.preset)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK))
        except BlockingIOError:
            raise TrainingError(
                f"{folder}: another run is at work there: wait until it ends, or give another --name"
            ) from None
        if not resume and (folder / checkpoint.FILE).exists():
            raise TrainingError(
                f"{folder} exists: --resume {quote(str(folder))} goes on with it, another --name makes another run"
            )
        try:
            if not resume and (strange := _strangers(folder)):
                raise TrainingError(f"{folder} holds {strange}, which is of no run: give another --name")
            yield folder
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # a run that failed before it wrote anything leaves its name to the next one
                folder.rmdir()


def _strangers(folder: Path) -> str:
    """Return the name of something in a folder that no run has left there before its first checkpoint; or none."""
    return min((path.name for path in folder.iterdir() if not LEFT.fullmatch(path.name)), default="")


def _made(runs: Path, preset: str) -> Path:
    """A new folder with the preset's name and the first number that no run has."""
    runs.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        with suppress(FileExistsError):
            (folder := runs / f"{preset}-{number}").mkdir()
            return folder
    raise AssertionError
