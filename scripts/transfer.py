#!/usr/bin/env python3
"""Does what one task taught make another cheaper? Runs an experiment of gqn.studies.transfer and reports it.

python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced     make the runs that are missing
python scripts/transfer.py results/transfer/layer-1.yaml --report       tables and figures from the results alone
python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced \\
    --conditions pixels --tasks locate --seeds 3 --again                 one cell anew, compared with the results
python scripts/transfer.py --smoke                                          everything at toy size

The results, tables and figures lie beside the experiment's file: NAME.jsonl, NAME.md, NAME.png.
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
from gqn.core.errors import unknown
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.scenes.arm import TASKS
from gqn.studies.runner import Mode, StudyError, carry_out, choose, read_experiment
from gqn.studies.transfer.experiment import CONDITIONS, Experiment
from gqn.studies.transfer.probes import linear_probes
from gqn.studies.transfer.protocol import Transfer
from gqn.studies.transfer.smoke import smoke
from gqn.training.checkpoint import read, save_network

LAYER_1 = "layer-1.pt"


@dataclass(frozen=True)
class Options:
    """Does what one task taught make another cheaper?"""

    experiment: tyro.conf.Positional[Path | None] = None
    """A YAML file of `gqn.studies.transfer.experiment.Experiment`."""
    data: Path | None = None
    """Converted dataset of the arm, drawn by scripts/generate-scenes.py."""
    layer_1: Path | None = None
    """Run or checkpoint trained on it by rendering alone; layer-1.pt beside EXPERIMENT where none is given."""
    work: Path = Path("runs/transfer")
    """Keeps true answers."""
    conditions: tuple[str, ...] = ()
    """Only these."""
    tasks: tuple[str, ...] = ()
    """Only these."""
    seeds: tuple[int, ...] = ()
    """Only these."""
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)
    probe: bool = False
    """Only ask what layer 1 holds, into layer-1-probes.json."""
    keep_layer_2: tuple[str, Path] | None = None
    """Only train a second layer for the other tasks than TASK, into FILE.pt."""
    smoke: bool = False
    """The whole protocol at toy size, in a temporary folder."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            print(smoke(Path(folder)))
        return
    if options.experiment is None:
        raise StudyError("name an experiment's file, or --smoke")
    layer_1 = options.layer_1 or (None if options.mode.report else options.experiment.with_name(LAYER_1))
    plan = read_experiment(options.experiment, Experiment)
    study = Transfer(plan, options.experiment.with_suffix(".jsonl"), options.data, layer_1, options.work)
    if options.probe:
        probe(study)
    elif options.keep_layer_2:
        keep_layer_2(study, *options.keep_layer_2)
    else:
        chosen = choose(study, condition=options.conditions, task=options.tasks, seed=options.seeds)
        carry_out(study, chosen, options.mode)


def probe(study: Transfer) -> None:
    found = linear_probes(study.laboratory)
    with processes("cpu") as group:
        write_json(study.results.with_name("layer-1-probes.json"), {**provenance(group), "r_squared": found})
    print(json.dumps(found, indent=2))


def keep_layer_2(study: Transfer, task: str, file: Path) -> None:
    if task not in TASKS:
        raise StudyError(f"--keep-layer-2: {unknown('task', task, TASKS)}")
    kept = study.laboratory.bench.second_layer(CONDITIONS["layer-2"], task, study.plan.seeds[0])
    assert study.layer_1 is not None
    save_network(file, kept.graph, read(study.layer_1))
    print(f"{file}: a second layer that was trained for other tasks than {task}, in {kept.seconds:.0f} s")


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
