"""Graphs' files that would take for ever, or for nothing, are refused at once; names are written as they are."""

import time
from pathlib import Path

import pytest

from gqn.core.figure import Figure
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", [bomb(), "[" * 100_000, "senses: " + "{a: " * 5000, "x: " + "y" * 10**6, "\x00", "- " * 50_000]
)
def test_a_file_that_swells_or_nests_is_refused_in_time(tmp_path: Path, text: str) -> None:
    began = time.monotonic()
    (tmp_path / "graph.yaml").write_text(text)
    with pytest.raises(GraphError) as error:
        RecursiveGQN.from_file(tmp_path / "graph.yaml")
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 20


def test_a_ladder_of_nodes_takes_no_longer_than_its_length() -> None:
    began = time.monotonic()
    graph = RecursiveGQN()
    graph.add_sense("r0", "vector", frame=(4,), pose=2, channels=4)
    graph.add_sense("s0", "vector", frame=(4,), pose=2, channels=4)
    for rung in range(1, 12):
        for rail in "rs":
            graph.add_representation(f"{rail}{rung}", [f"r{rung - 1}", f"s{rung - 1}"], channels=4)
    graph.add_task("where", "vector", ["r11", "s11"], target=(3,))
    graph.check_whole()
    assert time.monotonic() - began < 60


def test_a_users_text_is_no_mathematics() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.set_title("a$b_$c^{")
    axes.plot([1, 100], [1, 100], label="$\\frac{$")
    axes.set_yscale("log")
    axes.legend()
    assert figure._repr_png_().startswith(b"\x89PNG")
