#!/usr/bin/env python3
"""Fly through what a trained network imagines of a scene, or edit a graph, on a page of this machine alone.

python scripts/view.py runs/quick-1
python scripts/view.py shepard-metzler-7-small DATA_DIR/DATASET
python scripts/view.py diagrams/graphs/layer-2.yaml                 edit the graph of a file
python scripts/view.py runs/layer-1 --graph                         edit the graph of a run
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.errors import Error
from gqn.core.extras import import_own
from gqn.viewer.editor import Editor, edit
from gqn.viewer.opening import graph_of, is_file, opened
from gqn.viewer.page import Page, view


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[str]
    """Folder of a run, its checkpoint.pt, or the name of weights that come with the library; or a graph's file."""
    dataset: tyro.conf.Positional[Path | None] = None
    """Folder of converted scenes, DATA_DIR/DATASET of data.sh. By default the one that the run was trained on."""
    graph: bool = False
    """Edit the run's graph, and leave its weights and scenes."""
    port: int = 8080
    """Port of the page; where it is taken, the next one that is free."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    import_own(options.import_)
    page = edited(options) if options.graph or is_file(options.run) else visited(options)
    print(f"open {page.address} in a browser; Ctrl-C ends it", flush=True)
    try:
        signal.pause()
    finally:
        page.close()


def visited(options: Options) -> Page:
    """Open the page of a visit to scenes."""
    network, scenes = opened(options.run, options.dataset, lambda line: print(line, file=sys.stderr))
    return view(network, scenes, port=options.port)


def edited(options: Options) -> Editor:
    """Open the page on which a graph is edited."""
    if options.dataset:
        raise Error(f"{options.dataset}: a graph is edited without scenes, leave the dataset out")
    return edit(graph_of(options.run), port=options.port)


if __name__ == "__main__":
    with command():
        main()
