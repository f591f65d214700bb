#!/usr/bin/env python3
"""Take what a run learned out of it: averaged weights alone, in a small file.

python scripts/extract.py runs/small-1 layer-1.pt --nodes vision     some nodes, for --start, gqn.load and transfer
python scripts/extract.py runs/small-1 small.pt --half               the whole network in half precision
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.errors import Error
from gqn.core.extras import import_own
from gqn.training.checkpoint import extract


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """A run's folder, or its checkpoint."""
    file: tyro.conf.Positional[Path]
    """The file to write, NAME.pt."""
    nodes: tuple[str, ...] = ()
    """Nodes to take, by default all; a flat network has vision and render."""
    half: bool = False
    """Half precision: half the size."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    import_own(options.import_)
    if options.file.suffix != ".pt":
        raise Error(f"{options.file}: a checkpoint's name ends in .pt")
    extract(options.run, options.file, options.nodes, half=options.half)
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    with command():
        main()
