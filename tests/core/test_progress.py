"""Progress: what it says in its first seconds is so, and with --quiet nothing of it is shown."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY
from front_door import run_script

from gqn.core import progress
from gqn.core.progress import Progress, be_quiet, duration, note


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds, which tests set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    yield now
    be_quiet(False)


def test_after_the_first_seconds_it_says_once_how_long_the_rest_takes(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(title="drawing", unit="scenes", total=1000) as bar:
        for _ in range(10):
            clock[0] += 1.0
            bar.update(10)
    said = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "about" in line]
    assert said == ["drawing: about 1.6 minutes more here"]  # 970 scenes, 10 a second


def test_a_slow_start_is_not_measured_and_a_limit_ends_the_work(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(title="training", total=10**6, slow_start=True, limit=80.0) as bar:
        for seconds in (500.0, 1.0, 1.0, 1.0):
            clock[0] += seconds
            bar.update()
    assert "training: about 80 seconds more here" in capsys.readouterr().err
    with Progress(title="short", total=40, slow_start=True) as bar:
        for seconds in (500.0, 1.0, 1.0, 1.0, 1.0):
            clock[0] += seconds
            bar.update(6)
    assert "about" not in capsys.readouterr().err  # little is left


def test_a_bar_with_a_limit_counts_to_what_will_be_done_by_then(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    with Progress(title="training", unit="steps", total=3000, initial=5, limit=60.0, mininterval=0) as bar:
        of_notebook = SimpleNamespace(max=3000)
        vars(bar)["container"] = SimpleNamespace(children=[None, of_notebook, None])
        assert str(bar).startswith("training: 5 steps [00:00,")  # no pace yet
        for _ in range(10):
            clock[0] += 1.0
            bar.update()
        assert "| 15/65 [00:10<00:50" in str(bar)
        assert of_notebook.max == 65
        clock[0] += 30.0  # an evaluation, which is not limited
        bar.pause(30.0)
        assert "| 15/65 [00:40<00:50" in str(bar)
        clock[0] += 50.0
        assert "100%" in str(bar)
    with Progress(total=20, limit=60.0, mininterval=0) as bar:
        clock[0] += 10.0
        bar.update(10)
        assert "| 10/20 [00:10<00:10" in str(bar)  # which ends before its limit
    with Progress(total=20, mininterval=0) as bar:
        bar.pause(1.0)
        assert "0/20" in str(bar)


def test_who_is_quiet_sees_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    be_quiet()
    for _ in Progress(range(3), "three"):
        clock[0] += 100.0
    with Progress(title="drawing", total=1000) as bar:
        clock[0] += 100.0
        bar.update(1)
    note("on the way")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_times_are_said_as_a_person_says_them() -> None:
    assert [duration(s) for s in (42, 95, 3000, 9000)] == ["42 seconds", "1.6 minutes", "50 minutes", "2.5 hours"]


def drawn(folder: Path, *arguments: str) -> CompletedProcess[str]:
    options = ["--scenes", "1", "--test-scenes", "0", "--seed", "0", "--size", "8", "--workers", "1", *arguments]
    done = run_script(REPOSITORY / "scripts/generate-scenes.py", "shepard_metzler_5_parts", folder, *options)
    assert done.returncode == 0, done.stderr
    return done


def test_every_script_takes_quiet(tmp_path: Path) -> None:
    """By `gqn.core.command.command`, round every script's work; a study's has it from its runner."""
    loud, quiet = drawn(tmp_path / "loud"), drawn(tmp_path / "quiet", "--quiet")
    assert "drawing" in loud.stderr
    assert quiet.stderr == ""
    assert quiet.stdout.split() == [str(tmp_path / "quiet/shepard_metzler_5_parts")]
    assert "--quiet" in drawn(tmp_path, "--help").stdout
    scripts = [*(REPOSITORY / "scripts").glob("*.py"), REPOSITORY / "run-gqn.py"]
    fronts = "with command(", "from gqn.studies.runner import Options, main"
    without = [path.name for path in scripts if not any(front in path.read_text() for front in fronts)]
    assert without == ["tensorflow_rate.py"]  # which the benchmark of the same name runs, in a process of its own


def test_no_other_bars_are_drawn() -> None:
    """Than those that --quiet hushes and that say how long it takes."""
    files = {path.relative_to(REPOSITORY).as_posix(): path.read_text() for path in (REPOSITORY / "gqn").rglob("*.py")}
    assert [name for name, text in files.items() if "import tqdm" in text] == ["gqn/core/progress.py"]
