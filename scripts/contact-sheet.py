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
from gqn.scenes.render import render


@dataclass(frozen=True)
class Options:
    """Draw a contact sheet of a family of scenes: a row of views for each scene."""

    family: Annotated[str, tyro.conf.Positional]
    """A name that scripts/generate-scenes.py knows."""
    output: Annotated[Path, tyro.conf.Positional]
    """The PNG to write."""
    scenes: int = 6
    views: int = 8
    """Of each scene, spread over those that its family records."""
    seed: int = 0
    size: int = 128
    """Height and width of a frame in pixels."""
    samples: int = 1
    """Rays along the side of a pixel."""


def main() -> None:
    options = tyro.cli(Options)
    if options.family not in FAMILIES:
        sys.exit(f"contact-sheet: no family of scenes {options.family!r}, only {', '.join(FAMILIES)}")
    family, random, rows = FAMILIES[options.family](), np.random.default_rng(options.seed), []
    for _ in range(options.scenes):
        setting = family.setting(random)
        chosen = np.linspace(0, family.views - 1, options.views).round().astype(int)
        frames = render(setting.world, setting.cameras[chosen], options.size, options.samples)
        rows.append(np.concatenate(np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0))), axis=1))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pyplot.imsave(options.output, np.concatenate(rows))


if __name__ == "__main__":
    main()
