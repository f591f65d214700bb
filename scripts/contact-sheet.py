#!/usr/bin/env python3
"""Draw a contact sheet of a family of scenes: a row of views for each scene."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from matplotlib import pyplot

from gqn.scenes import FAMILIES


@dataclass(frozen=True)
class Options:
    """Draw a contact sheet of a family of scenes: a row of views for each scene."""

    family: Annotated[str, tyro.conf.Positional]
    """A name that scripts/generate-scenes.py knows."""
    output: Annotated[Path, tyro.conf.Positional]
    """The PNG to write."""
    scenes: int = 6
    views: int = 8
    seed: int = 0
    size: int = 128
    """Height and width of a frame in pixels."""
    samples: int = 1
    """Rays along the side of a pixel."""


def main() -> None:
    options = tyro.cli(Options)
    if options.family not in FAMILIES:
        sys.exit(f"contact-sheet: no family of scenes {options.family!r}, only {', '.join(FAMILIES)}")
    family = FAMILIES[options.family](size=options.size, samples=options.samples, views=options.views)
    random = np.random.default_rng(options.seed)
    rows = []
    for _ in range(options.scenes):
        rows.append(np.concatenate(np.pad(family.scene(random).frames, ((0, 0), (1, 1), (1, 1), (0, 0))), axis=1))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pyplot.imsave(options.output, np.concatenate(rows))


if __name__ == "__main__":
    main()
