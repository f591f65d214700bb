"""Scripts, each in a process of its own that is forked from one in which PyTorch is imported: that takes seconds.

For tests of what a script says and leaves; where its imports or its process's signals are tested, it is started anew.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tyro", "gqn.data.prepare", "gqn.training.sharing", "gqn.training.trainer"])
SECONDS = 300  # that a script may take on a busy machine


def run_script(script: Path, *words: object, folder: Path = Path("/")) -> CompletedProcess[str]:
    """Return the status and the words of a script that is started in a folder."""
    arguments = [str(script), *map(str, words)]
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("out", "error")]
        process = FORKS.Process(target=_run, args=(arguments, folder, files))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{arguments}: {files[1].read_text()}")
        return CompletedProcess(arguments, process.exitcode, *(file.read_text() for file in files))


def _run(arguments: list[str], folder: Path, files: list[Path]) -> None:
    os.chdir(folder)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")
