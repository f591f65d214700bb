"""A run that is killed in the middle of a save or an evaluation goes on to the same bits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from front_door import run_script

from gqn.training import checkpoint
from gqn.training.history import read_history


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("end", ["", ":endless"])
def test_eight_kills_in_saves_and_evaluations_cost_nothing(scenes: Path, tmp_path: Path, end: str) -> None:
    run = run_script(REPOSITORY / "tests/kill_training_process.py", f"{scenes}{end}", tmp_path)
    assert run.returncode == 0, run.stderr
    assert len(json.loads(run.stdout)) == 8
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for file in (checkpoint.FILE, checkpoint.EVALUATED):
        one, other = checkpoint.resumable(killed / file), checkpoint.resumable(undisturbed / file)
        assert one["step"] == other["step"] == 4
        for part in ("network", "ema", "optimizer", "graph"):
            assert same(one[part], other[part]), f"{file}: {part}"
    assert [{**report, "seconds": 0} for report in read_history(killed)] == [
        {**report, "seconds": 0} for report in read_history(undisturbed)
    ]
    left = [{path.name for path in run.iterdir() if "events" not in path.name} for run in (killed, undisturbed)]
    assert left[0] == left[1]
