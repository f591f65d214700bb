"""Write a dataset that another PyTorch converter made (.pt or .pt.gz files) as record files, to convert as usual."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import argparse
from pathlib import Path

from gqn.data.foreign import import_conversion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with train/ or test/ in it")
    parser.add_argument("directory", type=Path, metavar="DATA_DIR/NAME", help="folder of the dataset to write")
    options = parser.parse_args()
    print(import_conversion(options.source, options.directory))


if __name__ == "__main__":
    with command("run again to go on"):
        main()
