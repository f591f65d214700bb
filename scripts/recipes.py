#!/usr/bin/env python3
"""Compare recipes by how soon they learn to use their context: run a study of gqn.studies.recipes and report it.

python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME --measure    time a step of each, alone
python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME              make the runs that are missing
python scripts/recipes.py results/recipes/sphere-32.yaml --report                      table and figure alone

The times, results, table and figure lie beside the study's file: NAME.seconds.json, NAME.jsonl, NAME.md, NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import json
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from gqn.studies.recipes import Recipes
from gqn.studies.runner import Mode, carry_out


@dataclass(frozen=True)
class Options:
    study: Annotated[Recipes, tyro.conf.arg(name="")]
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)
    measure: bool = False
    """Only time the steps, with nothing else running."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.measure:
        print(json.dumps(options.study.measure(), indent=2))
    else:
        carry_out(options.study, options.mode)


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
