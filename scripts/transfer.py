#!/usr/bin/env python3
"""Does what one task taught make another cheaper? Runs an experiment of gqn.studies.transfer and reports it.

python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced     make the runs that are missing
python scripts/transfer.py results/transfer/layer-1.yaml --report       tables and figures from the results alone
python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced \\
    --conditions pixels --tasks locate --seeds 3 --again                 one cell anew, compared with the results
python scripts/transfer.py --smoke                                          everything at toy size

The results, tables and figures lie beside the experiment's file: NAME.jsonl, NAME.md, NAME.png.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from gqn.core.extras import MissingExtra
from gqn.core.files import whole_file, write_json
from gqn.data.dataset import DatasetError
from gqn.models.graph import GraphError
from gqn.scenes.arm import TASKS
from gqn.studies.conditions import CONDITIONS
from gqn.studies.transfer import Experiment, Laboratory, TransferError, read_experiment, read_results
from gqn.studies.transfer_probes import linear_probes
from gqn.studies.transfer_report import agreement, curves, report
from gqn.studies.transfer_smoke import smoke
from gqn.training.checkpoint import CheckpointError, read, save_graph

LAYER_1 = "layer-1.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, nargs="?", help="a YAML file of gqn.studies.transfer.Experiment")
    parser.add_argument("--data", type=Path, help="converted dataset of the arm, drawn by scripts/generate-scenes.py")
    parser.add_argument(
        "--layer-1", type=Path, help="run or checkpoint trained on it by rendering alone (layer-1.pt beside EXPERIMENT)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/transfer"), help="keeps true answers (%(default)s)")
    parser.add_argument("--conditions", nargs="+", help="only these")
    parser.add_argument("--tasks", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--again", action="store_true", help="make the chosen runs anew and compare with the results")
    parser.add_argument("--report", action="store_true", help="only write tables and figures")
    parser.add_argument("--probe", action="store_true", help="only ask what layer 1 holds, into layer-1-probes.json")
    parser.add_argument(
        "--keep-layer-2", nargs=2, metavar=("TASK", "FILE.pt"), help="only train a second layer for the other tasks"
    )
    parser.add_argument("--smoke", action="store_true", help="the whole protocol at toy size, in a temporary folder")
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            print(smoke(Path(folder)))
        return
    if options.experiment is None:
        parser.error("name an experiment's file, or --smoke")
    experiment = read_experiment(options.experiment)
    results = options.experiment.with_suffix(".jsonl")
    if not options.report:
        if options.data is None:
            parser.error("runs need --data; --report does not")
        options.layer_1 = options.layer_1 or options.experiment.with_name(LAYER_1)
        run(options, experiment, results)
    if not (options.again or options.probe or options.keep_layer_2):
        write_report(experiment, results)


def run(options: argparse.Namespace, experiment: Experiment, results: Path) -> None:
    """Make the chosen runs, or make them again."""
    chosen = [
        cell
        for cell in experiment.cells()
        if (options.conditions is None or cell.condition in options.conditions)
        and (options.tasks is None or cell.task in options.tasks)
        and (options.seeds is None or cell.seed in options.seeds)
    ]
    if not chosen:
        raise TransferError(f"{options.experiment} has no such runs: see its conditions, tasks and seeds")
    if options.keep_layer_2 and options.keep_layer_2[0] not in TASKS:
        raise TransferError(f"--keep-layer-2: no task '{options.keep_layer_2[0]}': there are {', '.join(TASKS)}")
    laboratory = Laboratory.open(experiment, options.data, options.layer_1, options.work)
    if options.probe:
        found = linear_probes(laboratory)
        write_json(results.with_name("layer-1-probes.json"), {**laboratory.about, "r_squared": found})
        print(json.dumps(found, indent=2))
        return
    if options.keep_layer_2:
        task, file = options.keep_layer_2
        kept = laboratory.bench.second_layer(CONDITIONS["layer-2"], task, experiment.seeds[0])
        save_graph(file, kept.graph, read(options.layer_1))
        print(f"{file}: a second layer that was trained for other tasks than {task}, in {kept.seconds:.0f} s")
        return
    if options.again:
        known = read_results(results, experiment, laboratory.layer_1_sha256)
        differ = 0
        for cell in chosen:
            agrees, line = agreement(cell, laboratory.run(cell), known.get(cell))
            print(line, flush=True)
            differ += not agrees
        if differ:
            raise TransferError(f"{differ} of {len(chosen)} runs differ from the results")
        return
    for made in laboratory.make(chosen, results):
        print(
            f"{made['condition']:18} {made['task']:7} seed {made['seed']:<3} {made['labelled'] or 'all'} scenes, rate "
            f"{made['learning_rate']:g}: {made['error_cm'][-1]:5.1f} cm of {made['constant_error_cm']:.1f}, "
            f"{made['seconds']:.0f} s",
            flush=True,
        )


def write_report(experiment: Experiment, results: Path) -> None:
    """NAME.md, and NAME.png where there are curves to compare."""
    known = read_results(results, experiment)
    with whole_file(results.with_suffix(".md")) as file:
        file.write(report(experiment, known).encode())
    print(f"{results.with_suffix('.md')}: {len(known)} of {len(experiment.cells())} runs")
    if all(len(rates) == 1 for rates in experiment.conditions.values()):
        with whole_file(results.with_suffix(".png")) as file:
            curves(experiment, known).savefig(file, format="png")


if __name__ == "__main__":
    try:
        main()
    except (TransferError, GraphError, CheckpointError, DatasetError, MissingExtra, ValueError, OSError) as error:
        sys.exit(f"transfer.py: {error}")
