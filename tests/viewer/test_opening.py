"""What scripts/view.py opens by a name: networks with their scenes, and graphs."""

import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from graphs import flat

import gqn
from gqn.viewer.opening import graph_of, opened

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step of a graph that renders and says where an object is."""
    folder = tmp_path_factory.mktemp("opening")
    graph = flat(16)
    graph.add_task("locate", "vector", ["vision"], target=[3], hidden=8, data="objects.0.position")
    base = gqn.PRESETS["quick"]
    config = replace(
        base,
        data=str(scenes),
        runs=str(folder),
        name="run",
        training=replace(base.training, steps=1, batch=2, queries=1, context_views=(1, 2)),
        evaluation=replace(base.evaluation, eval_scenes=2, samples=2),
    )
    return gqn.train(config, graph)


def test_a_run_is_opened_on_the_scenes_that_it_was_trained_on(run: Path, scenes: Path) -> None:
    warnings: list[str] = []
    network, held_out = opened(run, None, warnings.append)
    assert list(network.spec) == ["vision", "render", "locate"]
    assert len(held_out) == len(gqn.SceneDataset(scenes, "test"))
    assert held_out.answer("objects.0.position", 0).shape == (3,)
    assert not warnings


def test_without_labels_the_truth_is_left_out_with_a_word(run: Path, scenes: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(scenes, bare)
    for labels in bare.glob("test/*.labels.json"):
        labels.unlink()
    warnings: list[str] = []
    _, held_out = opened(run, bare, warnings.append)
    assert len(held_out) == len(gqn.SceneDataset(scenes, "test"))
    (line,) = warnings
    assert line.startswith("answers are shown without the truth: ")


def test_weights_without_a_dataset_ask_for_one(run: Path, tmp_path: Path) -> None:
    contents = torch.load(run / "checkpoint.pt", weights_only=True)
    contents["config"]["data"] = ""
    torch.save(contents, tmp_path / "checkpoint.pt")
    with pytest.raises(gqn.Error, match="names no dataset: name a folder of converted scenes after it"):
        opened(tmp_path / "checkpoint.pt", None, print)


def test_a_graph_is_that_of_a_file_or_of_a_run(run: Path, tmp_path: Path) -> None:
    graph = graph_of(run)
    for name in ("graph.yaml", "graph.json"):
        graph.to_file(tmp_path / name)
        assert graph_of(tmp_path / name).to_dict() == graph.to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.yaml"], "no.yaml can't be read as a graph"),
        (["no-run"], "no checkpoint at"),
        (["no-run", "--graph"], "no checkpoint at"),
        (["graph.yaml", "scenes"], "scenes: a graph is edited without scenes, leave the dataset out"),
        ([str(ROOT / "diagrams/graphs/layer-1.yaml"), "--port", "0"], "port 0: must be from 1 to 65535"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["view.py", *arguments])
    with pytest.raises(SystemExit) as leave:
        runpy.run_path(str(ROOT / "scripts/view.py"), run_name="__main__")
    assert message in str(leave.value)
    assert "\n" not in str(leave.value)
