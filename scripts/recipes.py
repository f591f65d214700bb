#!/usr/bin/env python3
"""Which recipe learns to use its context soonest? Runs a study of gqn.studies.recipes and reports it.

python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME --measure    time a step of each, alone
python scripts/recipes.py results/recipes/sphere-32.yaml --data data/NAME              make the runs that are missing
python scripts/recipes.py results/recipes/sphere-32.yaml                               table and figure alone

The times, results, table and figure lie beside the study's file: NAME.seconds.json, NAME.jsonl, NAME.md, NAME.png.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from gqn.core.distributed import processes
from gqn.core.files import whole_file, write_json
from gqn.core.provenance import provenance
from gqn.core.signals import Interrupted
from gqn.data.dataset import DatasetError
from gqn.studies.recipes import RecipeError, Study, cells, curves, make, read_results, read_study, report, step_seconds
from gqn.training.trainer import TrainingError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a YAML file of gqn.studies.recipes.Study")
    parser.add_argument("--data", type=Path, help="converted dataset to train on")
    parser.add_argument("--work", type=Path, default=Path("runs/recipes"), help="keeps the runs (%(default)s)")
    parser.add_argument("--measure", action="store_true", help="only time the steps, with nothing else running")
    parser.add_argument("--recipes", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    options = parser.parse_args()
    study, results = read_study(options.study), options.study.with_suffix(".jsonl")
    times = options.study.with_suffix(".seconds.json")
    if options.measure:
        if options.data is None:
            parser.error("--measure needs --data")
        measure(study, options.data, times)
        return
    if options.data is not None:
        chosen = [
            cell
            for cell in cells(study)
            if (options.recipes is None or cell.recipe in options.recipes)
            and (options.seeds is None or cell.seed in options.seeds)
        ]
        if not chosen:
            raise RecipeError(f"{options.study} has no such runs: see its recipes and seeds")
        seconds = json.loads(times.read_text())["seconds_a_step"] if times.exists() else {}
        for line in make(study, chosen, seconds, options.data, options.work / options.study.stem, results):
            last = line["history"][-1]
            print(
                f"{line['recipe']}, seed {line['seed']}: context gain {last['context_gain_db']:.2f} dB, prior samples "
                f"{last['prior_sample']:.2f} dB, mean image {last['mean_image']:.2f} dB",
                flush=True,
            )
    write_report(study, results)


def measure(study: Study, data: Path, times: Path) -> None:
    with tempfile.TemporaryDirectory() as work, processes("auto") as group:
        found = {**provenance(group), "seconds_a_step": step_seconds(study, data, Path(work))}
    write_json(times, found)
    print(json.dumps(found["seconds_a_step"], indent=2))


def write_report(study: Study, results: Path) -> None:
    known = read_results(results, study)
    with whole_file(results.with_suffix(".md")) as file:
        file.write(report(study, known).encode())
    with whole_file(results.with_suffix(".png")) as file:
        curves(study, known).savefig(file, format="png")
    print(f"{results.with_suffix('.md')}: {len(known)} of {len(cells(study))} runs")


if __name__ == "__main__":
    try:
        main()
    except (RecipeError, TrainingError, DatasetError, ValueError, OSError) as error:
        sys.exit(f"recipes.py: {error}")
    except Interrupted as stop:
        print(f"recipes.py: {stop}; the same command goes on", file=sys.stderr)
        sys.exit(128 + stop.signal)
