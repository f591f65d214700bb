"""Convert a dataset in processes that are killed at random moments, then in one that is left to finish.

`kill_process.py DIRECTORY KILLS SEED`. Forks, so that each need not import PyTorch anew.
Prints how many were killed before they were through.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from gqn.data import convert as conversion


def child(directory: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        conversion.convert(directory, 3, workers=1, progress=False)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def main() -> None:
    directory, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    conversion.INDEX_INTERVAL = 0.0  # so that kills fall into the writing of the index as well
    began = time.monotonic()
    assert os.waitpid(child(directory), 0)[1] == 0
    whole = time.monotonic() - began
    shutil.rmtree(directory / "torch")
    chance = random.Random(seed)
    while kills:
        pid = child(directory)
        time.sleep(chance.uniform(0, whole))
        os.kill(pid, signal.SIGKILL)
        if os.waitpid(pid, 0)[1] == signal.SIGKILL:
            kills -= 1
        else:  # it was through: begin again
            shutil.rmtree(directory / "torch")
    assert os.waitpid(child(directory), 0)[1] == 0
    print(sys.argv[2])


if __name__ == "__main__":
    main()
