"""The transfer protocol: what its conditions share and where they differ, controls, and runs made only once."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import run_script
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.files import append_json_line
from gqn.core.views import Views
from gqn.data.convert import convert
from gqn.data.generate import generate
from gqn.data.task_scenes import TaskScenes, solve_piece, true_answers
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Place, Vector
from gqn.scenes.arm import TASKS
from gqn.scenes.jaco import Jaco
from gqn.studies.runner import StudyError, make, read_experiment, read_results
from gqn.studies.transfer import probes
from gqn.studies.transfer.experiment import CONDITIONS, Cell, Condition, Experiment
from gqn.studies.transfer.protocol import Laboratory, Transfer
from gqn.studies.transfer.workbench import STATE, VISION, Draw, Standard, Trained, add_head, chosen_scenes, learn
from gqn.training import checkpoint

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/transfer.py"
# Conditions that a volume may have, without a second layer.
PLACED = ("layer-1", "fine-tuned", "random", "pixels", "tower", "state", "shuffled-scenes")
EXPERIMENT = Experiment(
    conditions={name: [1e-3] for name in CONDITIONS},
    tasks=["locate"],
    seeds=[0],
    pauses=[0, 4],
    batch=6,
    held_out=20,
    second_steps=2,
    autoencoder_steps=2,
)


def scenes_of(count: int, seed: int) -> TaskScenes:
    """Scenes with their ground truth; frames of noise, so that nothing needs to be drawn."""
    random, family = np.random.default_rng(seed), Jaco(moving=(1, 2, 3), size=2, views=1)
    labels = [family.setting(random).labels for _ in range(count)]
    torch.manual_seed(seed)
    frames = torch.randint(0, 256, (count, 4, 3, 16, 16), dtype=torch.uint8)
    answers = {
        task: torch.tensor([answer or [float("nan")] * 7 for answer in solve_piece(task, labels)])
        for task in ("pose", "locate", "reach")
    }
    return TaskScenes(frames, camera_vector(torch.rand(count, 4, 5)), labels, answers)


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    torch.manual_seed(99)  # no run's seed
    layer_1 = RecursiveGQN()
    layer_1.add_sense(VISION, "tower", frame=[3, 16, 16], channels=8, aggregate="mean", normalise=True)
    return Laboratory(EXPERIMENT, scenes_of(200, 0), scenes_of(20, 1), Trained(layer_1, 60.0))


def anew(laboratory: Laboratory, experiment: Experiment = EXPERIMENT, scenes: TaskScenes | None = None) -> Laboratory:
    layer_1 = Trained(laboratory.bench.layer_1, 0.0)
    return Laboratory(experiment, scenes or laboratory.scenes, laboratory.held_out, layer_1)


def study(laboratory: Laboratory, file: Path, experiment: Experiment = EXPERIMENT, **options: object) -> Transfer:
    """A study whose laboratory is there already."""
    file.write_text(json.dumps(dataclasses.asdict(experiment)))
    found = Transfer(file, **options)
    found.laboratory = laboratory
    return found


def weights(graph: RecursiveGQN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in graph.state_dict().items()}


def draw(laboratory: Laboratory, condition: str, seed: int = 3, labelled: int = 200) -> Draw:
    scenes, how = laboratory.scenes, CONDITIONS[condition]
    return Draw(
        scenes, how, {"locate": scenes.answers["locate"]}, laboratory.bench.features(how, scenes, seed),
        None, chosen_scenes(len(scenes), labelled, seed), batch=5, context=2, seed=seed,
    )  # fmt: skip


def test_conditions_are_paired(laboratory: Laboratory) -> None:
    """For one seed all of them see the same scenes and views, and learn the same answers."""
    pixels, layer_1, state = (draw(laboratory, name)(7) for name in ("pixels", "layer-1", "state"))
    assert torch.equal(pixels.senses[VISION].cameras, layer_1.senses[VISION].cameras)
    for batch in (layer_1, state):
        assert torch.equal(batch.tasks["locate"].frames, pixels.tasks["locate"].frames)
    assert torch.allclose(state.senses[STATE].frames[:, 0, -3:], state.tasks["locate"].frames[:, 0])
    assert not torch.equal(draw(laboratory, "pixels")(8).senses[VISION].cameras, pixels.senses[VISION].cameras)
    other_seed = draw(laboratory, "pixels", seed=4)(7)
    assert not torch.equal(other_seed.senses[VISION].cameras, pixels.senses[VISION].cameras)


def test_features_are_what_the_frozen_encoder_makes_of_the_frames(laboratory: Laboratory) -> None:
    graph, _ = laboratory.bench.graph(CONDITIONS["layer-1"], "locate", 0)
    shown, encoded = (draw(laboratory, name)(2).senses for name in ("pixels", "layer-1"))
    with torch.no_grad():
        direct = graph.encode(shown, VISION)
        cached = graph.encode(encoded, VISION)
    assert (cached - direct).abs().max() < 0.05 * direct.abs().max()  # bfloat16


def test_a_volume_is_read_cell_by_cell(laboratory: Laboratory) -> None:
    volume = RecursiveGQN()
    volume.add_sense(VISION, "volume", frame=[3, 16, 16], side=24, centre=[0.0, 0.0, 0.42])
    volume.add_task("render", "vector", [VISION], target=[3])  # which the study has no use for
    plan = dataclasses.replace(EXPERIMENT, conditions={name: [1e-3] for name in PLACED})

    def opened(experiment: Experiment) -> Laboratory:
        return Laboratory(experiment, laboratory.scenes, laboratory.held_out, Trained(volume, 60.0))

    here = opened(plan)
    features = here.bench.features(CONDITIONS["layer-1"], here.held_out, 0)
    assert features is not None
    assert features.shape == (20, 1, 12 * 8, 8, 8)
    # r of the views that are always shown, as coarse as a layer reads it.
    numbers = torch.arange(20)[:, None]
    seen = Views(here.held_out.frames[numbers, here.views].float() / 255, here.held_out.cameras[numbers, here.views])
    with torch.no_grad():
        fine = volume.encode({VISION: seen}, VISION)
    torch.testing.assert_close(
        features[:, 0].float(), volume.trials[VISION].output.coarse(fine, 8).flatten(1, 2), atol=2e-3, rtol=0
    )
    pixels, frozen = (here.bench.draw(CONDITIONS[name], {}, 3) for name in ("pixels", "layer-1"))
    for step in (0, 1):
        (shown, encoded), batch = (draw(step).senses[VISION] for draw in (pixels, frozen)), frozen(step)
        graph, _ = here.bench.graph(CONDITIONS["layer-1"], "locate", 0)
        with torch.no_grad():
            torch.testing.assert_close(graph.encode({VISION: shown}), graph.encode(batch.senses), atol=2e-3, rtol=0)
        assert encoded.frames.shape[1] == 1
    for cell in plan.cells():
        line = here.run(cell)
        assert max(line["error_cm"]) < 250  # within the cube, or near it
        assert (line["parameters"] < 50_000) == (cell.condition in ("layer-1", "random", "shuffled-scenes"))
    with pytest.raises(StudyError, match="an autoencoder's picture is read from a grid: leave it out"):
        opened(dataclasses.replace(plan, conditions={"autoencoder": [1e-3]}))
    # A place is asked of each cell, all else of all cells together, and so is what reads a second layer.
    for condition, task, head in (
        ("layer-1", "locate", Place),
        ("layer-1", "pose", Vector),
        ("layer-2", "locate", Vector),
    ):
        graph, reads = here.bench.graph(CONDITIONS[condition], task, 0)
        add_head(graph, task, reads, Standard.of(here.scenes.answers[task]), 8)
        assert type(graph.nodes[task]) is head
        assert len(here.run(Cell(condition, task, 0, 1e-3, 0))["error_cm"]) == len(plan.pauses)


def test_shuffled_scenes_show_another_scene(laboratory: Laboratory) -> None:
    own, foreign = (draw(laboratory, name)(2) for name in ("layer-1", "shuffled-scenes"))
    assert torch.equal(own.tasks["locate"].frames, foreign.tasks["locate"].frames)
    assert not (own.senses[VISION].frames == foreign.senses[VISION].frames).flatten(1).all(dim=1).any()


def test_a_smaller_choice_of_labelled_scenes_lies_within_a_larger_one(laboratory: Laboratory) -> None:
    few, more = chosen_scenes(200, 10, seed=5), chosen_scenes(200, 50, seed=5)
    assert set(few.tolist()) < set(more.tolist())
    assert set(few.tolist()) != set(chosen_scenes(200, 10, seed=6).tolist())
    answers = laboratory.scenes.answers["locate"][few]
    batches = draw(laboratory, "pixels", seed=5, labelled=10)
    for step in range(5):
        asked = batches(step).tasks["locate"].frames[:, 0]
        assert (torch.cdist(asked, answers).min(dim=1).values == 0).all()


@pytest.mark.parametrize("name", ["layer-1", "layer-2", "layer-2-on-random", "wide-head", "random", "autoencoder"])
def test_what_is_frozen_stays_to_the_bit(name: str, laboratory: Laboratory) -> None:
    graph, reads = laboratory.bench.graph(CONDITIONS[name], "locate", 0)
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    before = weights(graph)
    graph.add_task("locate", "vector", [reads], target=[3], hidden=8, sigma=1.0)
    head = weights(graph)
    learn(graph, draw(laboratory, name, seed=0), steps=3, learning_rate=0.1, warm_up=100, bfloat16=False)
    after = weights(graph)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert any(not torch.equal(after[key], head[key]) for key in head.keys() - before.keys())


def test_fine_tuning_starts_from_layer_1_and_leaves_it_alone(laboratory: Laboratory) -> None:
    before = weights(laboratory.bench.layer_1)
    graph, _ = laboratory.bench.graph(CONDITIONS["fine-tuned"], "locate", 0)
    assert all(torch.equal(weights(graph)[name], value) for name, value in before.items())
    laboratory.run(Cell("fine-tuned", "locate", 0, 1e-2, 0))
    assert all(torch.equal(value, before[name]) for name, value in weights(laboratory.bench.layer_1).items())
    pixels, _ = laboratory.bench.graph(CONDITIONS["pixels"], "locate", 0)
    assert any(not torch.equal(weights(pixels)[name], value) for name, value in before.items())


def test_a_second_layer_never_learned_the_task_that_is_left_out(laboratory: Laboratory) -> None:
    """Other answers of that task give the same second layer; of another task, another one."""

    def second(task: str, scenes: TaskScenes) -> dict[str, Tensor]:
        return weights(anew(laboratory, scenes=scenes).bench.graph(CONDITIONS["layer-2"], task, 0)[0])

    scenes = laboratory.scenes
    other = dataclasses.replace(scenes, answers={**scenes.answers, "locate": torch.rand(200, 3)})
    for task, same in (("locate", True), ("pose", False)):
        one, two = second(task, scenes), second(task, other)
        assert all(torch.equal(one[name], two[name]) for name in one) == same


def test_the_true_state_wins_and_shuffled_answers_teach_nothing(laboratory: Laboratory) -> None:
    longer = dataclasses.replace(EXPERIMENT, pauses=[0, 400], batch=32)
    again = anew(laboratory, longer)
    oracle = again.run(Cell("state", "locate", 0, 3e-3, 0))
    assert oracle["error_cm"][-1] < 0.3 * oracle["constant_error_cm"]
    assert oracle["error_cm"][0] > 0.7 * oracle["constant_error_cm"]
    control = again.run(Cell("shuffled-answers", "locate", 0, 3e-3, 0))
    assert control["error_cm"][-1] > 0.9 * control["constant_error_cm"]


def test_the_same_cell_gives_the_same_curve(laboratory: Laboratory) -> None:
    for condition in ("pixels", "layer-2", "state"):
        cell = Cell(condition, "locate", 0, 1e-3, 0)
        assert laboratory.run(cell)["error_cm"] == laboratory.run(cell)["error_cm"]


def test_runs_are_told_and_refused_where_they_are_of_another_experiment(laboratory: Laboratory, tmp_path: Path) -> None:
    here = study(laboratory, tmp_path / "results.yaml", conditions=("state",))
    (run,) = make(here, here.chosen())
    assert "1 of 14 runs" in here.table(read_results(here))
    changes = {"pauses": [0, 5], "batch": 7, "context": 2, "held_out": 19, "second_learning_rate": 1e-4}
    for name, value in changes.items():
        with pytest.raises(StudyError, match=f"seed 0 was made with another {name}: remove"):
            read_results(study(laboratory, here.file, dataclasses.replace(EXPERIMENT, **{name: value})))
    more = dataclasses.replace(EXPERIMENT, seeds=[0, 1], thresholds=[0.5], tasks=["locate", "pose"])
    assert list(read_results(study(laboratory, here.file, more)).values()) == [run]


def test_runs_of_another_layer_1_are_refused(laboratory: Laboratory, tmp_path: Path) -> None:
    for name in ("layer-1", "another"):
        (tmp_path / f"{name}.pt").write_bytes(name.encode())
    here = study(laboratory, tmp_path / "results.yaml", layer_1=tmp_path / "layer-1.pt", conditions=("state",))
    (run,) = make(here, here.chosen())
    assert len(read_results(study(laboratory, here.file))) == 1  # a report needs no layer 1
    with pytest.raises(StudyError, match="another layer_1_sha256"):
        read_results(study(laboratory, here.file, layer_1=tmp_path / "another.pt"))
    two = dataclasses.replace(EXPERIMENT, seeds=[0, 1])
    other = {**run["experiment"], "layer_1_sha256": "other"}
    append_json_line(here.results, {**run, "cell": {**run["cell"], "seed": 1}, "experiment": other})
    with pytest.raises(StudyError, match="seed 1 was made with another layer_1_sha256"):
        read_results(study(laboratory, here.file, two))


def test_more_labelled_scenes_than_there_are_are_refused(laboratory: Laboratory) -> None:
    with pytest.raises(StudyError, match="201 labelled scenes of 200: lower labelled"):
        anew(laboratory, dataclasses.replace(EXPERIMENT, labelled=[10, 201]))


def test_scenes_without_an_arm_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = generate("shepard_metzler_5_parts", tmp_path, 2, seed=0, size=8, workers=1, progress=False)
    convert(folder, 2, workers=1, progress=False)
    experiment = SCRIPT.parent.parent / "results/transfer/layer-1.yaml"
    done = run_script(SCRIPT, experiment, "--data", folder, "--work", tmp_path / "work")
    assert done.returncode == 1
    assert done.stderr.startswith(f"transfer: {folder}: no scenes of the arm with its target: draw some by ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_standards_undo_what_they_do() -> None:
    answers = torch.tensor([[1.0, 5.0], [3.0, 5.0], [float("nan"), float("nan")]])
    standard = Standard.of(answers)
    applied = standard.apply(answers)
    assert torch.allclose(applied[:2], torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))  # what never varies stays finite
    assert torch.allclose(standard.undo(applied)[:2], answers[:2])


def test_answers_are_kept_for_the_scenes_that_they_are_of(tmp_path: Path) -> None:
    labels = scenes_of(3, 2).labels
    first = true_answers("locate", labels, tmp_path / "a.pt", {"seed": 0})
    assert torch.allclose(
        first, torch.from_numpy(np.array([scene["objects"][0]["position"] for scene in labels])).float()
    )
    assert torch.equal(true_answers("locate", labels[::-1], tmp_path / "a.pt", {"seed": 0}), first)  # kept
    anew = true_answers("locate", labels[::-1], tmp_path / "a.pt", {"seed": 1})
    assert torch.equal(anew, first.flip(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["juggle"]}, "no task 'juggle'"),
        ({"conditions": {"telepathy": [1e-3]}}, "no condition 'telepathy'"),
        ({"pauses": [5, 2]}, "pauses"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"colour": 1}, "colour"),
        ({"compare": [["pixels", "pixls"]]}, "compare: 'pixls' is no condition of it: there are pixels"),
    ],
)
def test_a_wrong_experiment_is_refused_in_one_line(change: dict, message: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    plain = {"conditions": {"pixels": [1e-3]}, "tasks": ["pose"], "seeds": [0], "pauses": [0, 1]}
    file.write_text(json.dumps({**plain, **change}))
    with pytest.raises(StudyError, match=message) as raised:
        read_experiment(file, Experiment)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{file}: no experiment: ")


def test_the_shipped_experiments_are_sound() -> None:
    files = sorted((SCRIPT.parent.parent / "results/transfer").glob("*.yaml"))
    assert files
    for file in files:
        experiment = read_experiment(file, Experiment)
        for pair in experiment.compare:
            assert set(pair) <= set(experiment.conditions), file


def test_the_smoke_run_does_the_whole_protocol() -> None:
    found = run_script(SCRIPT, "--smoke")
    assert found.returncode == 0, found.stderr
    runs = len(CONDITIONS) * len(TASKS) * 2
    assert f"{runs} of {runs} runs." in found.stdout
    assert all(f"| {name} |" in found.stdout for name in CONDITIONS)


def test_the_shipped_layer_1_sees_the_frames_that_its_experiments_show() -> None:
    graph = checkpoint.load(SCRIPT.parent.parent / "results/transfer/layer-1.pt")
    assert list(graph.spec) == [VISION]
    views = Views(torch.rand(2, 3, 3, 32, 32), torch.rand(2, 3, 7))
    assert graph.encode({VISION: views}, VISION).shape == (2, 64, 8, 8)


def test_probes_read_what_is_there_and_nothing_else(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(laboratory.scenes.state.shape[1], 40))

    def planted(_: Laboratory, condition: Condition, scenes: TaskScenes, seed: int) -> np.ndarray:
        noise = random.normal(size=(len(scenes), 40))
        return 100 + (scenes.state.double().numpy() @ mixing if condition == CONDITIONS["layer-1"] else noise)

    real = probes.representations(laboratory, CONDITIONS["layer-1"], laboratory.held_out, 0)
    assert real.shape == (20, 8 * 4 * 4)
    monkeypatch.setattr(probes, "representations", planted)
    found = probes.linear_probes(laboratory)
    for asked in ("joints", "target"):
        assert found["layer-1"][asked]["value"] > 0.9
        assert found["random"][asked]["value"] < 0.3
