#!/usr/bin/env python3
"""Take what a run learned out of it: averaged weights alone, in a small file.

python scripts/extract.py runs/small-1 layer-1.pt --nodes vision     some nodes, for --start, gqn.load and transfer
python scripts/extract.py runs/small-1 small.pt --half               the whole network in half precision
"""

import argparse
import sys
from pathlib import Path

from gqn.models.graph import GraphError
from gqn.training.checkpoint import CheckpointError, extract


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder, or its checkpoint")
    parser.add_argument("file", type=Path, help="what to write, NAME.pt")
    parser.add_argument("--nodes", nargs="+", default=(), help="which to take; a flat network has vision and render")
    parser.add_argument("--half", action="store_true", help="half precision: half the size")
    options = parser.parse_args()
    if options.file.suffix != ".pt":
        parser.error(f"{options.file}: a checkpoint's name ends in .pt")
    extract(options.run, options.file, options.nodes, half=options.half)
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except (CheckpointError, GraphError, OSError) as error:
        sys.exit(f"extract.py: {error}")
