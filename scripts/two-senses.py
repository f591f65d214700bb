#!/usr/bin/env python3
"""Measure how much vision, touch and both tell of held-out views: train one graph on both, give it either or both.

python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl             make the runs that are missing
python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl --report    the table alone

WORK_DIR takes the scenes and the two runs of each seed; the table lies beside the results.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from gqn.studies.runner import Mode, carry_out
from gqn.studies.two_senses import TwoSenses


@dataclass(frozen=True)
class Options:
    study: Annotated[TwoSenses, tyro.conf.arg(name="")]
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    carry_out(options.study, options.mode)


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
