#!/usr/bin/env python3
"""Examine a trained network on held-out scenes: likelihood, errors, uncertainty, what it knows, and pictures.

python scripts/evaluate.py runs/quick-1 DATA_DIR/DATASET
torchrun --standalone --nproc-per-node 2 scripts/evaluate.py runs/quick-1 DATA_DIR/DATASET
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.extras import import_own
from gqn.evaluation.report import assess
from gqn.evaluation.subject import Options
from gqn.training import checkpoint
from gqn.training.hub import is_address


@dataclass(frozen=True)
class Arguments:
    """Examine a trained network on held-out scenes: likelihood, errors, uncertainty, what it knows, and pictures."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, its checkpoint.pt, or any other name that gqn.load takes."""
    dataset: tyro.conf.Positional[Path]
    """Folder of converted scenes, DATA_DIR/DATASET of data.sh."""
    output: Path | None = None
    """Folder for what is found. By default evaluation/ in the run's folder."""
    device: str = "auto"
    """cpu, cuda, or auto for CUDA where there is one."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""
    options: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=Options)


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    import_own(arguments.import_)
    run = checkpoint.folder_of(arguments.checkpoint)
    if is_address(run):
        run = Path(run.name)
    output = arguments.output or run / "evaluation"
    print(assess(arguments.checkpoint, arguments.dataset, output, arguments.options, arguments.device))


if __name__ == "__main__":
    with command("evaluation.json has the sections that were done"):
        main()
