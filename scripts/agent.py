#!/usr/bin/env python3
"""Train agents that reach, by what they observe, and compare how many moves each takes to learn it.

python scripts/agent.py results/transfer/agent.jsonl --observations expert chance state
python scripts/agent.py results/transfer/agent.jsonl --layer-1 runs/layer-1 --layer-2 runs/layer-2

NAME.jsonl gets a line when a run ends, and runs that it holds are not made again; beside it lie NAME.md and NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gqn.studies.runner import Mode, carry_out

with command():
    from gqn.studies.agent.environment import Camera
    from gqn.studies.agent.learner import Learning, Observation
    from gqn.studies.agent.protocol import Agents


@dataclass(frozen=True)
class Options:
    """Train agents that reach, by what they observe, and compare how many moves each takes to learn it."""

    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME.jsonl")]
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
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    layers = {name: (options.layer_1, "vision") for name in ("pixels", "random", "layer-1") if options.layer_1}
    if options.layer_2:
        layers["layer-2"] = (options.layer_2, options.node)
    study = Agents(options.results, options.observations, options.cameras, options.seeds, options.learning, layers)
    carry_out(study, study.cells(), options.mode)


if __name__ == "__main__":
    with command("the same command goes on"):
        main()
