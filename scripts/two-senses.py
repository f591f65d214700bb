#!/usr/bin/env python3
"""What vision, touch and both tell of held-out views: train one graph on both, and give it either or both.

python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl             make the runs that are missing
python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl --report    the table alone

WORK_DIR takes the scenes and the two runs of each seed; the table lies beside the results.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gqn.studies.runner import Mode, carry_out
from gqn.studies.two_senses import Experiment, TwoSenses

GRAPH = Path(__file__).resolve().parent.parent / "diagrams/graphs/two-senses.yaml"


@dataclass(frozen=True)
class Options:
    """What vision, touch and both tell of held-out views."""

    work: tyro.conf.Positional[Path]
    """Folder for the scenes and the runs."""
    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME.jsonl")]
    """File of the runs, which is made or gone on with."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")] = field(default_factory=Experiment)
    seeds: tuple[int, ...] = (0,)
    """A run each, of scenes of its own."""
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) if options.mode.again else options.work
        study = TwoSenses(options.results, GRAPH, work, options.experiment, options.seeds)
        carry_out(study, study.cells(), options.mode)


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
