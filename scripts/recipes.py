#!/usr/bin/env python3
"""Compare recipes by how soon they learn to use their context: run a study of gqn.studies.recipes and report it.

python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME --measure    time a step of each, alone
python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME              make the runs that are missing
python scripts/recipes.py results/recipes/sphere-32.yaml --report                      table and figure alone

The times, results, table and figure lie beside the study's file: NAME.seconds.json, NAME.jsonl, NAME.md, NAME.png.
"""

from gqn.core.command import quiet_imports

quiet_imports(__name__)

import json
from dataclasses import dataclass

from gqn.studies.recipes import Recipes
from gqn.studies.runner import Options, main


@dataclass(frozen=True)
class Measuring(Options[Recipes]):
    measure: bool = False
    """Only time the steps, with nothing else running."""

    def carry_out(self) -> None:
        if self.measure:
            print(json.dumps(self.study.measure(), indent=2))
        else:
            super().carry_out()


if __name__ == "__main__":
    main(Measuring, __doc__)
