"""The front door of the benchmarks."""

import json
import runpy
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
import torch
from front_door import run_script, run_together
from torch.distributed.run import parse_args

from gqn.data import dataset
from gqn.scenes import jaco
from gqn.studies.benchmarks import check, scaling
from gqn.studies.benchmarks.timing import Step, Work, operations, random_batch
from gqn.studies.benchmarks.training import literal_loss
from gqn.training.config import PRESETS
from gqn.training.muon import Muon

SCRIPT = Path(__file__).parents[2] / "scripts/benchmark.py"


def few_channels(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make the networks of presets small; all else stays theirs."""
    for name in names:
        preset = PRESETS[name]
        sizes = replace(preset.model, hidden=8, canvas=8, representation_channels=8, side=8, generation_steps=2)
        monkeypatch.setitem(PRESETS, name, replace(preset, model=sizes))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes", "--families", "mazes", "foo"], "--families: no 'foo', only shepard_metzler_5_parts, "),
        (["scenes", "--size", "0"], "--size must be positive"),
        (["train", "--presets", "quick", "foo"], "--presets: no 'foo', only quick, "),
        (["train", "--compile", "foo"], "--compile: no 'foo', only quick, "),
        (["train", "--device", "tpu"], "--device tpu: must be cpu"),
        (["scaling", "--batches", "4", "0"], "--batches must be positive"),
        (["arm", "--seed", "-1"], "--seed must be 0 or more"),
        (["arm", "--output", "/dev/null/arm.json"], "[Errno 17] File exists: '/dev/null'"),
        (["arm", "--output", "/dev"], "--output: /dev is a folder: name a file"),
        (["scaling", "--output", "/proc/scaling.json"], "[Errno "),
    ],
)
def test_what_can_not_be_done_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert str(stopped.value).startswith(f"benchmark: {message}")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("tensorflow", ["data"], "tensorflow"),
        ("dm_control", ["arm"], "worlds"),
        ("dm_control", ["scenes", "--families", "shepard_metzler_5_parts", "jaco"], "worlds"),
    ],
)
def test_an_extra_that_is_not_installed_is_named_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, arguments: list[str], extra: str
) -> None:
    jaco._arm.cache_clear()  # which another test may have built
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=rf"^benchmark: .*: pip install 'gqn\[{extra}\]'$"):
        run(monkeypatch, *arguments)
    assert capsys.readouterr().out == ""


def test_scenes_writes_the_rate_of_each_family_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few_channels(monkeypatch, "quick")
    output = tmp_path / "rates.json"
    families = ("shepard_metzler_5_parts", "shepard_metzler_7_parts")
    options = ("--size", "8", "--seconds", "0.01", "--dataset", "1", "--presets", "quick", "--output", str(output))
    run(monkeypatch, "scenes", "--families", *families, *options)
    report = json.loads(output.read_text())
    assert set(report["frames_a_second"]) == set(families)
    assert min(report["frames_a_second"].values()) > 0
    assert report["provenance"]["command"][:2] == ["benchmark.py", "scenes"]
    assert report["dataset"]["scenes"] == 1
    quick = report["endless"]["quick"]
    assert quick["pixels"] == 32
    assert quick["step_seconds"] > 0
    assert quick["drawing_seconds"].keys() == set(families)
    assert all(0 < rate < 10 for world in quick["drawing_seconds"].values() for rate in world.values())
    assert "frames/s a core at 8x8" in capsys.readouterr().out


def test_arm_counts_what_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "arm.json"
    run(monkeypatch, "arm", "--scenes", "2", "--output", str(output))
    report = json.loads(output.read_text())
    assert {"pose", "locate", "reach", "grasp", "provenance"} <= set(report)
    assert report["locate"] == {
        "scenes_with_an_answer": 2,
        "true_answers_succeed": 1.0,
        "median_error_metres": 0.0,
        "random_answers_succeed": 0.0,
    }


def test_train_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "train", "--help")
    assert stopped.value.code == 0
    assert "--repeats" in capsys.readouterr().out


def test_data_measures_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "data.json"
    run(
        monkeypatch, "data", "--scenes", "20", "--size", "16", "--repeats", "1", "--large", "1", "--output", str(output)
    )
    report = json.loads(output.read_text())
    assert len(report["scenes_a_second"]) == 6
    assert min(report["scenes_a_second"].values()) > 0
    assert report["bytes_a_scene"]["decoded shards"] > 15 * 3 * 16 * 16
    assert len(report["ratios"]) == 3
    assert report["provenance"]["command"][:2] == ["benchmark.py", "data"]


def forked(command: list[str], **_: object) -> CompletedProcess[str]:
    """Run the command of a measurement as Python and torchrun do, in processes that do not import PyTorch again."""
    python, module, name, *words = command
    assert (python, module) == (sys.executable, "-m")
    if name != "torch.distributed.run":
        assert name == scaling.__name__
        return run_script(Path(scaling.__file__), *words)
    asked = parse_args(words)
    assert (asked.module, asked.training_script, asked.standalone) == (True, scaling.__name__, True)
    together = run_together(int(asked.nproc_per_node), Path(scaling.__file__), *asked.training_script_args)
    return max(together, key=lambda done: abs(done.returncode))  # one that failed, if any did


def test_scaling_computes_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With networks of few channels in the place of `paper` and `best`; one process and two measure once each."""
    few_channels(monkeypatch, "paper", "best")
    monkeypatch.setattr(scaling, "subprocess", SimpleNamespace(run=forked))
    for module in (dataset, scaling):
        monkeypatch.setattr(module, "OPEN_SHARDS", 8)
    measured = scaling.measured

    @cache
    def short(count: int) -> dict[str, float]:
        return measured(scaling.Task(16, 1, 2, activation_checkpointing=True, repeats=1, device="cpu"), count)

    monkeypatch.setattr(scaling, "measured", lambda task, count=1: short(count))
    output = tmp_path / "scaling.json"
    options = ("--pixels", "16", "--repeats", "1", "--batches", "2", "--lengths", "4", "--output", str(output))
    run(monkeypatch, "scaling", *options)
    report = json.loads(output.read_text())
    assert report["two_processes"]["efficiency"] > 0
    assert [(row["scenes"], row["L"]) for row in report["memory_megabytes"]] == [(2, 4), (2, 4)]
    assert min(row["megabytes"] for row in report["memory_megabytes"]) > 0
    for row in report["computed"]:
        assert 0 < row["efficiency"] < 1
        assert row["batch"] % row["gpus"] == 0
        assert row["checkpoint_megabytes"] >= 0
    assert [row["batch"] for row in report["computed"]] == [40, 64, 320] * 2
    store = report["store"]
    assert store["scenes_a_second_from_an_open_shard"] > store["scenes_a_second_from_a_shard_to_open"] > 0
    assert store["shards"] == pytest.approx(100 * store["scenes_millions"], rel=0.01)  # of 10,000 scenes each
    assert store["order_of_an_epoch_gigabytes"] == pytest.approx(store["scenes_millions"] * 8e-3, rel=0.01)
    assert [row["gpus"] for row in store["what_gpus_ask"]] == [8, 64, 64] * 2
    assert min(row["megabytes_a_second"] for row in store["what_gpus_ask"]) > 0


def test_a_piece_of_the_check_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no kernel image")

    options = check.Check(tmp_path, device="cpu", output=tmp_path / "check.json")
    monkeypatch.setattr(check, "SceneDataset", lambda *_: SimpleNamespace(pixels=16))
    for name in ("run_tests", "speed", "measured", "killed_and_resumed"):
        monkeypatch.setattr(check, name, broken)
    monkeypatch.setattr(check, "in_two_processes", lambda *_: {"efficiency": 1.0})
    report = check.check_device(options, tmp_path)
    assert report["failed"] == ["tests", "speed", "memory_megabytes", "small"]
    assert report["speed"] == {"error": "RuntimeError: no kernel image"}
    assert report["two_processes"] == {"efficiency": 1.0}
    assert (tmp_path / "check.png").exists()


def test_operations_are_those_of_any_number_of_scenes() -> None:
    sizes = replace(PRESETS["paper"].model, hidden=8, canvas=8, generation_steps=2)
    config, work = replace(PRESETS["paper"], model=sizes), Work(16, 5, 2, 1)
    once, each = operations(config, work)
    assert once > 0
    assert Step(config, random_batch(work)).operations() == once + 5 * each


def test_a_preset_is_timed_by_its_own_optimizer_and_objective() -> None:
    quick = PRESETS["quick"]
    for config in (quick, replace(quick, training=replace(quick.training, optimizer="adam", residual_weights=False))):
        sizes = replace(config.model, hidden=8, canvas=8, side=8)
        step = Step(replace(config, model=sizes), random_batch(Work(16, 2, 2, 1)))
        assert isinstance(step.learner.optimizer, Muon) == (config is quick)
        assert step.learner.objective.residual_weights == (config is quick)
        before = [weight.clone() for weight in step.network.parameters()]
        step.learn()
        assert any(not torch.equal(old, new) for old, new in zip(before, step.network.parameters(), strict=True))


def test_train_times_the_literal_generator_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights give the same loss by either, but for the noise, which is drawn in another order."""
    sizes = replace(PRESETS["paper"].model, hidden=8, canvas=8, generation_steps=2)
    monkeypatch.syspath_prepend(SCRIPT.parents[1] / "tests")
    literal = import_module("reference").literal_generator
    ours = Step(replace(PRESETS["paper"], model=sizes), random_batch(Work(16, 64, 2, 1)))
    with torch.no_grad():
        fast = torch.stack([ours.learner.loss(ours.batch)[0] for _ in range(8)])
        slow = torch.stack([literal_loss(ours.network, literal, ours.batch) for _ in range(8)])
    assert abs(fast.mean() - slow.mean()) < 4 * (fast.std() + slow.std()) / 8**0.5
