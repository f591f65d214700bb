#!/usr/bin/env python3
"""Draw a contact sheet of a family of scenes: a row of views for each scene."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import numpy as np
import tyro
from matplotlib import pyplot

from gqn.core.errors import Error, unknown
from gqn.core.files import whole_file
from gqn.scenes import FAMILIES
from gqn.scenes.render import render
from gqn.scenes.senses import depth_and_normals
from gqn.training.config import check_options


@dataclass(frozen=True)
class Options:
    """Draw a contact sheet of a family of scenes: a row of views for each scene."""

    family: Annotated[str, tyro.conf.Positional]
    """A name that scripts/generate-scenes.py knows."""
    output: Annotated[Path, tyro.conf.Positional]
    """The PNG to write."""
    scenes: int = 6
    views: int = 8
    """Views of each scene, spread over those that its world records."""
    seed: int = 0
    size: int = 128
    """Height and width of a frame in pixels."""
    samples: int = 1
    """Rays along the side of a pixel."""
    senses: bool = False
    """Below each row of frames their depth, the nearer the brighter, and normals, (x, y, z) as red, green and blue."""


def main() -> None:
    options = tyro.cli(Options)
    if options.family not in FAMILIES:
        raise Error(unknown("family of scenes", options.family, FAMILIES))
    if options.output.suffix != ".png":
        raise Error(f"{options.output}: the sheet is a PNG: name a file that ends in .png")
    check_options((name, getattr(options, name) > 0, "positive") for name in ("scenes", "views", "size", "samples"))
    check_options([("seed", options.seed >= 0, "0 or more")])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    family, random, rows = FAMILIES[options.family](), np.random.default_rng(options.seed), []
    for _ in range(options.scenes):
        setting = family.setting(random)
        chosen = np.linspace(0, family.views - 1, options.views).round().astype(int)
        frames = render(setting.world, setting.cameras[chosen], options.size, options.samples)
        shown = [frames]
        if options.senses:
            depth, normals = depth_and_normals(setting.world, setting.cameras[chosen], options.size)
            near = np.where(depth > 0, 1 - depth / depth.max(), 0)[..., None].repeat(3, axis=-1)
            shown += [(255 * near).astype(np.uint8), (127.5 * (normals + 1)).astype(np.uint8)]
        rows += [np.concatenate(np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0))), axis=1) for row in shown]
    with whole_file(options.output) as file:
        pyplot.imsave(cast(BinaryIO, file), np.concatenate(rows), format="png")


if __name__ == "__main__":
    with command():
        main()
