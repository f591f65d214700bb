#!/usr/bin/env python3
"""Draw a dataset of scenes as TFRecords like DeepMind's; run again, it draws what is missing."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.errors import Error, unknown
from gqn.data.generate import generate
from gqn.scenes import FAMILIES


@dataclass(frozen=True)
class Options:
    """Draw a dataset of scenes."""

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The dataset goes to DIR/NAME."""
    scenes: int
    """Scenes to train on."""
    seed: int
    """Equal seeds give equal scenes."""
    test_scenes: int | None = None
    """Scenes to test on; by default a tenth of those to train on."""
    name: str | None = None
    """By default FAMILY."""
    twins: bool = False
    """Draw for each scene to test on its twin too: all the same but what the scene holds."""
    workers: int | None = None
    """Processes; by default one for each core."""


def main() -> None:
    usage = f"generate-scenes.py FAMILY DIR --scenes N --seed S [options]; FAMILY is one of {', '.join(FAMILIES)}"
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"{__doc__}\n\n{usage}\n\nThe options of a family: generate-scenes.py FAMILY --help")
        return
    family = sys.argv[1]
    if family not in FAMILIES:
        raise Error(unknown("family of scenes", family, FAMILIES))
    published = FAMILIES[family]()
    kind = type(published)

    def run(options: Annotated[Options, tyro.conf.arg(name="")], of_family: kind = published) -> Path:  # type: ignore[valid-type]
        return generate(family, **vars(options), **asdict(of_family))

    print(
        tyro.cli(
            run,
            prog=f"generate-scenes.py {family}",
            description=__doc__,
            args=sys.argv[2:],
            config=(tyro.conf.OmitArgPrefixes,),
        )
    )


if __name__ == "__main__":
    with command("run again to go on"):
        main()
