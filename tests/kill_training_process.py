"""Train in processes that are killed in the middle of a save or an evaluation, each of which goes on from the last.

`kill_training_process.py DATASET RUNS`. Forks, so that each need not import PyTorch anew. At last it lets one finish,
and another run undisturbed. Prints the moments at which one was killed.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

import gqn
from gqn.core import files
from gqn.core.figure import Figure
from gqn.training import checkpoint, trainer

REPLACE, SAVE = os.replace, torch.save
EVALUATE = trainer.evaluate


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def before_rename(name: str) -> None:
    def rename(aside: Any, path: Any) -> None:
        if Path(path).name == name:
            die()
        REPLACE(aside, path)

    files.os.replace = rename


def after_rename(name: str) -> None:
    def rename(aside: Any, path: Any) -> None:
        REPLACE(aside, path)
        if Path(path).name == name:
            die()

    files.os.replace = rename


def half_way(contents: Any, file: Any) -> None:
    SAVE(contents, file)
    file.truncate(file.tell() // 2)
    file.flush()
    die()


def after_evaluation(*arguments: Any, **options: Any) -> NoReturn:
    EVALUATE(*arguments, **options)
    die()


def patch(module: Any, name: str, value: Callable[..., Any]) -> Callable[[], None]:
    return lambda: setattr(module, name, value)


MOMENTS: dict[str, Callable[[], None]] = {
    "in the first checkpoint": patch(torch, "save", half_way),
    "before a checkpoint has its name": lambda: before_rename(checkpoint.FILE),
    "after a checkpoint has its name": lambda: after_rename(checkpoint.FILE),
    "before an evaluation": patch(trainer, "evaluate", die),
    "after an evaluation": patch(trainer, "evaluate", after_evaluation),
    "before its figures have their name": lambda: before_rename("metrics.json"),
    "while it is drawn": patch(trainer.plots, "curves", die),
    "before what was evaluated has its name": lambda: before_rename(checkpoint.EVALUATED),
}


def config(dataset: str, runs: str, name: str) -> gqn.Config:
    quick = gqn.PRESETS["quick"]
    return replace(
        quick,
        data=dataset,
        runs=runs,
        name=name,
        device="cpu",
        precision="float32",
        model=replace(
            quick.model, representation="pool", representation_channels=8, hidden=8, canvas=8, generation_steps=2
        ),
        training=replace(quick.training, steps=4, batch=2, queries=1, minutes=0.0),
        evaluation=replace(quick.evaluation, eval_scenes=2, samples=1, save_every=1, eval_every=2),
    )


def trained(settings: gqn.Config, moment: str = "") -> int:
    """The status of a process that trains, or goes on; it is killed at a moment."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.dup2(2, 1)
        trainer.plots.predictions = trainer.plots.curves = lambda *_, **__: Figure(figsize=(1, 1))  # nothing to see
        if moment:
            MOMENTS[moment]()
        gqn.train(settings, resume=(Path(settings.runs) / settings.name / checkpoint.FILE).exists())
        status = 0
    finally:
        os._exit(status)


def main(dataset: str, runs: str) -> None:
    torch.set_num_threads(1)
    killed = [moment for moment in MOMENTS if trained(config(dataset, runs, "killed"), moment) == -signal.SIGKILL]
    assert trained(config(dataset, runs, "killed")) == 0
    assert trained(config(dataset, runs, "undisturbed")) == 0
    print(json.dumps(killed))


if __name__ == "__main__":
    main(*sys.argv[1:])
