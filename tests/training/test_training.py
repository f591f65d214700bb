"""Training as a user meets it: a run that learns, stops, goes on, and says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from front_door import Script, run_script, run_together
from torch.utils._python_dispatch import TorchDispatchMode

from gqn.core.camera import SHEPARD_METZLER
from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.progress import Progress
from gqn.core.signals import Interrupted
from gqn.core.views import Batch
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.prepare import made_scenes
from gqn.models.nodes import GraphError
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, GraphConfig, from_dict, to_dict
from gqn.training.folder import TrainingError
from gqn.training.learner import Learner
from gqn.training.losses import Losses
from gqn.training.setup import check_resumed, flat_network
from gqn.training.trainer import Trainer, train

ROOT = Path(__file__).resolve().parents[2]


def tiny(data: Path, runs: Path, *, name: str = "run", seed: int = 0, **training: object) -> Config:
    quick = PRESETS["quick"]
    return replace(
        quick,
        data=str(data),
        runs=str(runs),
        name=name,
        seed=seed,
        device="cpu",
        precision="float32",
        model=replace(quick.model, representation_channels=8, side=8, hidden=8, canvas=8, latent=2, generation_steps=2),
        training=replace(quick.training, **({"steps": 6, "batch": 4, "minutes": 0.0, "warmup_steps": 2} | training)),
        evaluation=replace(quick.evaluation, eval_every=3, eval_scenes=5, samples=2, save_every=2, log_every=2),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.read(folder / "checkpoint.pt")
    return {f"{part}.{name}": value for part in ("network", "ema") for name, value in saved[part].items()}


def history(folder: Path) -> list[dict]:
    reports = json.loads((folder / "metrics.json").read_text())["history"]
    return [{key: value for key, value in report.items() if key != "seconds"} for report in reports]


def rendered(folder: Path) -> list[dict]:
    """Return each evaluation of the task `render`."""
    return [report["tasks"]["render"] for report in history(folder)]


@pytest.mark.pictures
def test_a_run_leaves_what_it_promises(scenes: Path, tmp_path: Path) -> None:
    folder = train(tiny(scenes, tmp_path))
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events")}
    checkpoints = {"checkpoint.pt", "evaluated.pt"}
    assert names == {"config.json", "metrics.json", "predictions.png", "curves.png", "graph.svg"} | checkpoints
    assert list(folder.glob("events.out.tfevents.*"))
    assert (folder / "predictions.png").read_bytes().startswith(b"\x89PNG")
    config = tiny(scenes, tmp_path)
    spelled_out = replace(config, training=replace(config.training, learning_rate_steps=6, sigma_steps=6))
    assert from_dict(json.loads((folder / "config.json").read_text())) == spelled_out
    reports = history(folder)
    assert [report["step"] for report in reports] == [3, 6]
    assert [report["scenes"] for report in reports] == [5, 5]
    for report in rendered(folder):
        for name in ("reconstruction", "prior_sample", "prior_mean", "shuffled_sample", "mean_image"):
            assert 0 < report[name]["mse"] < 1
        assert report["negative_elbo_above_floor"] > report["kl"] > 0


def test_training_learns(scenes: Path, tmp_path: Path) -> None:
    reports = rendered(train(tiny(scenes, tmp_path, steps=60, ema_decay=0.9, learning_rate=5e-3)))
    assert reports[-1]["reconstruction"]["mse"] < 0.7 * reports[0]["reconstruction"]["mse"]


class Calls(TorchDispatchMode):
    """Counts calls of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count[function.overloadpacket.__name__] += 1
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("representation", ["pool", "volume"])
def test_a_step_never_waits_for_the_device(scenes: Path, tmp_path: Path, representation: str) -> None:
    """Operators whose result the host must know: on CUDA each of them waits for all work before it."""
    config = tiny(scenes, tmp_path)
    config = replace(config, model=replace(config.model, representation=representation))
    with processes("cpu") as group:
        run = Trainer(config, tmp_path / "run", group)
        batches, losses = [run.batches[step] for step in range(3)], Losses(group, run.learner.names)
        with Calls() as calls:
            for step, batch in enumerate(batches):
                losses.add(run.learner.step(batch, step, step))
        with Calls() as asked:
            losses.means(3, run.folder)
    waiting = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "item"}
    assert calls.count["convolution_backward"] > 0
    assert not waiting & calls.count.keys()
    assert waiting & asked.count.keys()  # as reading the losses does, every so often


def test_a_batch_in_parts_has_the_gradient_of_the_whole(scenes: Path, tmp_path: Path) -> None:
    gradients = []
    for parts in (1, 2, 4):
        with processes("cpu") as group:
            settings = tiny(scenes, tmp_path, gradient_accumulation_steps=parts, max_grad_norm=0.0)
            run = Trainer(settings, tmp_path / "run", group)
            run.network.nodes["render"].generator.look.eval()  # no places at random along a ray
            with torch.no_grad():
                # A posterior of no width: the noise, which each part draws for itself, plays no part.
                posterior = run.network.nodes["render"].generator.posterior
                posterior.weight[2:], posterior.bias[2:] = 0, -20
            values = run.learner.step(run.batches[0], 0, 0)
            gradients.append([values, *(weight.grad for weight in run.network.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(gradients[2], gradients[0], rtol=1e-3, atol=1e-2)
    with pytest.raises(ValueError, match="--gradient-accumulation-steps must be a number that the batch divides by"):
        tiny(scenes, tmp_path, gradient_accumulation_steps=3)


def test_stopped_and_resumed_is_the_same_curve(scenes: Path, tmp_path: Path) -> None:
    schedule = {"learning_rate_steps": 6, "sigma_steps": 6}
    whole = train(tiny(scenes, tmp_path, name="whole", **schedule))
    train(tiny(scenes, tmp_path, name="parts", steps=3, **schedule))
    # As if it had been killed after the checkpoint of step 3 and before its evaluation.
    (tmp_path / "parts" / "metrics.json").unlink()
    parts = train(tiny(scenes, tmp_path, name="parts", **schedule), resume=True)
    assert history(parts) == history(whole)
    assert all(torch.equal(value, weights(parts)[name]) for name, value in weights(whole).items())
    other = train(tiny(scenes, tmp_path, name="other", seed=1))
    assert any(not torch.equal(value, weights(other)[name]) for name, value in weights(whole).items())


def test_a_signal_saves_and_the_run_goes_on(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tiny(scenes, tmp_path, name="whole"))
    step = Learner.step

    def struck(self: Learner, batch: Batch, number: int, position: float) -> torch.Tensor:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, number, position)

    monkeypatch.setattr(Learner, "step", struck)
    with pytest.raises(Interrupted, match="step 3 by SIGTERM"):
        train(tiny(scenes, tmp_path, name="struck"))
    monkeypatch.undo()
    assert checkpoint.read(tmp_path / "struck" / "checkpoint.pt")["step"] == 3
    struck_weights = weights(train(tiny(scenes, tmp_path, name="struck"), resume=True))
    assert all(torch.equal(value, struck_weights[name]) for name, value in weights(whole).items())


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Learner.step

    def poisoned(self: Learner, batch: Batch, number: int, position: float) -> torch.Tensor:
        if number == 4:
            next(self.network.parameters()).data.fill_(float("nan"))
        return step(self, batch, number, position)

    monkeypatch.setattr(Learner, "step", poisoned)
    config = tiny(scenes, tmp_path)
    with pytest.raises(TrainingError, match="not finite at step 5.*checkpoint.pt"):
        train(replace(config, evaluation=replace(config.evaluation, save_every=1, log_every=100)))
    saved = checkpoint.read(tmp_path / "run" / "checkpoint.pt")
    assert saved["step"] == 4
    assert all(value.isfinite().all() for value in saved["network"].values())


def test_bfloat16_follows_the_gradient_of_float32(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    monkeypatch.setattr("gqn.training.learner.update_ema", lambda ema, network, decay: gradients.append(flat(network)))

    def flat(network: torch.nn.Module) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    for precision in ("float32", "bfloat16"):
        train(replace(tiny(scenes, tmp_path, name=precision, steps=1, max_grad_norm=0.0), precision=precision))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99
    assert not torch.equal(*gradients)


def test_time_limit_ends_a_run_with_an_evaluation(scenes: Path, tmp_path: Path) -> None:
    folder = train(tiny(scenes, tmp_path, minutes=1e-9))
    assert [report["step"] for report in history(folder)] == [1]
    with pytest.raises(TrainingError, match="had its 1e-09 minutes.*--minutes"):
        train(tiny(scenes, tmp_path, minutes=1e-9), resume=True)
    # As if it had been killed between its last checkpoint and the evaluation.
    (tmp_path / "run" / "metrics.json").unlink()
    assert [report["step"] for report in history(train(tiny(scenes, tmp_path, minutes=1e-9), resume=True))] == [1]


def test_schedules_end_when_the_minutes_do(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where a step takes a minute: the last of six minutes learns at the schedules' last sixth."""
    minutes = iter(range(0, 60 * 1000, 60))
    monkeypatch.setattr("gqn.training.trainer.time.monotonic", lambda: next(minutes))
    folder = train(tiny(scenes, tmp_path, steps=1000, minutes=6.0, sigma=0.8, final_sigma=0.2))
    reports = history(folder)
    assert reports[-1]["step"] <= 6
    assert reports[-1]["tasks"]["render"]["sigma"] <= 0.2 + 0.6 / 6 + 1e-6


def test_evaluations_do_not_count_in_the_bars_time(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr(Progress, "pause", lambda _, seconds: paused.append(seconds))
    report = Trainer.report

    def slowly(trainer: Trainer, *arguments: Any, **options: Any) -> None:
        time.sleep(1.0)
        report(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "report", slowly)
    train(tiny(scenes, tmp_path, minutes=10.0))
    assert len(paused) == 5  # after each of six steps but the last
    assert paused[2] >= 1.0  # of the evaluation after the third


def test_no_data_and_empty_data_are_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no dataset"):
        train(replace(tiny(scenes, tmp_path), data=""))
    assert not list(tmp_path.iterdir())


def test_trained_network_loads_for_a_notebook(scenes: Path, tmp_path: Path) -> None:
    folder = train(tiny(scenes, tmp_path))
    network = checkpoint.load(folder)
    assert not network.training
    ema = checkpoint.read(folder / "checkpoint.pt")["ema"]
    assert all(torch.equal(value, ema[name]) for name, value in network.state_dict().items())


def test_a_run_starts_from_trained_weights(scenes: Path, tmp_path: Path) -> None:
    first = train(tiny(scenes, tmp_path, name="first"))
    second = tiny(scenes, tmp_path, name="second", steps=1, learning_rate=1e-30, final_learning_rate=1e-30)
    second = replace(second, graph=GraphConfig(start=str(first)))
    before, after = checkpoint.load(first).state_dict(), checkpoint.load(train(second)).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items() if "sigma" not in name)
    other = replace(second, name="third", model=replace(second.model, hidden=4))
    with pytest.raises(
        GraphError, match=r"'render' does not fit its weights in .*first: here .*hidden 4.* there .*hidden 8"
    ):
        train(other)


def test_a_scene_latent_is_learned_on_trained_weights_that_are_without(scenes: Path, tmp_path: Path) -> None:
    first = train(tiny(scenes, tmp_path, name="first", steps=1))
    second = tiny(scenes, tmp_path, name="second", steps=3, warmup_steps=0)
    second = replace(second, model=replace(second.model, scene_latent=True))
    second = replace(second, graph=GraphConfig(start=str(first), freeze=("vision",)))
    before, after = checkpoint.load(first).state_dict(), checkpoint.load(train(second)).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("nodes.vision"))
    latent = {name: value for name, value in after.items() if name.startswith("nodes.render.generator.scene.")}
    assert latent.keys() == after.keys() - before.keys()
    third = replace(second, name="third", graph=GraphConfig(start=str(tmp_path / "second")))
    third = replace(third, training=replace(third.training, steps=1, learning_rate=1e-30, final_learning_rate=1e-30))
    again = checkpoint.load(train(third)).state_dict()
    assert all(torch.equal(again[name], value) for name, value in latent.items())


def test_a_volume_learns_from_small_frames_first_and_goes_on_with_large_ones(scenes: Path, tmp_path: Path) -> None:
    pattern = "nodes.render.generator.place_camera.weight"
    coarse = tiny(scenes, tmp_path, name="coarse", steps=1)
    coarse = replace(coarse, size=8, model=replace(coarse.model, side=8))
    fine = tiny(scenes, tmp_path, name="fine", steps=1, learning_rate=1e-30, final_learning_rate=1e-30)
    fine = replace(fine, model=replace(fine.model, side=16), graph=GraphConfig(start=str(train(coarse))))
    before, after = (checkpoint.load(folder).state_dict() for folder in (tmp_path / "coarse", train(fine)))
    small, large = before.pop(pattern), after.pop(pattern)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(large, large.shape[2] // small.shape[2]), small)
    assert all(torch.equal(value, before[name]) for name, value in after.items() if "sigma" not in name)


def test_options_of_a_graph_need_one(scenes: Path, tmp_path: Path) -> None:
    for options in (GraphConfig(tasks=("render",)), GraphConfig(alternate=True)):
        with pytest.raises(TrainingError, match="--tasks and --alternate are for a graph"):
            train(replace(tiny(scenes, tmp_path), graph=options))


def test_a_volume_knows_the_lens_and_the_world_of_its_dataset(scenes: Path, tmp_path: Path) -> None:
    known = SceneDataset(scenes, "train").geometry
    plain = tiny(scenes, tmp_path, name="plain", steps=1)
    vision = checkpoint.load(train(plain)).trials["vision"].output
    assert (vision.field_of_view, vision.radius) == (known.field_of_view, known.cube_radius)
    wide = replace(plain, name="wide", model=replace(plain.model, field_of_view=60.0))
    vision = checkpoint.load(train(wide)).trials["vision"].output
    assert (vision.field_of_view, vision.radius) == (60, known.cube_radius)


def test_a_volume_must_be_told_what_a_dataset_does_not_say(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SceneDataset, "geometry", None, raising=False)
    read = SceneDataset.__init__

    def silent(self: SceneDataset, *arguments, **options) -> None:
        read(self, *arguments, **options)
        self.geometry = None

    monkeypatch.setattr(SceneDataset, "__init__", silent)
    config = tiny(scenes, tmp_path, steps=1)
    with pytest.raises(TrainingError, match="neither the cameras' field of view .* give --field-of-view and --radius"):
        train(config)
    train(replace(config, model=replace(config.model, representation="tower")))


def test_resuming_with_another_network_is_refused(scenes: Path, tmp_path: Path) -> None:
    config = tiny(scenes, tmp_path, steps=2)
    train(config)
    with pytest.raises(TrainingError, match="exists: --resume"):
        train(config)
    with pytest.raises(TrainingError, match="had its 2 steps.*--steps"):
        train(config, resume=True)
    with pytest.raises(TrainingError, match="other sizes"):
        train(replace(config, model=replace(config.model, hidden=4)), resume=True)
    with pytest.raises(Error, match="was trained on frames of 16 pixels, .* has 8: name a dataset of that size"):
        train(replace(config, size=8), resume=True)


def test_a_dataset_that_says_nothing_of_its_lens_is_named() -> None:
    with pytest.raises(TrainingError, match="^data/mine: its description says neither"):
        flat_network(PRESETS["small"].model, 16, data="data/mine")


@pytest.mark.parametrize(("representation", "channels"), [("tower", 256), ("volume", 8)])
def test_a_representation_has_channels_of_its_own(representation: str, channels: int) -> None:
    quick = PRESETS["quick"].model
    for preset in ("quick", "paper"):
        asked = replace(PRESETS[preset].model, representation=representation)
        assert asked.with_channels().representation_channels == channels
    small = replace(quick, representation=representation, hidden=8, canvas=8, side=8)
    network = flat_network(small, 16, SHEPARD_METZLER)
    assert network.spec["vision"].options["channels"] == channels
    other = flat_network(replace(small, representation_channels=4), 16, SHEPARD_METZLER)
    assert other.spec["vision"].options["channels"] == 4


def test_a_run_whose_channels_were_spelled_out_is_resumed_by_a_preset_that_leaves_them_open() -> None:
    quick = PRESETS["quick"]
    saved = {"config": to_dict(replace(quick, model=replace(quick.model, representation_channels=8))), "graph": {}}
    check_resumed(quick, Path("run"), saved)
    with pytest.raises(TrainingError, match="a network of other sizes"):
        check_resumed(replace(quick, model=replace(quick.model, representation="pool")), Path("run"), saved)


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at .*checkpoint.pt"):
        checkpoint.load(tmp_path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint.pt can't be read"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("preset", PRESETS)
def test_configuration_goes_round(preset: str) -> None:
    config = PRESETS[preset]
    assert config.preset == preset
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_bad_configurations_are_named() -> None:
    values = to_dict(PRESETS["quick"])
    with pytest.raises(ValueError, match="colour"):
        from_dict(values | {"colour": "red"})
    with pytest.raises(ValueError, match="batch"):
        from_dict(values | {"training": values["training"] | {"batch": "many"}})
    with pytest.raises(ValueError, match="--batch must be at least 1"):
        from_dict(values | {"training": values["training"] | {"batch": 0}})


# The front doors, as processes of their own.


def options(scenes: Path, runs: Path, *more: str) -> list[str]:
    text = (
        f"--runs {runs} --name run --device cpu --precision float32 --representation-channels 8 --side 8 --hidden 8 "
        "--canvas 8 --latent 2 --generation-steps 2 --steps 6 --batch 4 --minutes 0 --eval-every 3 --eval-scenes 5 "
        "--samples 2 --save-every 2 --log-every 2"
    )
    return ["--data", str(scenes), *text.split(), *more]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environ, cwd="/")


SCRIPT = ROOT / "run-gqn.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]


def test_dry_run_prints_the_configuration(scenes: Path, tmp_path: Path) -> None:
    done = run_script(SCRIPT, "--preset", "paper", "--data", str(scenes), "--dry-run", "--batch", "12")
    assert done.returncode == 0, done.stderr
    paper = PRESETS["paper"]
    expected = replace(paper, data=str(scenes), training=replace(paper.training, batch=12))
    assert from_dict(json.loads(done.stdout)) == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", "0"], "--batch must be at least 1"),
        (["--minutes", "inf"], "--minutes is inf, must be finite"),
        (["--centre", "nan", "0", "0"], "--centre is (nan, 0.0, 0.0), must be finite"),
        (["--context-views", "1", "15"], "the dataset has 15: lower --context-views"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--resume", "/nowhere"], "no checkpoint at /nowhere/checkpoint.pt"),
        (["--eval-context-views", "15"], "the dataset has 15: lower --eval-context-views"),
    ],
)
def test_errors_are_one_line(scenes: Path, tmp_path: Path, more: list[str], message: str) -> None:
    done = run_script(SCRIPT, *options(scenes, tmp_path, *more))
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]


def test_gpu_sh_trains_and_says_where(scenes: Path, tmp_path: Path) -> None:
    done = run(["sh", str(ROOT / "gpu.sh"), *options(scenes, tmp_path)[1:], "--shared-cores"])
    assert done.returncode == 0, done.stderr
    assert "training on the CPU" in done.stderr or "CUDA device" in done.stderr
    assert "context gain" in done.stdout
    assert json.loads((tmp_path / "run" / "config.json").read_text())["preset"] == "paper"
    missing = run(["sh", str(ROOT / "gpu.sh"), "/nowhere"])
    assert missing.returncode == 2
    assert "/nowhere: no such folder" in missing.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "-m torch.distributed.run --standalone --nproc-per-node 2"),
        (
            {"NNODES": "3", "NODE_RANK": "1", "MASTER_ADDR": "first"},
            "-m torch.distributed.run --nnodes 3 --node-rank 1 --master-addr first --master-port 29500 "
            "--nproc-per-node 2",
        ),
    ],
)
def test_gpu_sh_starts_a_process_for_each_device(tmp_path: Path, environment: dict[str, str], expected: str) -> None:
    """With a Python that says that there are two devices, and otherwise prints how it was called."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nif [ "$1" = -c ]; then echo 2; else echo "$@"; fi\n')
    python.chmod(0o755)
    done = run(["sh", str(ROOT / "gpu.sh"), str(tmp_path), "--batch", "8"], PYTHON=str(python), **environment)
    options = f"--data {tmp_path} --preset paper --device cuda --workers 4 --batch 8"
    assert done.stdout == f"{expected} {ROOT}/run-gqn.py {options}\n"
    assert f"2 CUDA device(s) on each of {environment.get('NNODES', 1)} machine(s)" in done.stderr


def test_gpu_sh_checks_the_device(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    done = run(["sh", str(ROOT / "gpu.sh"), "--check", str(tmp_path), "--minutes", "1"], PYTHON=str(python))
    assert done.stdout == f"{ROOT}/scripts/benchmark.py check --data {tmp_path} --minutes 1\n"


def test_gpu_sh_names_what_several_machines_need(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 2\n")
    python.chmod(0o755)
    done = run(["sh", str(ROOT / "gpu.sh"), str(tmp_path)], PYTHON=str(python), NNODES="2", NODE_RANK="0")
    assert done.returncode != 0
    assert "MASTER_ADDR, the address of machine 0, is not set" in done.stderr


def test_two_processes_train_and_one_reports(scenes: Path, tmp_path: Path) -> None:
    words = options(scenes, tmp_path, "--steps", "4", "--name", "", "--batch", "3", "--workers", "1")
    leader, other = run_together(2, SCRIPT, *words)
    assert leader.returncode == other.returncode == 0, leader.stderr + other.stderr
    assert leader.stdout.count("context gain") == 1
    assert leader.stderr.count("a batch of 3 scenes does not divide by 2 processes: taking 4") == 1
    assert other.stdout == ""
    assert "taking 4" not in other.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["quick-1"]
    assert json.loads((tmp_path / "quick-1" / "metrics.json").read_text())["processes"] == 2
    for done in run_together(2, SCRIPT, "--resume", tmp_path / "quick-1", "--steps", "6"):
        assert done.returncode == 0, done.stderr
    assert [report["step"] for report in history(tmp_path / "quick-1")] == [3, 4, 6]


def struck(process: Script | subprocess.Popen[str], saved: Path, number: signal.Signals) -> None:
    """Send a signal as a terminal or a scheduler does: to the whole group, loader workers included."""
    deadline = time.monotonic() + 300
    while not saved.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    os.killpg(process.pid, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_leaves_a_checkpoint_and_resume_goes_on(
    scenes: Path, tmp_path: Path, number: signal.Signals
) -> None:
    saved = tmp_path / "run" / "checkpoint.pt"
    with Script(SCRIPT, *options(scenes, tmp_path, "--steps", "100000", "--workers", "1")) as run:
        struck(run, saved, number)
        done = run.ended(60)
    assert done.returncode == 128 + number
    assert_it_goes_on(saved, done.stderr)


def test_a_signal_to_torchrun_leaves_a_checkpoint_and_resume_goes_on(scenes: Path, tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, *options(scenes, tmp_path, "--steps", "100000", "--workers", "1")]
    saved = tmp_path / "run" / "checkpoint.pt"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environ, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        struck(process, saved, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0, errors
    assert_it_goes_on(saved, errors)


def assert_it_goes_on(saved: Path, errors: str) -> None:
    assert "--resume goes on" in errors
    step = checkpoint.read(saved)["step"]
    done = run_script(SCRIPT, "--resume", str(saved), "--steps", str(step + 2), "--workers", "0")
    assert done.returncode == 0, done.stderr
    assert checkpoint.read(saved)["step"] == step + 2
    refused = run_script(SCRIPT, "--resume", str(saved), "--name", "other")
    assert "--name can't be given with --resume" in refused.stderr


def test_trains_on_a_genuine_scene(genuine: Path, tmp_path: Path) -> None:
    """One scene of DeepMind's without a test split: it is evaluated on itself, and that is said."""
    convert(genuine.parent.parent, 20, output=tmp_path, workers=1, progress=False)
    done = run_script(SCRIPT, *options(tmp_path / "shepard_metzler_5_parts", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "has no test split: evaluation is on the training scenes" in done.stderr
    report = rendered(tmp_path / "run")[-1]
    assert report["answers"] == 1
    assert report["context_gain_db"] is None
    assert report["reconstruction"]["mse"] > 0


def test_scenes_are_made_once(tmp_path: Path) -> None:
    folder = made_scenes(tmp_path, scenes=3, size=8, workers=1)
    assert len(SceneDataset(folder, "train")) == 3
    assert len(SceneDataset(folder, "test")) == 256
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tfrecord")}
    shards = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    assert made_scenes(tmp_path, scenes=3, size=8, workers=1) == folder
    assert all(path.stat().st_mtime_ns == time for path, time in (before | shards).items())
