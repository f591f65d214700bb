"""Convert the TFRecords of a dataset to torch shards; run again, it does what is missing."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import argparse
import os
import sys
from pathlib import Path

from gqn.data.convert import DamagedRecords, convert
from gqn.data.dataset import BUCKET, DATASETS, SPLITS, TWINS
from gqn.data.fetch import Fetch


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def part(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 1/8 or 8/8")
    return int(number), int(count)


def torchrun_part() -> tuple[int, int]:
    """This process's part of the work among those that torchrun started; all of it for one alone."""
    return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))


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
    parser.add_argument("--split", choices=(*SPLITS, TWINS), help="only this split, by default all that are there")
    parser.add_argument(
        "--shard",
        type=part,
        default=torchrun_part(),
        metavar="I/N",
        help="the I-th of N parts of the record files, for N runs beside each other (under torchrun by itself)",
    )
    parser.add_argument("--fetch", action="store_true", help="get the record files first, and convert each as it comes")
    parser.add_argument(
        "--source", metavar="URL", default=BUCKET, help=f"gs://, http:// or file:// folder to fetch from ({BUCKET})"
    )
    parser.add_argument("--files", type=positive, metavar="N", help="fetch only the first N of each split")
    parser.add_argument(
        "--delete-records", action="store_true", help="remove each fetched file once its shards are verified"
    )
    parser.add_argument("--allow-damaged", action="store_true", help="exit with 0 although some records are damaged")
    options = parser.parse_args()
    if not options.fetch and (options.files or options.delete_records or options.source != BUCKET):
        parser.error("--source, --files and --delete-records need --fetch")
    try:
        report = convert(
            options.data_dir / options.dataset,
            options.batch,
            output=options.output,
            workers=options.workers,
            splits=[options.split] if options.split else (*SPLITS, TWINS),
            share=options.shard,
            allow_damaged=options.allow_damaged,
            fetch=Fetch(options.source, options.files, options.delete_records) if options.fetch else None,
        )
    except DamagedRecords as error:
        print(*error.report.notes, error.report, sep="\n")
        sys.exit(f"{error}\ntfrecord-converter: everything sound is converted; --allow-damaged takes this for success")
    print(*report.notes, *filter(None, [report.table()]), report, sep="\n")


if __name__ == "__main__":
    with command("run again to go on"):
        main()
