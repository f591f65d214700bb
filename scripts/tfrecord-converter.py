"""Convert the TFRecords of a dataset to torch shards; run again, it does what is missing."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gqn.core.errors import Error
from gqn.data.convert import DamagedRecords, convert
from gqn.data.dataset import BUCKET, DATASETS, SPLITS, TWINS
from gqn.data.fetch import Fetch
from gqn.training.config import check_options

KNOWN = f"Folder with train/ and test/ in it: {', '.join(DATASETS)}, or one that has a dataset.json."


@dataclass(frozen=True)
class Options:
    data_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA_DIR")]
    """Folder that holds the dataset's folder."""
    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET", help=KNOWN)]
    batch: int
    """Most scenes of a shard."""
    output: Path | None = None
    """Write the shards to OUTPUT/DATASET/torch instead of DATA_DIR/DATASET/torch."""
    workers: int | None = None
    """Processes, by default one for each core."""
    split: Literal["train", "test", "twins"] | None = None
    """Only this split, by default all that are there."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N")] = None
    """The I-th of N parts of the record files, for N runs beside each other; under torchrun by itself."""
    fetch: bool = False
    """Get the record files first, and convert each as it comes."""
    source: str = BUCKET
    """gs://, http:// or file:// folder to fetch from."""
    files: int | None = None
    """Fetch only the first of each split."""
    delete_records: bool = False
    """Remove each fetched file once its shards are verified."""
    allow_damaged: bool = False
    """Exit with 0 although some records are damaged."""


def part(text: str | None) -> tuple[int, int]:
    """Return the part of the work that I/N names, or else this process's part among those that torchrun started."""
    if text is None:
        return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise Error(f"--shard {text}: no part such as 1/8 or 8/8")
    return int(number), int(count)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    numbers = {name: getattr(options, name) for name in ("batch", "workers", "files")}
    check_options((name, number is None or number > 0, "at least 1") for name, number in numbers.items())
    if not options.fetch and (options.files or options.delete_records or options.source != BUCKET):
        raise Error("--source, --files and --delete-records need --fetch")
    try:
        report = convert(
            options.data_dir / options.dataset,
            options.batch,
            output=options.output,
            workers=options.workers,
            splits=[options.split] if options.split else (*SPLITS, TWINS),
            share=part(options.shard),
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
