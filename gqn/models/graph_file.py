"""Graphs as files: plain values in YAML, or in JSON where the file's name ends so."""

from pathlib import Path
from typing import Any

import yaml

from gqn.core.files import whole_file, write_json
from gqn.models.nodes import GraphError

LONGEST = 2**18  # bytes of a file


class Loader(yaml.SafeLoader):
    """YAML's safe loader without aliases, which a few lines of could stand for more than memory holds.

    It takes no key twice: a second node of a name would replace the first without a word.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            told = f"*{event.anchor}: write out what it stands for"
            raise yaml.composer.ComposerError(None, None, told, event.start_mark)
        return super().compose_node(parent, index)


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands there twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_graph_file(path: str | Path) -> Any:
    """Return the plain values of a file. Raises GraphError where it can't be read."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise GraphError(f"{path} can't be read as a graph: {' '.join(str(error).split())}") from None
    return from_text(text, str(path), "a graph")


def from_text(text: str | bytes, source: str, what: str) -> Any:
    """Return the plain values of YAML or JSON.

    Args:
        text: of a whole file, or of one node.
        source: what an error calls it.
        what: it is to be, for an error.

    Raises:
        GraphError: where it is neither, or too long.
    """
    if len(text) > LONGEST:
        raise GraphError(f"{source}: more than {LONGEST} bytes: no graph is as long")
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise GraphError(f"{source} can't be read as {what}: {' '.join(str(error).split())}") from None


def to_text(values: Any) -> str:
    """Return plain values as YAML."""
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)


def write_graph_file(path: str | Path, values: Any) -> None:
    """Write plain values, whole or not at all."""
    if Path(path).suffix == ".json":
        write_json(path, values)
        return
    with whole_file(path) as file:
        file.write(to_text(values).encode())
