"""Runs that share a folder, stall or die: one line, nothing overwritten, what was learned is kept; all in time."""

import dataclasses
import json
import os
import re
import resource
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
from front_door import Script, run_script

import gqn
from gqn.core.distributed import Processes
from gqn.core.errors import Error
from gqn.training import checkpoint, sharing
from gqn.training.config import PRESETS, Config
from gqn.training.folder import TrainingError, run_folder
from gqn.training.history import read_history, sound
from gqn.training.logs import Logs
from gqn.training.nodes import mapped

SCRIPT = REPOSITORY / "run-gqn.py"
TINY = [
    *("--hidden=8", "--canvas=8", "--representation=pool", "--representation-channels=8", "--generation-steps=2"),
    *("--device=cpu", "--precision=float32", "--eval-scenes=2", "--samples=1", "--batch=2", "--queries=1"),
]
ALONE = Processes(0, 1, torch.device("cpu"))


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}


def begun(scenes: Path, folder: Path, *options: str) -> Script:
    return Script(SCRIPT, f"--data={scenes}", *TINY, *options, folder=folder)


def waited(condition, seconds: float = 300) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


def has_learned(folder: Path) -> bool:
    """Return whether a run's logs tell of steps; what they begin with is shorter."""
    return sum(path.stat().st_size for path in folder.glob("events*")) > 1000


def last_line(run: Script, seconds: float = 60) -> str:
    told = run.ended(seconds).stderr
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


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    gqn.save(gqn.load("mazes-small"), tmp_path / "saved")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, told in (
        ("saved", "holds README.md, which is of no run"),
        ("notes", "holds diary.txt"),
        ("../elsewhere", "no name of a folder for this run alone, within --runs"),
        ("small.pt", "no name of a folder"),
    ):
        wrong = Config(runs=str(tmp_path), name=name)
        with pytest.raises(TrainingError, match=told), run_folder(wrong, ALONE, resume=False):
            pass
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_goes_on_from_the_file_that_is_named(scenes: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        PRESETS["quick"],
        data=scenes,  # a path, where an option is text
        runs=tmp_path,
        name="run",
        device="cpu",
        precision="float32",
        model=dataclasses.replace(PRESETS["quick"].model, side=8, hidden=8, canvas=8, representation_channels=8),
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
    sharing.extract(folder, folder / "weights")
    with pytest.raises(Error, match="weights alone, without network: begin another run by --start"):
        gqn.train(longer, resume=folder / "weights")
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
                        model=dataclasses.replace(quick.model, side=8, hidden=8, canvas=8, representation_channels=8),
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
    options = ["--steps=100000", "--name=run", "--save-every=100000", "--eval-every=100000", "--log-every=1"]
    with begun(scenes, tmp_path, *options, "--workers=2") as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        waited(lambda: has_learned(tmp_path / "runs/run"))
        os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
        line = last_line(run)
    assert line.startswith("run-gqn: a worker that reads scenes died")
    step = checkpoint.read(tmp_path / "runs/run")["step"]
    assert step > 0
    assert line.endswith(f"step {step} is saved: --resume runs/run goes on")


def test_a_process_that_is_killed_ends_the_others_which_say_so(scenes: Path, tmp_path: Path) -> None:
    """And torchrun tells which one it was."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["--steps=100000", "--name=run", "--save-every=100000", "--eval-every=100000", "--log-every=1"]
    command = [*torchrun, str(SCRIPT), f"--data={scenes}", *TINY, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes)  # type: ignore[call-overload]
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    waited(lambda: has_learned(tmp_path / "runs/run"))
    (second,) = (
        pid for pid in children.read_text().split() if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    )
    os.kill(int(second), signal.SIGKILL)
    began = time.monotonic()
    _, told = run.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert run.returncode
    assert re.search(r"run-gqn: another process of the run ended; step \d+ is saved: --resume runs/run goes on", told)
    assert checkpoint.read(tmp_path / "runs/run")["step"] > 0
    assert re.search(r"rank +: 1 \(local_rank: 1\)\n +exitcode +: -9", told), told


def test_a_signal_ends_an_evaluation_at_once_and_it_is_made_up_for(scenes: Path, tmp_path: Path) -> None:
    with begun(scenes, tmp_path, "--steps=2", "--name=run", "--samples=100000", "--eval-scenes=5") as run:
        waited((tmp_path / "runs/run/checkpoint.pt").exists)
        time.sleep(3)
        os.kill(run.pid, signal.SIGTERM)
        line = last_line(run, 20)
        assert run.poll() == 143
    assert line.startswith("run-gqn: stopped at step 2 by SIGTERM and saved")
    again = run_script(SCRIPT, f"--data={scenes}", *TINY, "--resume=runs/run", "--samples=1", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [report["step"] for report in read_history(tmp_path / "runs/run")] == [2]


@pytest.mark.parametrize("moment", [0.0, 0.3, 1.0, 2.0])
def test_a_signal_while_libraries_are_imported_is_one_line(tmp_path: Path, moment: float) -> None:
    command = [sys.executable, str(SCRIPT), "--help"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes)  # type: ignore[call-overload]

    def catches() -> bool:
        mask = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{run.pid}/status").read_text())
        return mask is not None and bool(int(mask[1], 16) >> (signal.SIGTERM - 1) & 1)

    waited(catches)
    time.sleep(moment)
    run.send_signal(signal.SIGINT)
    shown, told = run.communicate(timeout=20)
    # Python takes its handlers away as it ends, when the help has been shown already.
    ended = bool(shown) and run.returncode == -signal.SIGINT
    if run.returncode and not ended:
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
    whole = {**checkpoint.read("shepard-metzler-7-small"), "format": checkpoint.FORMAT}
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
    (tmp_path / "shepard-metzler-7-small/evaluation").mkdir(parents=True)
    gqn.load("shepard-metzler-7-small")
    with pytest.raises(checkpoint.CheckpointError, match="did you mean 'shepard-metzler-7-small'"):
        gqn.load("shepard-metzler-5-smal")


def test_metrics_are_json_that_others_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"history": [{"step": "two"}, {"step": 2}]}))
    assert read_history(tmp_path) == [{"step": 2}]


def test_a_head_of_ones_own_is_reached_by_name_and_never_from_the_run(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import gqn, torch\n"
        "from gqn.models.heads import QueryMLP, no_latents\n"
        "class Plain(gqn.Head):\n"
        "    def __init__(self, *, inputs, query, target):\n"
        "        super().__init__(); self.network = QueryMLP(inputs=inputs, query=query, outputs=3, hidden=8)\n"
        "    def forward(self, query, r, target=None):\n"
        "        x = self.network(query, r)\n"
        "        normal = torch.distributions.Independent(torch.distributions.Normal(x, 1.0), 1)\n"
        "        return gqn.Answer(x, no_latents(query), normal)\n"
        "gqn.HEADS['plain'] = Plain\n"
    )
    (tmp_path / "g.yaml").write_text(
        "senses: {vision: {encoder: tower, frame: [3, 16, 16], channels: 8}}\n"
        "tasks: {where: {head: plain, inputs: [vision], target: [3], data: objects.0.position}}\n"
    )
    options = [f"--data={scenes}", *TINY]
    run = run_script(SCRIPT, *options, "--graph=g.yaml", "--steps=1", "--name=run", "--import", "mine", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert checkpoint.read(tmp_path / "runs/run")["config"]["graph"]["modules"] == ("mine",)
    again = run_script(SCRIPT, *options, "--resume=runs/run", "--steps=2", folder=tmp_path)
    assert "Traceback" not in again.stderr
    assert "no head 'plain'" in (line := again.stderr.splitlines()[-1])
    assert line.endswith("it was trained with --import mine: import that first")
    named = run_script(SCRIPT, *options, "--modules=mine", "--dry-run", folder=tmp_path)
    assert (named.returncode, named.stderr) == (1, "run-gqn: --modules is what --import was given: name them there\n")
    for script, modules, status in (
        (["visualise.py", "runs/run", "run.svg"], [], 1),
        (["visualise.py", "runs/run", "run.svg"], ["--import", "mine"], 0),
        (["visualise.py", "runs/run", "run.svg"], ["--import", "nothing"], 1),
        (["extract.py", "runs/run", "run"], ["--import", "mine"], 0),
        (["evaluate.py", "runs/run", str(scenes)], ["--import", "mine"], 1),
    ):
        drawn = run_script(REPOSITORY / "scripts" / script[0], *script[1:], *modules, folder=tmp_path)
        assert drawn.returncode == status, drawn.stderr
        assert "Traceback" not in drawn.stderr
    assert "an evaluation examines a sense of frames and one task that renders" in drawn.stderr  # it has been read


def test_a_full_disk_ends_a_run_in_one_line_and_leaves_nothing_half_written(scenes: Path, tmp_path: Path) -> None:
    """A disk of 300 kB, which a checkpoint does not fit on."""
    mount = f"mount -t tmpfs -o size=300k none '{tmp_path}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("may not mount a disk here")
    train = [sys.executable, str(SCRIPT), f"--data={scenes}", *TINY, "--steps=2", f"--runs={tmp_path}", "--name=run"]
    script = f"{mount} && \"$@\"; status=$?; ls -A '{tmp_path}/run'; exit $status"
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *train],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1] == (
        f"run-gqn: [Errno 28] No space left on device: '{tmp_path}/run/checkpoint.pt'"
    )
    assert "config.json" in run.stdout
    assert "checkpoint.pt" not in run.stdout


def test_a_disk_without_room_for_what_frozen_senses_see_is_named(tmp_path: Path) -> None:
    """To write past what the disk has would be a bus error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="to encode scenes beforehand; --no-cache does not") as error:
            mapped((1000, 1000), torch.float32, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.filename == str(tmp_path)
    assert not list(tmp_path.iterdir())
    assert mapped((10, 10), torch.float32, tmp_path).sum() == 0


def test_a_command_that_is_printed_quotes_every_part(tmp_path: Path) -> None:
    config = Config(runs=str(tmp_path / "my runs"), name="$run")
    with run_folder(config, ALONE, resume=False) as folder:
        (folder / checkpoint.FILE).write_bytes(b"")
    with (
        pytest.raises(TrainingError, match=re.escape(f"--resume '{tmp_path}/my runs/$run' goes on")),
        run_folder(config, ALONE, resume=False),
    ):
        pass
    sharing.extract("shepard-metzler-7-small", folder / "weights")
    with pytest.raises(Error, match=re.escape(f"--start '{folder}/weights'")):
        checkpoint.resumable(folder / "weights")
    with pytest.raises(Error, match=re.escape(f"sh data.sh '{tmp_path}/my runs' BATCH '$data'")):
        gqn.SceneDataset(tmp_path / "my runs/$data", "train")


def tiny(scenes: Path, runs: Path, **options: object) -> Config:
    quick = PRESETS["quick"]
    return dataclasses.replace(
        quick,
        data=str(scenes),
        runs=str(runs),
        device="cpu",
        precision="float32",
        model=dataclasses.replace(
            quick.model, representation="pool", representation_channels=8, hidden=8, canvas=8, generation_steps=2
        ),
        training=dataclasses.replace(quick.training, steps=1, batch=2, minutes=0.0),
        evaluation=dataclasses.replace(quick.evaluation, eval_scenes=1, samples=1),
        **options,
    )


def test_to_compile_without_a_compiler_is_refused_in_one_line(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"^--compile needs a C\+\+ compiler"):
        gqn.train(tiny(scenes, tmp_path / "runs", compile=True))
    assert not list((tmp_path / "runs").iterdir())  # its name is free again


def test_a_seed_may_be_as_large_as_the_options_say(scenes: Path, tmp_path: Path) -> None:
    gqn.train(tiny(scenes, tmp_path, seed=2**63 - 1))
    with pytest.raises(Error, match=r"--seed must be from 0 to less than 2\*\*63"):
        tiny(scenes, tmp_path, seed=2**63)


@pytest.mark.parametrize(
    ("raised", "wanted", "said"),
    [
        (PermissionError(13, "Permission denied"), Error, "can't be opened: Permission denied"),
        (OSError(24, "Too many open files"), Error, "can't be opened: Too many open files"),
        (OSError(116, "Stale file handle"), Error, "can't be opened: Stale file handle"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError, "DefaultCPUAllocator"),
        (RuntimeError("PytorchStreamReader failed"), Error, "damaged shard"),
    ],
)
def test_a_shard_that_is_not_damaged_is_not_called_so(
    scenes: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, wanted: type[Exception], said: str
) -> None:
    def load(*_: object, **__: object) -> None:
        raise raised

    dataset = gqn.SceneDataset(scenes, "train")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(wanted, match=said) as error:
        dataset.scene(0)
    assert ("remove it" in str(error.value)) == ("damaged" in said)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "left", [1, [2]]])
def test_labels_that_nothing_can_learn_from_are_named(scenes: Path, value: object) -> None:
    dataset = gqn.SceneDataset(scenes, "test")
    labelled = gqn.LabelledScenes(dataset, [{"x": 1.0}, {"x": value}, {"x": None}, {}, {"x": 2}])
    assert labelled.answer("x", 0) == 1
    assert labelled.answer("x", 2) is None
    with pytest.raises(Error, match=r"^data 'x' of scene 1 are (no numbers|not finite)"):
        labelled.answer("x", 1)


@pytest.mark.parametrize("text", ["5", "{}", "null", "[" * 100_000, "[1, 2", "\xff"])
def test_labels_that_are_damaged_are_named(scenes: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "test").mkdir()
    path = tmp_path / "test/1-of-1.labels.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Error, match=f"^{path}: damaged") as error:
        gqn.scene_labels(scenes, "test", records=tmp_path)
    assert "\n" not in str(error.value)
