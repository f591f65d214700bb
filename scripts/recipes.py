#!/usr/bin/env python3
"""Which recipe learns to use its context soonest? Runs a study of gqn.studies.recipes and reports it.

python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME --measure    time a step of each, alone
python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME              make the runs that are missing
python scripts/recipes.py results/recipes/sphere-32.yaml --report                      table and figure alone

The times, results, table and figure lie beside the study's file: NAME.seconds.json, NAME.jsonl, NAME.md, NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.distributed import processes
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.studies.recipes import Experiment, Recipes, step_seconds
from gqn.studies.runner import Mode, StudyError, carry_out, choose, read_experiment


@dataclass(frozen=True)
class Options:
    """Which recipe learns to use its context soonest?"""

    study: tyro.conf.Positional[Path]
    """A YAML file of `gqn.studies.recipes.Experiment`."""
    data: Path | None = None
    """Converted dataset to train on."""
    work: Path = Path("runs/recipes")
    """Keeps the runs."""
    measure: bool = False
    """Only time the steps, with nothing else running."""
    recipes: tuple[str, ...] = ()
    """Only these."""
    seeds: tuple[int, ...] = ()
    """Only these."""
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    plan, times = read_experiment(options.study, Experiment), options.study.with_suffix(".seconds.json")
    if options.measure:
        if options.data is None:
            raise StudyError("--measure needs --data")
        measure(plan, options.data, times)
        return
    seconds = json.loads(times.read_text())["seconds_a_step"] if times.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) if options.mode.again else options.work / options.study.stem
        study = Recipes(plan, options.study.with_suffix(".jsonl"), seconds, options.data, work)
        carry_out(study, choose(study, recipe=options.recipes, seed=options.seeds), options.mode)


def measure(plan: Experiment, data: Path, times: Path) -> None:
    with tempfile.TemporaryDirectory() as work, processes("auto") as group:
        found = {**provenance(group), "seconds_a_step": step_seconds(plan, data, Path(work))}
    write_json(times, found)
    print(json.dumps(found["seconds_a_step"], indent=2))


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
