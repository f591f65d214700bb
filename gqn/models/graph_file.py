"""Graphs as files: plain values in YAML, or in JSON where the file's name ends so."""

from pathlib import Path
from typing import Any

import yaml

from gqn.core.files import whole_file, write_json
from gqn.models.nodes import GraphError


class Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes no key twice: a second node of a name would silently replace the first."""


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands there twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_graph_file(path: str | Path) -> Any:
    """Return the plain values of a file. Raises GraphError where it can't be read."""
    try:
        return yaml.load(Path(path).read_bytes(), Loader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise GraphError(f"{path} can't be read as a graph: {reason}") from None


def write_graph_file(path: str | Path, values: Any) -> None:
    """Write plain values, whole or not at all."""
    if Path(path).suffix == ".json":
        write_json(path, values)
        return
    with whole_file(path) as file:
        file.write(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120).encode())
