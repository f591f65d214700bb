"""A graph that is edited: each edit is made by the library, which checks it, and can be taken back.

It knows of no page and no browser. Its graph lies on PyTorch's meta device: it has shapes and costs, and no numbers.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gqn.core.errors import Error
from gqn.models.diagram import differences
from gqn.models.graph import RecursiveGQN
from gqn.models.graph_file import from_text, to_text
from gqn.models.nodes import SECTIONS, WORDS, GraphError, Kind, to_plain
from gqn.training.setup import chosen_tasks
from gqn.viewer.opening import FILES, is_file

SECTION = {kind: section for section, kind in SECTIONS.items()}
# A new node at first, beside what it reads; all else is written into its description.
NEW: dict[Kind, dict[str, Any]] = {
    "task": {"head": "vector", "target": [3]},
    "representation": {"encoder": "mlp", "channels": 128},
    "sense": {"encoder": "vector", "frame": [16], "pose": 7, "channels": 128},
}


class Editing:
    """A graph that is edited, without its weights.

    Args:
        graph: a graph, which itself stays as it is.

    Attributes:
        graph: as it is now.
        opened: as it was at first.
    """

    def __init__(self, graph: RecursiveGQN) -> None:
        self.graph = untrained(graph.to_dict())
        self.opened = self.graph.describe()
        self._past: list[dict[str, Any]] = []
        self._written: set[Path] = set()

    def edit(self, change: Callable[[RecursiveGQN], object]) -> None:
        """Make an edit of the library's.

        Args:
            change: is given the graph, such as `lambda graph: graph.freeze("vision")`.

        Raises:
            GraphError: where it is refused; the graph is then as it was.
        """
        before = self.graph.to_dict()
        with torch.device("meta"):
            change(self.graph)
        self._keep(before)

    def add(self, kind: Kind, name: str, text: str) -> None:
        """Add a node.

        Args:
            kind: of the new node.
            name: of the new node.
            text: its description, as a graph's file has it.

        Raises:
            GraphError: where it does not fit.
        """
        values = described(kind, name, text)
        try:
            self.edit(lambda graph: getattr(graph, f"add_{kind}")(name, **values))
        except TypeError as error:  # an option that is no word, or the name of an argument
            raise GraphError(f"{kind} '{name}': {error}") from None

    def replace(self, name: str, text: str) -> None:
        """Give a node another description. Those who read it are made anew, for the shape that it gives then.

        Args:
            name: of the node.
            text: its description, as a graph's file has it.

        Raises:
            GraphError: where there is no such node, or the graph does not fit together then.
        """
        if name not in self.graph.spec:
            raise GraphError(f"no node '{name}': click one")
        kind, before = self.graph.spec[name].kind, self.graph.to_dict()
        section = {**before[SECTION[kind]], name: described(kind, name, text)}
        self.graph = untrained({**before, SECTION[kind]: section})
        self._keep(before)

    def undo(self) -> None:
        """Take the last edit back. Raises Error where there is none."""
        if not self._past:
            raise Error("there is nothing to take back: the graph is as it was opened")
        self.graph = untrained(self._past[-1])
        self._past.pop()

    def description(self, name: str) -> str:
        """Return a node's description as a graph's file has it."""
        node = self.graph.spec[name]
        return to_text(to_plain({name: node})[SECTION[node.kind]][name])

    def suggested(self, kind: Kind, reads: str = "") -> tuple[str, str]:
        """Return a name that is free and a description for a new node, to be changed as one likes.

        Args:
            kind: of the new node.
            reads: the node that it reads, or that one who reads the same does; none for a new sense.
        """
        node = self.graph.spec.get(reads)
        inputs = [] if node is None else list(node.inputs) if node.kind == "task" else [reads]
        values = NEW[kind] if kind == "sense" else {"inputs": inputs, **NEW[kind]}
        number = 1
        while f"{kind}-{number}" in self.graph.spec:
            number += 1
        return f"{kind}-{number}", to_text(values)

    def unfinished(self) -> str:
        """Return in a line why the graph can't be trained yet; "" where it can."""
        try:
            self.graph.check_whole()
            chosen_tasks(self.graph, ())
        except GraphError as error:
            return str(error)
        return ""

    def marks(self) -> dict[str, str]:
        """Return "added", "removed" or "changed" by node, since the graph was opened."""
        return differences(self.opened, self.graph.describe())

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Write the graph to a file that `run-gqn.py --graph` takes, and return its full path.

        Args:
            file: a new YAML or JSON file, or one that was written before by this.

        Raises:
            Error: where the graph can't be trained, or the file is there already or can't be written.
        """
        path = Path(file).expanduser().absolute()
        if not is_file(path):
            raise Error(f"{file}: a graph's file ends with {', '.join(FILES)}")
        if line := self.unfinished():
            raise GraphError(f"not saved: {line}")
        if path.exists() and path not in self._written:
            raise Error(f"{file} is there already: name another file, or remove it first")
        try:
            self.graph.to_file(path)
        except OSError as error:
            raise Error(f"{file} can't be written: {error.strerror}") from None
        self._written.add(path)
        return path

    def _keep(self, before: dict[str, Any]) -> None:
        if self.graph.to_dict() != before:
            self._past.append(before)


def untrained(values: Any) -> RecursiveGQN:
    """Return the graph of plain values on the meta device. Raises GraphError where they are no graph."""
    with torch.device("meta"):
        return RecursiveGQN.from_dict(values)


def described(kind: Kind, name: str, text: str) -> dict[str, Any]:
    """Return a node's options from its description. Raises GraphError where it holds none."""
    values = from_text(text, f"{kind} '{name}'", "a node's description")
    if not isinstance(values, dict):
        word = WORDS[kind]
        raise GraphError(f"{kind} '{name}': name its {word} and options, one a line: {word}: {NEW[kind][word]}")
    return values
