"""Scripts, each in a process of its own that is forked from one in which PyTorch is imported: that takes seconds.

For tests of what a script says, leaves and does at a signal; where its imports are tested, it is started anew.
"""

import json
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from subprocess import CompletedProcess
from threading import Thread
from types import SimpleNamespace
from unittest.mock import patch

from gqn.core.figure import Figure

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tyro", "gqn.data.prepare", "gqn.training.sharing", "gqn.training.trainer", "torch._dynamo"]  # Adam imports it
)
# A program that takes the address of `served` and the words of a command, and does as the script would.
CLIENT = """
import json, os, sys
from multiprocessing.connection import Client
with Client(sys.argv[1], "AF_UNIX") as door:
    door.send_bytes(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode())
    status, out, error = json.loads(door.recv_bytes())
sys.stdout.write(out)
sys.stderr.write(error)
sys.exit(status)
"""
SECONDS = 300  # that a script may take on a busy machine


class Script:
    """A script at work, in a folder and, if it is given, in another environment; it leads a group of processes.

    Runs that it trains leave empty pictures.
    """

    def __init__(
        self, script: Path, *words: object, folder: Path = Path("/"), environment: dict[str, str] | None = None
    ) -> None:
        self.arguments = [str(script), *map(str, words)]
        self._place = tempfile.TemporaryDirectory()
        self._files = [Path(self._place.name, name) for name in ("out", "error")]
        self._process = FORKS.Process(target=_run, args=(self.arguments, folder, environment, self._files))
        self._process.start()

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._place.cleanup()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process.pid
        return self._process.pid

    def poll(self) -> int | None:
        """Return the status, None while it is at work."""
        return self._process.exitcode

    def ended(self, seconds: float = SECONDS) -> CompletedProcess[str]:
        """Return the status and the words of the script once it has ended, which it has seconds for."""
        self._process.join(seconds)
        if self._process.is_alive():
            raise TimeoutError(f"{self.arguments}: {self._files[1].read_text()}")
        told = (file.read_text() if file.exists() else "" for file in self._files)
        return CompletedProcess(self.arguments, self._process.exitcode, *told)


def run_script(
    script: Path, *words: object, folder: Path = Path("/"), environment: dict[str, str] | None = None
) -> CompletedProcess[str]:
    """Return the status and the words of a script that is run in a folder."""
    with Script(script, *words, folder=folder, environment=environment) as run:
        return run.ended()


def run_together(count: int, script: Path, *words: object, folder: Path = Path("/")) -> list[CompletedProcess[str]]:
    """Return the status and the words of each of several processes, in the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    with ExitStack() as stack:
        scripts = []
        for rank in range(count):
            given = {name: str(value) for name, value in (group | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            one = Script(script, *words, folder=folder, environment=os.environ | given)
            scripts.append(stack.enter_context(one))
        return [one.ended() for one in scripts]


@contextmanager
def served() -> Iterator[str]:
    """Run scripts for other processes, such as a shell's: yield the address that CLIENT takes."""

    def serve(door: Connection) -> None:
        with door:
            (script, *words), folder, environment = json.loads(door.recv_bytes())
            run = run_script(Path(script), *words, folder=Path(folder), environment=environment)
            door.send_bytes(json.dumps([run.returncode, run.stdout, run.stderr]).encode())

    def listen(doors: Listener) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                Thread(target=serve, args=(doors.accept(),), daemon=True).start()

    with Listener(family="AF_UNIX") as doors:
        Thread(target=listen, args=(doors,), daemon=True).start()
        yield str(doors.address)


@contextmanager
def empty_pictures() -> Iterator[None]:
    """Let what is trained leave empty pictures: to draw them takes longer than a small run."""

    def empty(*_: object, **__: object) -> Figure:
        return Figure(figsize=(1, 1))

    with patch("gqn.training.trainer.plots", SimpleNamespace(curves=empty, predictions=empty)):
        yield


def _run(arguments: list[str], folder: Path, environment: dict[str, str] | None, files: list[Path]) -> None:
    os.setsid()
    os.chdir(folder)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    with empty_pictures():
        runpy.run_path(arguments[0], run_name="__main__")
