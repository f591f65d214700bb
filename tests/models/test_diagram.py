"""Pictures of graphs: nothing overlaps, everything is named, and the same graph gives the same file."""

import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from graphs import flat, three_layers

from gqn.models import diagram
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import Description, Node, Trial

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "diagrams/graphs").glob("*.yaml"))


def random_graph(seed: int) -> Description:
    """Some senses, representations of earlier nodes, and tasks."""
    random = np.random.default_rng(seed)
    spec: dict[str, Node] = {
        f"s{i}": Node("sense", "vector", {"frame": (3,), "pose": 7}) for i in range(random.integers(1, 4))
    }
    for i in range(random.integers(0, 6)):
        inputs = random.permutation(list(spec))[: random.integers(1, 4)].tolist()
        spec[f"r{i}"] = Node("representation", "mlp", {}, tuple(inputs))
    for i in range(random.integers(1, 7)):
        inputs = random.permutation([name for name in spec if name[0] != "t"])[: random.integers(1, 3)].tolist()
        spec[f"t{i}"] = Node("task", "vector", {}, tuple(inputs))
    return Description(spec, {name: Trial({}, None, (3,), 0, {}) for name in spec})


@pytest.mark.parametrize("seed", range(60))
def test_no_line_crosses_a_box(seed: int) -> None:
    graph = random_graph(seed)
    places = diagram.places(graph)
    assert set(places) == set(graph.spec)
    assert len(set(places.values())) == len(places)
    boxes = set(places.values())
    for name, node in graph.spec.items():
        column, row = places[name]
        for key in node.inputs:
            assert places[key].column < column
            # The line goes down right of the input's column, and then along the reader's row.
            for between in range(places[key].column + 1, column):
                assert (between, row) not in boxes


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_graphs_are_drawn(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """By the script, as SVG and PNG, with every node's name; twice the same bytes; and the pictures are there."""
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg", tmp_path / "c.png"]
    visualise(monkeypatch, path, pictures[0], "--node", "vision")
    printed = capsys.readouterr().out
    graph = RecursiveGQN.from_file(path).describe()
    for place in pictures[1:]:
        place.write_bytes(diagram.picture(diagram.draw(graph), place.suffix[1:]))
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    ET.parse(pictures[0])
    for name in graph.spec:
        assert f"<!-- {name} -->" in pictures[0].read_text()
        assert name in printed
    assert f"encoder: {graph.spec['vision'].network.title()}" in printed
    assert (ROOT / f"diagrams/{path.stem}.png").is_file()


def visualise(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["visualise.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "scripts/visualise.py"), run_name="__main__")


def test_an_edit_is_a_picture() -> None:
    before, after = flat().describe(), three_layers().describe()
    text = diagram.picture(diagram.change(before, after), "svg").decode()
    added = text.count(diagram.MARKS["added"])
    assert added == len(after.spec) - len(before.spec)
    assert diagram.MARKS["removed"] not in text
    text = diagram.picture(diagram.change(after, before), "svg").decode()
    assert text.count(diagram.MARKS["removed"]) == added
    graph = three_layers()
    graph.freeze("arm")
    text = diagram.picture(diagram.change(after, graph.describe()), "svg").decode()
    assert text.count(diagram.MARKS["changed"]) == 1


def test_a_notebook_shows_the_graph() -> None:
    graph = three_layers()
    assert "<!-- both -->" in graph._repr_svg_()


def test_costs_are_those_of_the_modules() -> None:
    graph = three_layers().describe()
    modules = three_layers().nodes
    for name, trial in graph.trials.items():
        assert trial.parameters == sum(p.numel() for p in modules[name].parameters())
    # Two layers of 16 -> 32 -> 2 * 16 for each of two inputs, two operations for a weight.
    assert graph.trials["both"].total == 2 * 2 * (16 * 32 + 32 * 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.yaml", "a.svg"], "missing.yaml can't be read as a graph"),
        (["layer-1.yaml", "a.gif"], "a picture's name ends with"),
        (["layer-1.yaml", "a.svg", "--node", "arm"], "has no node 'arm'; there are vision, render"),
        (["no-run", "a.svg"], "no checkpoint at"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, picture, *rest = arguments
    with pytest.raises(SystemExit) as leave:
        visualise(monkeypatch, ROOT / "diagrams/graphs" / graph, tmp_path / picture, *rest)
    assert message in str(leave.value)
    assert "\n" not in str(leave.value)
    assert not list(tmp_path.iterdir())
