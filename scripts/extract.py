#!/usr/bin/env python3
"""Take what a run learned out of it: averaged weights alone, in a small folder that can be shared.

python scripts/extract.py runs/small-1 layer-1 --nodes vision     some nodes, for --start, gqn.load and transfer
python scripts/extract.py runs/small-1 small --half               the whole network in half precision
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.extras import import_own
from gqn.training.saved import FILE
from gqn.training.sharing import extract


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """A run's folder, its checkpoint, or any other name that gqn.load takes."""
    folder: tyro.conf.Positional[Path]
    """The folder to write: model.safetensors, config.json and README.md, which says what they are."""
    nodes: tuple[str, ...] = ()
    """Nodes to take, by default all; a flat network has vision and render."""
    half: bool = False
    """Half precision: half the size."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    import_own(options.import_)
    extract(options.run, options.folder, options.nodes, half=options.half)
    print(f"{options.folder}: {(options.folder / FILE).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    with command():
        main()
