#!/usr/bin/env python3
"""Draw a graph of representations, and print its nodes with their shapes and costs.

python scripts/visualise.py diagrams/graphs/layer-2.yaml layer-2.svg
python scripts/visualise.py diagrams/graphs/layer-2.yaml growth.png --before diagrams/graphs/layer-1.yaml
python scripts/visualise.py runs/quick-1 quick.svg --node vision
"""

import argparse
import sys
from pathlib import Path

from gqn.core.files import whole_file
from gqn.models import diagram
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError
from gqn.training import checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="a graph's YAML or JSON file, a run's folder, or its checkpoint.pt")
    parser.add_argument("picture", type=Path, help="file to write, .svg, .png or .pdf")
    parser.add_argument("--before", type=Path, help="another graph: draw what an edit of it changed")
    parser.add_argument("--node", help="print the parts of this node as well")
    options = parser.parse_args()
    if options.picture.suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"{options.picture}: a picture's name ends with .svg, .png or .pdf")
    graph = load(options.graph)
    after = graph.describe()
    if options.node and options.node not in after.spec:
        raise GraphError(f"{options.graph} has no node '{options.node}'; there are {', '.join(after.spec)}")
    figure = diagram.change(load(options.before).describe(), after) if options.before else diagram.draw(after)
    with whole_file(options.picture) as file:
        file.write(diagram.picture(figure, options.picture.suffix[1:]))
    print(diagram.table(after))
    if options.node:
        print(f"\n{diagram.tree(after, options.node, graph.nodes[options.node])}")


def load(path: Path) -> RecursiveGQN:
    """The graph of a file or of a run."""
    if path.suffix in (".yaml", ".yml", ".json"):
        return RecursiveGQN.from_file(path)
    return checkpoint.load(path)


if __name__ == "__main__":
    try:
        main()
    except (GraphError, checkpoint.CheckpointError, ValueError, OSError) as error:
        sys.exit(f"visualise.py: {error}")
