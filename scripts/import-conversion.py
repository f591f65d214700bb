"""Write a dataset that another PyTorch converter made (.pt or .pt.gz files) as record files, to convert as usual."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.data.foreign import import_conversion


@dataclass(frozen=True)
class Options:
    source: tyro.conf.Positional[Path]
    """Folder with train/ or test/ in it."""
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA_DIR/NAME")]
    """Folder of the dataset to write."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    print(import_conversion(options.source, options.directory))


if __name__ == "__main__":
    with command("run again to go on"):
        main()
