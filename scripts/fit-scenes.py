#!/usr/bin/env python3
"""Fit drawn worlds to genuine scenes: the error that is left, the lens, and what tells ours apart.

python scripts/fit-scenes.py CONVERTED results/worlds
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.studies.worlds.study import study


@dataclass(frozen=True)
class Options:
    """Fit drawn worlds to genuine scenes."""

    converted: Annotated[Path, tyro.conf.Positional]
    """Folder of the converted datasets mazes, rooms_ring_camera_six_views and shepard_metzler_5_parts(_fitted)."""
    output: Annotated[Path, tyro.conf.Positional]
    """Folder for fits.json and the sheets."""
    mazes: int = 5
    """Mazes to fit."""
    objects: int = 5
    """Shepard-Metzler objects with fitted cameras to fit."""


def main() -> None:
    options = tyro.cli(Options)
    print(study(options.converted, options.output, options.mazes, options.objects))


if __name__ == "__main__":
    with command():
        main()
