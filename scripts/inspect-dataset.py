"""Tell what a converted dataset holds, and draw a contact sheet of it."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.errors import Error
from gqn.data.survey import contact_sheet, survey


@dataclass(frozen=True)
class Options:
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """DATA_DIR/DATASET, converted."""
    sheet: Path | None = None
    """The PNG to write, by default DIR/torch/contact-sheet.png."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    sheet = options.sheet or options.directory / "torch" / "contact-sheet.png"
    splits = survey(options.directory)
    for split, told in splits.items():
        print(
            f"{told['dataset']} {split}: {told['scenes']} scenes of {told['views']} views, "
            f"{told['pixels']}x{told['pixels']} pixels, from {told['record_files']} record files, "
            f"in {told['shards']} shards of {told['bytes'] / 1e6:.1f} MB together"
        )
        for name, (smallest, largest) in told["cameras"].items():
            print(f"  {name:9} {smallest:9.4f} to {largest:9.4f}")
        if told["brightness"]:
            print("  pixels    {:9.1f} of 255, standard deviation {:.1f}".format(*told["brightness"]))
        print(f"  damaged records: {len(told['damages'])}", *told["damages"], sep="\n    ")
        if told["unreadable"]:
            print("  unreadable:", *told["unreadable"], sep="\n    ")
    if any(told["unreadable"] for told in splits.values()):
        raise Error("some scenes could not be read")
    try:
        contact_sheet(options.directory, sheet)
        print(f"contact sheet: {sheet}")
    except OSError as error:
        if options.sheet:
            raise
        print(f"contact sheet: none ({error}): name a place for it by --sheet", file=sys.stderr)


if __name__ == "__main__":
    with command():
        main()
