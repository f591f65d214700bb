#!/usr/bin/env python3
"""Train agents that reach, by what they observe, and compare how many moves each takes to learn it.

python scripts/agent.py results/transfer/agent/runs.jsonl --observations expert chance state
python scripts/agent.py results/transfer/agent/runs.jsonl --layer-1 runs/layer-1 --layer-2 runs/layer-2

RUNS.jsonl gets a line when a run ends, and runs that it holds are not run again; beside it lie table.md and curves.png.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.extras import MissingExtra
from gqn.core.files import whole_file
from gqn.models.nodes import GraphError
from gqn.training.checkpoint import CheckpointError

try:
    from gqn.studies.agent import Camera, Learning, Observation, compare, picture, table
except MissingExtra as error:
    sys.exit(f"agent: {error}")


@dataclass(frozen=True)
class Options:
    """Train agents that reach, by what they observe, and compare how many moves each takes to learn it."""

    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUNS.jsonl")]
    """File of the runs, which is made or gone on with."""
    observations: tuple[Observation, ...] = ("expert", "chance", "state", "pixels", "random", "layer-1", "layer-2")
    """What agents observe; expert and chance don't learn."""
    cameras: tuple[Camera, ...] = ("fixed",)
    """One camera for all episodes, or another one in each."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run each."""
    layer_1: str | None = None
    """Run whose sense `vision` is layer-1; random and pixels take it untrained."""
    layer_2: str | None = None
    """Run whose representation is layer-2."""
    node: str = "arm"
    """That representation."""
    learning: Annotated[Learning, tyro.conf.arg(name="")] = field(default_factory=Learning)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    layers = {name: (options.layer_1, "vision") for name in ("pixels", "random", "layer-1") if options.layer_1}
    if options.layer_2:
        layers["layer-2"] = (options.layer_2, options.node)
    for name in ("layer-1", "layer-2"):
        if name in options.observations and name not in layers:
            raise ValueError(f"--observations {name} needs --{name} RUN")
    runs = compare(options.results, options.observations, options.cameras, options.seeds, options.learning, layers)
    folder = options.results.parent
    with whole_file(folder / "table.md") as file:
        file.write(table(runs).encode())
    with whole_file(folder / "curves.png") as file:
        picture(runs).savefig(file, format="png")
    print(table(runs))


if __name__ == "__main__":
    try:
        main()
    except (CheckpointError, GraphError, ValueError, OSError) as error:
        sys.exit(f"agent: {error}")
    except KeyboardInterrupt:
        sys.exit("agent: interrupted; run again to go on")
