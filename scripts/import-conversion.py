"""Write a dataset that another PyTorch converter made (.pt or .pt.gz files) as record files, to convert as usual."""

import argparse
import sys
from pathlib import Path

from gqn.data.dataset import DatasetError
from gqn.data.foreign import import_conversion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with train/ or test/ in it")
    parser.add_argument("directory", type=Path, metavar="DATA_DIR/NAME", help="folder of the dataset to write")
    options = parser.parse_args()
    try:
        print(import_conversion(options.source, options.directory))
    except (DatasetError, OSError) as error:
        sys.exit(f"import-conversion: {error}")
    except KeyboardInterrupt:
        sys.exit("import-conversion: interrupted; run again to go on")


if __name__ == "__main__":
    main()
