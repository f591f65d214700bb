"""The front door of scripts: what is for the user is one line and a status, and a bug is a traceback."""

import signal
import sys

import pytest
import torch

from gqn.core.command import _leave, command
from gqn.core.errors import Error, unknown
from gqn.core.progress import be_quiet, note
from gqn.core.signals import Interrupted


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Error("--data x: no such folder"), "--data x: no such folder"),
        (PermissionError(13, "Permission denied", "shard.pt"), "[Errno 13] Permission denied: 'shard.pt'"),
        (MemoryError("Unable to allocate 3 TiB"), "Unable to allocate 3 TiB: ask for less at once"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nat x"), "ask for less at once"),
    ],
)
def test_an_error_for_the_user_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(SystemExit, match=r"^[^\n]*$") as end, command():
        raise error
    assert said in str(end.value)


@pytest.mark.parametrize(
    "bug", [ValueError("a bug"), RuntimeError("a bug"), KeyError("a bug"), OSError("without a file")]
)
def test_a_bug_is_a_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)) as end, command():
        raise bug
    assert end.value is bug


def test_memory_that_torch_does_not_get_is_told_apart_from_a_bug() -> None:
    with pytest.raises(SystemExit, match="ask for less at once"), command():
        torch.empty(2**46)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_and_its_status(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, status: int
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, command("run again"):
        signal.raise_signal(number)
    assert end.value.code == status
    assert capsys.readouterr().err.endswith(": interrupted; run again\n")
    assert signal.getsignal(number) is before
    with pytest.raises(SystemExit) as end, command("--resume"):
        raise Interrupted(number, 7)
    assert end.value.code == status


def test_an_error_is_told_though_torchrun_ends_the_process_on_its_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        try:
            raise Error("another process of the run ended")
        finally:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as end, command("run again"):
        run()
    assert end.value.code == 1
    assert capsys.readouterr().err.endswith(": another process of the run ended\n")


def test_no_signal_takes_the_line_from_an_error_that_python_prints_at_the_end() -> None:
    before = signal.signal(signal.SIGTERM, _leave)  # as in a script, by `quiet_imports`
    try:
        with pytest.raises(SystemExit, match="another process of the run ended"), command():
            raise Error("another process of the run ended")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, _leave)
        with command():
            pass
        assert signal.getsignal(signal.SIGTERM) is _leave
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_name_that_there_is_not_gets_the_nearest_one() -> None:
    assert unknown("colour", "gren", ["red", "green"]) == "no colour 'gren', did you mean 'green'? only red, green"
    assert unknown("colour", "x", ["red", "green"]) == "no colour 'x', only red, green"


def test_who_is_quiet_stays_so_in_the_next_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts have one round the imports that may be missing, and one round the work."""
    monkeypatch.setattr(sys, "argv", ["script", "--quiet"])
    try:
        for _ in range(2):
            with command():
                note("on the way")
    finally:
        be_quiet(False)
    assert capsys.readouterr().out == ""
