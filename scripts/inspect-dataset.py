"""Tell what a converted dataset holds, and draw a contact sheet of it."""

import argparse
import sys
from pathlib import Path

from gqn.data.dataset import DatasetError
from gqn.data.survey import contact_sheet, survey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="DATA_DIR/DATASET, converted")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="by default DIR/torch/contact-sheet.png")
    options = parser.parse_args()
    sheet = options.sheet or options.directory / "torch" / "contact-sheet.png"
    try:
        splits = survey(options.directory)
        contact_sheet(options.directory, sheet)
    except (DatasetError, OSError) as error:
        sys.exit(f"inspect-dataset: {error}")
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
    print(f"contact sheet: {sheet}")
    if any(told["unreadable"] for told in splits.values()):
        sys.exit("inspect-dataset: some scenes could not be read")


if __name__ == "__main__":
    main()
