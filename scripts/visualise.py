#!/usr/bin/env python3
"""Draw a graph of representations, and print its nodes with their shapes and costs.

python scripts/visualise.py diagrams/graphs/layer-2.yaml layer-2.svg
python scripts/visualise.py diagrams/graphs/layer-2.yaml growth.png --before diagrams/graphs/layer-1.yaml
python scripts/visualise.py runs/quick-1 quick.svg --node vision
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gqn.core.errors import Error
from gqn.core.extras import import_own
from gqn.core.files import whole_file
from gqn.models import diagram
from gqn.models.nodes import GraphError
from gqn.viewer.opening import graph_of


@dataclass(frozen=True)
class Options:
    graph: tyro.conf.Positional[Path]
    """A graph's YAML or JSON file, a run's folder, or its checkpoint.pt."""
    picture: tyro.conf.Positional[Path]
    """File to write, .svg, .png or .pdf."""
    before: Path | None = None
    """Another graph: draw what an edit of it changed."""
    node: str | None = None
    """Print the parts of this node as well."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    import_own(options.import_)
    if options.picture.suffix not in (".svg", ".png", ".pdf"):
        raise Error(f"{options.picture}: a picture's name ends with .svg, .png or .pdf")
    graph = graph_of(options.graph)
    after = graph.describe()
    if options.node and options.node not in after.spec:
        raise GraphError(f"{options.graph} has no node '{options.node}'; there are {', '.join(after.spec)}")
    figure = diagram.change(graph_of(options.before).describe(), after) if options.before else diagram.draw(after)
    with whole_file(options.picture) as file:
        file.write(diagram.picture(figure, options.picture.suffix[1:]))
    print(diagram.table(after))
    if options.node:
        print(f"\n{diagram.tree(after, options.node, graph.nodes[options.node])}")


if __name__ == "__main__":
    with command():
        main()
