"""Training of graphs: what is learned, what is not, and what a run leaves."""

import json
import runpy
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from front_door import run_together
from graphs import World, flat, three_layers
from test_training import history, tiny, weights
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.distributed import processes
from gqn.core.views import EncodedViews
from gqn.data.batches import Asked, TrainingBatches, evaluation_batches
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError
from gqn.training import checkpoint, saved, sharing
from gqn.training.config import Config
from gqn.training.nodes import encode_scenes
from gqn.training.trainer import TrainingError, train

ROOT = Path(__file__).resolve().parents[2]
ASKED = Asked(
    {"vision": "frames", "touch": "touch"}, {"render": "frames", "feel": "touch", "reach": "reach", "name": "name"}
)


class Paired(World):
    """With depth, from the cameras of the frames."""

    def observations(self, data: str) -> int:
        return super().observations("frames" if data == "depth" else data)

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        return super().observe("frames" if data == "depth" else data, scene, chosen)


class HardlyKnown(World):
    """One scene alone knows its answer."""

    def answer(self, data: str, scene: int) -> Tensor | None:
        return super().answer(data, scene) if scene == 1 else None


def config(runs: Path, *, name: str = "run", options: dict | None = None, **training: object) -> Config:
    base = tiny(Path(), runs, name=name, **({"steps": 6, "queries": 2, "context_views": (1, 3)} | training))
    return replace(base, data="", graph=replace(base.graph, **(options or {})))


def graph(*frozen: str) -> RecursiveGQN:
    torch.manual_seed(0)
    built = three_layers(dropout=0.2)
    if frozen:
        built.freeze(*frozen)
    return built


def test_batches_are_a_function_of_the_step() -> None:
    world = World(9)
    drawing = {"batch": 4, "context_views": (1, 3), "queries": 2, "seed": 0}
    batches, again = (TrainingBatches(world, ASKED, **drawing) for _ in range(2))
    shares = [TrainingBatches(world, ASKED, **drawing, rank=rank, processes=2) for rank in range(2)]
    for step in (7, 2):
        whole = batches[step]
        for views, other in zip(whole.senses.values(), again[step].senses.values(), strict=True):
            assert torch.equal(views.frames, other.frames)
        assert 1 <= whole.senses["vision"].cameras.shape[1] <= 3
        assert whole.tasks["render"].frames.shape[1] == 2
        assert whole.tasks["name"].cameras.shape == (4, 1, 0)
        halves = [share[step].tasks["render"].frames for share in shares]
        assert torch.equal(torch.cat(halves), whole.tasks["render"].frames)
        # No query lies among the context.
        apart = whole.tasks["render"].cameras[:, :, None] - whole.senses["vision"].cameras[:, None]
        assert apart.abs().amax(dim=-1).min() > 0
    both = {"vision": "frames", "deep": "depth"}, {"render": "frames", "measure": "depth"}
    batches = TrainingBatches(Paired(9), Asked(*both), **drawing)
    for whole in map(batches.__getitem__, range(6)):
        for views, sensed in product(whole.tasks.values(), whole.senses.values()):
            apart = views.cameras[:, :, None] - sensed.cameras[:, None]
            assert apart.abs().amax(dim=-1).min() > 0
    one_by_one = TrainingBatches(world, ASKED, **drawing, alternate=True)
    assert [list(one_by_one[step].tasks) for step in range(5)] == [
        ["render"],
        ["feel"],
        ["reach"],
        ["name"],
        ["render"],
    ]


def test_what_is_not_known_is_masked() -> None:
    batch = next(evaluation_batches(World(9), ASKED, batch=9, context=3, seed=0)).batch
    assert batch.tasks["reach"].present[:, 0].tolist() == [scene % 3 != 0 for scene in range(9)]
    assert batch.senses["touch"].present.all(dim=1).tolist() == [scene % 5 != 0 for scene in range(9)]
    assert batch.senses["vision"].present is None
    alone = next(evaluation_batches(World(1), ASKED, batch=4, context=3, seed=0)).batch
    assert set(alone.senses) == {"vision"}
    assert "reach" not in alone.tasks


@pytest.mark.pictures
def test_a_run_leaves_what_it_promises(tmp_path: Path) -> None:
    folder = train(config(tmp_path), graph(), scenes=World(12), held_out=World(6, seed=1))
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events")}
    assert names == {
        "config.json",
        "metrics.json",
        "predictions.png",
        "curves.png",
        "graph.svg",
        "checkpoint.pt",
        "evaluated.pt",
    }
    assert "<!-- both -->" in (folder / "graph.svg").read_text()
    reports = history(folder)
    assert [report["step"] for report in reports] == [3, 6]
    tasks = reports[-1]["tasks"]
    assert set(tasks) == {"render", "feel", "reach", "name"}
    assert tasks["reach"]["answers"] == 3
    assert tasks["name"]["answers"] == 5
    for found in tasks.values():
        assert found["gain_nats"] == pytest.approx(found["shuffled_negative_elbo"] - found["negative_elbo"])
    assert tasks["render"]["negative_elbo_above_floor"] > tasks["render"]["kl"] > 0
    loaded = checkpoint.load(folder)
    assert loaded.spec == graph().spec
    assert not loaded.training
    # The standard deviation of the pixels is the last that was trained with.
    assert loaded.nodes["render"].sigma.item() == pytest.approx(config(tmp_path).training.sigma_at(5))


@pytest.mark.parametrize("alternate", [False, True])
def test_stopped_and_resumed_is_the_same_curve(tmp_path: Path, alternate: bool) -> None:
    """With a frozen sense, encoded beforehand."""
    schedule = {"learning_rate_steps": 6, "sigma_steps": 6, "batch": 16, "warmup_steps": 0}
    options = {"alternate": alternate}
    given = {"scenes": World(12), "held_out": World(6, seed=1)}
    make = lambda name, **more: config(tmp_path, name=name, options=options, **schedule, **more)  # noqa: E731
    whole = train(make("whole"), graph("vision", "render"), **given)
    train(make("parts", steps=4), graph("vision", "render"), **given)
    parts = train(make("parts"), **given, resume=True)
    assert json.loads((whole / "metrics.json").read_text())["encoded_beforehand"] == ["vision"]
    assert history(parts)[-1] == history(whole)[-1]
    assert all(torch.equal(value, weights(parts)[name]) for name, value in weights(whole).items())


@pytest.mark.parametrize("alternate", [False, True])
def test_steps_that_ask_nothing_known_change_nothing_but_the_count(tmp_path: Path, alternate: bool) -> None:
    settings = config(tmp_path, options={"tasks": ("reach", "name"), "alternate": alternate}, batch=4)
    assert history(train(settings, graph(), scenes=HardlyKnown(12)))[-1]["step"] == 6


@pytest.mark.parametrize("frozen", [("vision", "render"), ("touch", "feel")])
def test_frozen_parts_stay_and_the_cache_changes_nothing(tmp_path: Path, frozen: tuple[str, str]) -> None:
    """Nor does it where some scenes have nothing to touch."""
    found = {}
    for cache in (True, False):
        built = graph(*frozen)
        before = {name: value.clone() for name, value in built.state_dict().items()}
        settings = config(tmp_path, name=str(cache), options={"cache": cache}, steps=10, batch=16, weight_decay=0.1)
        folder = train(settings, built, scenes=World(12))
        assert json.loads((folder / "metrics.json").read_text())["encoded_beforehand"] == ([frozen[0]] if cache else [])
        found[cache] = weights(folder)
        for name, value in before.items():
            kept = name.startswith(tuple(f"nodes.{node}." for node in frozen)) or name == "nodes.render.sigma" in frozen
            for part in ("network", "ema"):
                assert torch.equal(found[cache][f"{part}.{name}"], value) == kept
    for name, value in found[True].items():
        torch.testing.assert_close(value, found[False][name], rtol=1e-3, atol=1e-4)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("True", "False")]


def test_a_cached_batch_holds_no_frames(tmp_path: Path) -> None:
    class Blind(World):
        def observe(self, data, scene, chosen):
            assert data != "frames" or len(chosen) == 10, "frames were read in training"
            return super().observe(data, scene, chosen)

    settings = config(tmp_path, steps=4, batch=32, options={"tasks": ("reach",)})
    seen: list[type] = []
    built = graph("vision", "render")

    def note(module: torch.nn.Module, inputs: tuple) -> None:
        if module is built.nodes["vision"]:  # not the average, which is evaluated
            seen.append(type(inputs[0]))

    built.nodes["vision"].register_forward_pre_hook(note)
    train(settings, built, scenes=Blind(12), held_out=World(6))
    assert seen == [EncodedViews] * 4


def test_a_sense_that_joins_its_views_is_not_encoded_beforehand(tmp_path: Path) -> None:
    found = RecursiveGQN()
    found.add_sense("vision", "volume", frame=(3, 8, 8), side=8, frozen=True)
    found.add_sense("tower", "tower", frame=(3, 8, 8), channels=4, frozen=True, data="frames")
    with processes("cpu") as group:
        encoded = encode_scenes(found, World(2), dict.fromkeys(found.spec, "frames"), 1000, tmp_path, group, False)
    assert list(encoded) == ["tower"]


def test_answers_are_found_in_the_ground_truth(scenes: Path, tmp_path: Path) -> None:
    """By the names under which a dataset of drawn scenes keeps it."""
    graph = flat(16)
    graph.freeze()
    graph.add_task("place", "vector", ["vision"], target=(3,), data="objects.0.position")
    settings = replace(config(tmp_path, steps=2, options={"tasks": ("place",)}), data=str(scenes))
    report = history(train(settings, graph))[-1]
    assert report["tasks"]["place"]["answers"] == 5
    truth = scene_labels(scenes, "test")[3]["objects"][0]["position"]
    assert LabelledScenes(SceneDataset(scenes, "test"), scene_labels(scenes, "test")).answer(
        "objects.0.position", 3
    ).tolist() == pytest.approx(truth)


def test_further_senses_are_observed_from_their_own_poses(tmp_path: Path) -> None:
    data = generate(
        "shepard_metzler_5_parts",
        tmp_path,
        4,
        seed=0,
        test_scenes=2,
        size=16,
        senses=("depth", "normals", "touch"),
        workers=1,
        progress=False,
    )
    convert(data, 4, workers=1, progress=False)
    scenes = SceneDataset(data, "train")
    source = LabelledScenes(scenes, [])
    assert [source.observations(data) for data in ("frames", "depth", "touch")] == [15, 15, 15]
    felt, poses = source.observe("touch", 2, [3, 1])
    assert torch.equal(felt, scenes.sensed(2, "touch")[[3, 1]])
    assert torch.equal(poses, camera_vector(scenes.sensed(2, "touch_cameras")[[3, 1]]))
    _, cameras = scenes.scene(2, [3, 1])
    for name, channels in (("depth", 1), ("normals", 3)):
        seen, poses = source.observe(name, 2, [3, 1])
        assert seen.shape == (2, channels, 16, 16)
        assert torch.equal(poses, camera_vector(cameras))
    graph = flat(16)
    graph.add_sense("touch", "vector", frame=(16,), channels=8)
    graph.add_task("feel", "vector", ["touch"], target=(16,), query=7, data="touch")
    report = history(train(replace(config(tmp_path, steps=2), data=str(data)), graph))[-1]
    assert report["tasks"]["feel"]["answers"] == report["tasks"]["render"]["answers"] == 2


def test_some_tasks_are_trained_and_others_are_left(tmp_path: Path) -> None:
    built = graph()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    train(config(tmp_path, options={"tasks": ("reach",)}, weight_decay=0.1), built, scenes=World(12))
    changed = {name.split(".")[1] for name, value in built.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"vision", "arm", "reach"}


def test_weights_of_tasks_count(tmp_path: Path) -> None:
    """A task of weight zero teaches nothing."""
    built = graph()
    plain = built.to_dict()
    plain["tasks"]["reach"]["weight"] = 0.0
    weightless = RecursiveGQN.from_dict(plain)
    weightless.load_state_dict(built.state_dict())
    train(config(tmp_path, options={"tasks": ("reach",)}), weightless, scenes=World(12))
    assert all(torch.equal(v, built.state_dict()[k]) for k, v in weightless.state_dict().items() if "sigma" not in k)


def test_training_learns_every_task(tmp_path: Path) -> None:
    options = {"steps": 120, "batch": 16, "ema_decay": 0.9, "learning_rate": 5e-3, "sigma": 0.3, "final_sigma": 0.3}
    settings = config(tmp_path, optimizer="adam", residual_weights=False, **options)
    settings = replace(settings, evaluation=replace(settings.evaluation, eval_every=60, eval_scenes=60))
    folder = train(settings, graph(), scenes=World(200), held_out=World(60, seed=1))
    for task, found in history(folder)[-1]["tasks"].items():
        assert found["gain_nats"] > 0.3, task


def test_layer_two_on_a_trained_layer_one(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of the README, from the command line: a flat run, and a graph that starts from it."""
    first = train(tiny(scenes, tmp_path, name="first"))
    layer = checkpoint.load(first)
    # The standard deviation of the pixels is the last that was trained with.
    assert layer.nodes["render"].sigma.item() == pytest.approx(tiny(scenes, tmp_path).training.sigma_at(5))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.freeze("vision")
    cores = {"hidden": 8, "canvas": 8, "generation_steps": 2}
    layer.add_task("again", "render", ["vision"], target=(3, 16, 16), query=7, **cores)
    layer.remove("render")
    layer.to_file(tmp_path / "layer-2.yaml")
    command = ["--graph", tmp_path / "layer-2.yaml", "--start", first, "--data", scenes, "--runs", tmp_path]
    options = "--name second --steps 4 --minutes 0 --batch 4 --eval-scenes 4 --device cpu"
    command += options.split()
    run_gqn(monkeypatch, *command)
    saved = weights(tmp_path / "second")
    for name, value in before.items():
        if name.startswith("nodes.vision."):
            assert torch.equal(saved[f"network.{name}"], value)
    assert checkpoint.load(tmp_path / "second").spec["vision"].frozen
    run_gqn(monkeypatch, "--resume", tmp_path / "second", "--steps", 6)
    assert checkpoint.read(tmp_path / "second")["step"] == 6


def run_gqn(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["run-gqn.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "run-gqn.py"), run_name="__main__")


def test_a_graph_from_a_notebook_goes_on_from_the_command_line(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(replace(config(tmp_path, steps=2), data=str(scenes)), flat(16))
    run_gqn(monkeypatch, "--resume", folder, "--steps", 4)
    assert checkpoint.read(folder)["step"] == 4
    assert list(checkpoint.load(folder).spec) == ["vision", "render"]


def test_two_processes_train_a_graph(scenes: Path, tmp_path: Path) -> None:
    flat(16).to_file(tmp_path / "graph.yaml")
    options = "--name two --steps 4 --minutes 0 --batch 4 --eval-scenes 5 --eval-every 4 --device cpu"
    places = ["--graph", tmp_path / "graph.yaml", "--data", scenes, "--runs", tmp_path]
    for run in run_together(2, ROOT / "run-gqn.py", *places, *options.split()):
        assert run.returncode == 0, run.stderr
    assert history(tmp_path / "two")[-1]["tasks"]["render"]["answers"] == 5


def test_mistakes_are_named(scenes: Path, tmp_path: Path) -> None:
    world = World(12)
    for options, built, message in (
        ({"tasks": ("raech",)}, graph(), "task 'raech' can't be trained, there is no such task; there are 'render'"),
        ({"tasks": ("render",)}, graph("vision", "render"), "task 'render' can't be trained, it and all that it reads"),
        ({}, graph(*graph().spec), "nothing is left to learn"),
        ({"start": str(tmp_path)}, graph(), "no checkpoint at"),
    ):
        with pytest.raises((GraphError, checkpoint.CheckpointError), match=message):
            train(config(tmp_path, options=options), built, scenes=world)
    with pytest.raises(TrainingError, match="no dataset"):
        train(config(tmp_path), graph())
    with pytest.raises(ValueError, match="no data 'touch', only frames, objects"):
        train(replace(config(tmp_path), data=str(scenes)), graph())
    with pytest.raises(ValueError, match="'vision' needs 13 observations of 'frames' a scene; the dataset has 10"):
        train(config(tmp_path, context_views=(1, 11)), graph(), scenes=world)
    orphan = graph()
    orphan.remove("reach", "name", "both")
    with pytest.raises(GraphError, match="'arm' lead to no task"):
        train(config(tmp_path), orphan, scenes=world)
    first = train(tiny(scenes, tmp_path, name="first"))
    with pytest.raises(GraphError, match=r"'vision' does not fit .*first: here it is tower \(.*there volume \("):
        train(config(tmp_path, options={"start": str(first)}), graph(), scenes=world)
    other = graph()
    other.rename("vision", "eye")
    other.rename("render", "draw")
    with pytest.raises(GraphError, match="first has no node of this graph: it has 'vision', 'render'"):
        train(config(tmp_path, options={"start": str(first)}), other, scenes=world)


def test_extracted_nodes_are_those_of_the_run(tmp_path: Path) -> None:
    run = train(config(tmp_path), graph(), scenes=World(9), held_out=World(5))
    whole, folder = checkpoint.load(run), tmp_path / "senses"
    sharing.extract(run, folder, ["vision", "touch"])
    taken = checkpoint.load(folder)
    assert set(taken.spec) == {"vision", "touch"}
    for name in taken.spec:
        assert all(
            torch.equal(value, whole.nodes[name].state_dict()[key])
            for key, value in taken.nodes[name].state_dict().items()
        )
    assert (folder / saved.FILE).stat().st_size < (run / checkpoint.FILE).stat().st_size / 3
    with pytest.raises(GraphError, match="no node 'smell'"):
        sharing.extract(run, tmp_path / "none", ["smell"])
    with pytest.raises(GraphError, match="needs 'vision'"):
        sharing.extract(run, tmp_path / "none", ["arm"])
    assert not (tmp_path / "none").exists()
