"""Convert the TFRecords of a dataset to torch shards; run again, it does what is missing."""

import argparse
import sys
from pathlib import Path

from gqn.data.convert import convert
from gqn.data.dataset import DATASETS, SPLITS, DatasetError


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR", help="folder that holds the dataset's folder")
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help=f"folder with train/ and test/ in it: {', '.join(DATASETS)}, or one that has a dataset.json",
    )
    parser.add_argument("--batch", type=positive, required=True, metavar="N", help="most scenes of a shard")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write the shards to DIR/DATASET/torch instead of DATA_DIR/DATASET/torch",
    )
    parser.add_argument("--workers", type=positive, metavar="W", help="processes, by default one for each core")
    parser.add_argument("--split", choices=SPLITS, help="only this split, by default both")
    options = parser.parse_args()
    try:
        report = convert(
            options.data_dir / options.dataset,
            options.batch,
            output=options.output,
            workers=options.workers,
            splits=[options.split] if options.split else SPLITS,
        )
    except (DatasetError, OSError) as error:
        sys.exit(f"tfrecord-converter: {error}")
    except KeyboardInterrupt:
        sys.exit("tfrecord-converter: interrupted; run again to go on")
    print(*report.notes, report, sep="\n")


if __name__ == "__main__":
    main()
