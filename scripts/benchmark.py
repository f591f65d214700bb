#!/usr/bin/env python3
"""Measure what the library does: python scripts/benchmark.py {train,peers,scaling,check,scenes,arm,data} --help."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import sys
import tempfile
from pathlib import Path
from typing import Any

import tyro

from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.scenes import FAMILIES
from gqn.studies.benchmarks.check import Check, check_device
from gqn.studies.benchmarks.data import Data, time_data
from gqn.studies.benchmarks.peers import Peers, time_peers
from gqn.studies.benchmarks.scaling import Scaling, measure_scaling
from gqn.studies.benchmarks.training import Train, time_training
from gqn.studies.benchmarks.worlds import Arm, Scenes, count_successes, time_scenes
from gqn.training.config import PRESETS, check_options

# The literal generator is the tests' reference; it is no part of the library.
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))
from reference import literal_generator

TENSORFLOW_RATE = Path(__file__).with_name("tensorflow_rate.py")
COMMANDS: dict[str, Any] = {
    "train": Train,
    "peers": Peers,
    "scaling": Scaling,
    "check": Check,
    "scenes": Scenes,
    "arm": Arm,
    "data": Data,
}
MEASUREMENTS: dict[type, Any] = {
    Train: lambda options: time_training(options, literal_generator),
    Peers: time_peers,
    Scaling: measure_scaling,
    Check: lambda options: check_device(options, REPOSITORY),
    Scenes: time_scenes,
    Arm: count_successes,
    Data: lambda options: time_data(options, TENSORFLOW_RATE),
}


def main() -> None:
    options = tyro.extras.subcommand_cli_from_dict(COMMANDS, description=__doc__)
    check(options)
    with processes(getattr(options, "device", "cpu")) as group:
        about = provenance(group)
    report = {"provenance": about, **MEASUREMENTS[type(options)](options)}
    if options.output:
        write_json(options.output, report)
    if report.get("failed"):
        raise Error(f"{', '.join(report['failed'])} failed: {options.output} says why")


def check(options: Any) -> None:
    """Raise Error or OSError, before any work, for what would fail after it; make the output's folder."""
    values = vars(options)
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else [] if isinstance(value, bool) else [value]
        least = 0 if name in ("dataset", "seed") else 1e-9
        fits = all(number >= least for number in numbers if isinstance(number, int | float))
        check_options([(name, fits, "positive" if least else "0 or more")])
    for name, known in (("families", FAMILIES), ("presets", PRESETS), ("compile", PRESETS)):
        if unknown := [asked for asked in values.get(name, ()) if asked not in known]:
            raise Error(f"--{name}: no '{unknown[0]}', only {', '.join(known)}")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        if options.output.is_dir():
            raise Error(f"--output: {options.output} is a folder: name a file")
        with tempfile.TemporaryFile(dir=options.output.parent):
            pass  # it can be written there


if __name__ == "__main__":
    with command():
        main()
