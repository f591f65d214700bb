"""Runs that share a folder, stall or die: one line, nothing overwritten, what was learned is kept; all in time."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

import gqn
from gqn.core.distributed import Processes
from gqn.core.errors import Error
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config
from gqn.training.folder import TrainingError, run_folder
from gqn.training.history import read_history, sound
from gqn.training.logs import Logs

SCRIPT = REPOSITORY / "run-gqn.py"
TINY = [
    *("--hidden=8", "--canvas=8", "--representation=pool", "--representation-channels=8", "--generation-steps=2"),
    *("--device=cpu", "--precision=float32", "--eval-scenes=2", "--samples=1", "--batch=2", "--queries=1"),
]
ALONE = Processes(0, 1, torch.device("cpu"))


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


def begun(scenes: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), f"--data={scenes}", *TINY, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(), **pipes)  # type: ignore[call-overload]


def waited(condition, seconds: float = 60) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


def last_line(run: subprocess.Popen[str], timeout: float = 60) -> str:
    _, told = run.communicate(timeout=timeout)
    assert "Traceback" not in told, told
    return told.splitlines()[-1]


def test_runs_without_a_name_get_folders_of_their_own(tmp_path: Path) -> None:
    found: list[Path] = []
    together = threading.Barrier(4)

    def claim() -> None:
        with run_folder(Config(runs=str(tmp_path)), ALONE, resume=False) as folder:
            found.append(folder)
            together.wait(30)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(folder.name for folder in found) == ["quick-1", "quick-2", "quick-3", "quick-4"]
    assert not list(tmp_path.iterdir())  # they wrote nothing, and leave their names to others


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_is_one_runs_alone(tmp_path: Path, resume: bool) -> None:
    config = Config(runs=str(tmp_path), name="mine")
    with run_folder(config, ALONE, resume=False) as folder:
        with (
            pytest.raises(TrainingError, match="another run is at work there"),
            run_folder(config, ALONE, resume=resume),
        ):
            pass
        (folder / checkpoint.FILE).write_bytes(b"")
    with pytest.raises(TrainingError, match="exists: --resume"), run_folder(config, ALONE, resume=False):
        pass
    with run_folder(config, ALONE, resume=True):
        pass
    for name in ("..", ".", "a/.."):
        wrong = Config(runs=str(tmp_path / "runs"), name=name)
        with pytest.raises(TrainingError, match="no name of a folder"), run_folder(wrong, ALONE, resume=False):
            pass


def test_a_run_goes_on_from_the_file_that_is_named(scenes: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        PRESETS["quick"],
        data=scenes,  # a path, where an option is text
        runs=tmp_path,
        name="run",
        device="cpu",
        precision="float32",
        model=dataclasses.replace(PRESETS["quick"].model, hidden=8, canvas=8, representation_channels=8),
        training=dataclasses.replace(PRESETS["quick"].training, steps=2, batch=2, minutes=0),
        evaluation=dataclasses.replace(PRESETS["quick"].evaluation, eval_scenes=2, samples=1),
    )
    folder = gqn.train(config)
    assert checkpoint.read(folder / checkpoint.EVALUATED)["step"] == 2
    shutil.copy(folder / checkpoint.FILE, folder / "kept.pt")
    longer = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=4))
    gqn.train(longer, resume=True)
    assert checkpoint.read(folder)["step"] == 4
    gqn.train(
        dataclasses.replace(config, training=dataclasses.replace(config.training, steps=3)), resume=folder / "kept.pt"
    )
    assert checkpoint.read(folder)["step"] == 3
    checkpoint.extract(folder, folder / "weights.pt")
    with pytest.raises(Error, match="weights alone, without network: begin another run by --start"):
        gqn.train(longer, resume=folder / "weights.pt")
    (folder / "metrics.json").write_text("{")
    with pytest.raises(Error, match=r"metrics.json is damaged"):
        gqn.train(longer, resume=True)


def test_a_run_in_a_thread(scenes: Path, tmp_path: Path) -> None:
    found: list[object] = []

    def work() -> None:
        quick = PRESETS["quick"]
        try:
            found.append(
                gqn.train(
                    dataclasses.replace(
                        quick,
                        data=str(scenes),
                        runs=str(tmp_path),
                        device="cpu",
                        workers=1,
                        model=dataclasses.replace(quick.model, hidden=8, canvas=8, representation_channels=8),
                        training=dataclasses.replace(quick.training, steps=1, batch=2),
                        evaluation=dataclasses.replace(quick.evaluation, eval_scenes=1, samples=1),
                    )
                )
            )
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert found == [tmp_path / "quick-1"]


def test_a_worker_that_is_killed_costs_a_line_and_nothing_learned(scenes: Path, tmp_path: Path) -> None:
    run = begun(
        scenes, tmp_path, "--steps=100000", "--workers=2", "--name=run", "--save-every=100000", "--eval-every=100000"
    )
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    waited(lambda: len(children.read_text().split()) >= 2)
    time.sleep(6)
    os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
    line = last_line(run)
    assert line.startswith("run-gqn: a worker that reads scenes died")
    step = checkpoint.read(tmp_path / "runs/run")["step"]
    assert step > 0
    assert line.endswith(f"step {step} is saved: --resume runs/run goes on")


def test_a_signal_ends_an_evaluation_at_once_and_it_is_made_up_for(scenes: Path, tmp_path: Path) -> None:
    run = begun(scenes, tmp_path, "--steps=2", "--name=run", "--samples=100000", "--eval-scenes=5")
    waited((tmp_path / "runs/run/checkpoint.pt").exists)
    time.sleep(3)
    run.send_signal(signal.SIGTERM)
    line = last_line(run, timeout=20)
    assert run.returncode == 143
    assert line.startswith("run-gqn: stopped at step 2 by SIGTERM and saved")
    again = begun(scenes, tmp_path, "--resume=runs/run", "--samples=1")
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert [report["step"] for report in read_history(tmp_path / "runs/run")] == [2]


@pytest.mark.parametrize("moment", [0.0, 0.3, 1.0, 2.0])
def test_a_signal_while_libraries_are_imported_is_one_line(tmp_path: Path, moment: float) -> None:
    command = [sys.executable, str(SCRIPT), "--help"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes)  # type: ignore[call-overload]

    def catches() -> bool:
        mask = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{run.pid}/status").read_text())
        return mask is not None and bool(int(mask[1], 16) >> (signal.SIGTERM - 1) & 1)

    waited(catches)
    time.sleep(moment)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=20)
    if run.returncode:
        assert (run.returncode, told) == (130, "run-gqn: interrupted\n")


def test_logs_end_where_the_disk_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with Logs(tmp_path) as logs:
        logs.scalar("loss", 1.0, 1)

        def full(event: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(logs._events, "write_event", full)
        for step in range(100):
            logs.scalar("loss", 1.0, step)
    assert time.monotonic() - began < 10
    assert capsys.readouterr().err == f"{tmp_path}: No space left on device: TensorBoard's logs end here\n"


def test_a_checkpoint_of_a_loss_that_explodes_is_not_kept_as_a_good_one() -> None:
    def report(*values: float) -> list[dict[str, object]]:
        return [{"step": step, "tasks": {"render": {"negative_elbo": value}}} for step, value in enumerate(values)]

    assert sound(report(7000.0))
    assert sound(report(7000.0, 7100.0))
    assert sound(report(-5.0, 1.0))
    assert not sound(report(7000.0, float("nan")))
    assert not sound(report(7000.0, 1e9))
    assert not sound(report(float("inf")))


def test_a_checkpoint_that_lacks_a_part_or_holds_another_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    whole = torch.load(checkpoint.shipped("shepard-metzler-5-small"), weights_only=True)
    for key in ("config", "graph", "step", "ema"):
        torch.save({name: value for name, value in whole.items() if name != key}, path)
        with pytest.raises(checkpoint.CheckpointError, match=f"{path} is a checkpoint without its {key}"):
            gqn.load(tmp_path)
    torch.save({**whole, "ema": {name: value[..., :1] for name, value in whole["ema"].items() if value.dim()}}, path)
    with pytest.raises(checkpoint.CheckpointError, match="not those of its graph"):
        gqn.load(tmp_path)
    path.chmod(0)
    if os.geteuid():  # root reads anything
        with pytest.raises(PermissionError, match="checkpoint.pt"):
            gqn.load(tmp_path)


def test_a_folder_without_a_checkpoint_does_not_hide_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shepard-metzler-5-small/evaluation").mkdir(parents=True)
    gqn.load("shepard-metzler-5-small")
    with pytest.raises(checkpoint.CheckpointError, match="did you mean 'shepard-metzler-5-small'"):
        gqn.load("shepard-metzler-5-smal")


def test_metrics_are_json_that_others_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"history": [{"step": "two"}, {"step": 2}]}))
    assert read_history(tmp_path) == [{"step": 2}]
