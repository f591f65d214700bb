"""Draw a dataset of scenes as TFRecords like DeepMind's; run again, it draws what is missing."""

import argparse
import sys
from pathlib import Path

from gqn.data.dataset import DatasetError
from gqn.data.generate import generate
from gqn.scenes import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("directory", type=Path, metavar="DIR", help="the dataset goes to DIR/NAME")
    parser.add_argument("--scenes", type=int, required=True, metavar="N", help="scenes to train on")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="equal seeds give equal scenes")
    parser.add_argument("--test-scenes", type=int, metavar="T", help="scenes to test on, by default a tenth of N")
    parser.add_argument("--size", type=int, metavar="PX", help="height and width of a frame, by default the family's")
    parser.add_argument("--cameras", help="where they stand: sphere, by default, or ring")
    parser.add_argument("--name", help="by default FAMILY")
    parser.add_argument("--workers", type=int, metavar="W", help="processes, by default one for each core")
    options = parser.parse_args()
    try:
        folder = generate(**vars(options))
    except (DatasetError, OSError) as error:
        sys.exit(f"generate-scenes: {error}")
    except KeyboardInterrupt:
        sys.exit("generate-scenes: interrupted; run again to go on")
    print(folder)


if __name__ == "__main__":
    main()
