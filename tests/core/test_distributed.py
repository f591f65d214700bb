"""Several processes give what one gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import run_together
from torch import distributed

from gqn.core.distributed import processes
from gqn.core.errors import Error

SCRIPT = Path(__file__).parents[1] / "distributed_process.py"


def results(dataset: Path, out: Path, device: str, count: int) -> dict[str, Any]:
    for done in run_together(count, SCRIPT, dataset, out, device):
        assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two devices, as far as PyTorch tells."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: None)


def of_torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_more_processes_than_devices_are_refused(
    monkeypatch: pytest.MonkeyPatch, two_devices: None, device: str, rank: int
) -> None:
    of_torchrun(monkeypatch, rank, 3)
    with (
        pytest.raises(Error, match=r"3 processes on this machine, where PyTorch finds 2 CUDA device\(s\): start 2"),
        processes(device),
    ):
        pass


@pytest.mark.parametrize(
    ("device", "others", "backend"), [("cuda", "cuda", "nccl"), ("cpu", "cpu", "gloo"), ("auto", "cuda", "nccl")]
)
def test_nccl_joins_devices_and_gloo_joins_cpus(
    monkeypatch: pytest.MonkeyPatch, two_devices: None, device: str, others: str, backend: str
) -> None:
    joined = {}
    store = distributed.HashStore()
    store.set("device 0", others)
    of_torchrun(monkeypatch, 1, 2)
    monkeypatch.setattr(distributed, "rendezvous", lambda url: iter([(store, 1, 2)]))
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, **rest: joined.update(rest, backend=backend))
    for name in ("get_rank", "barrier", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, lambda: 1)
    with processes(device) as group:
        place = torch.device("cuda", 1) if backend == "nccl" else torch.device("cpu")
        assert (group.device, group.rank, group.count) == (place, 1, 2)
    assert joined["backend"] == backend
    assert joined["device_id"] == (place if backend == "nccl" else None)  # else a barrier guesses it, and says so


def test_processes_of_which_only_some_find_a_device_are_refused(
    monkeypatch: pytest.MonkeyPatch, two_devices: None
) -> None:
    store = distributed.HashStore()
    store.set("device 0", "cpu")
    of_torchrun(monkeypatch, 1, 2)
    monkeypatch.setattr(distributed, "rendezvous", lambda url: iter([(store, 1, 2)]))
    with pytest.raises(Error, match="some processes find CUDA and others do not"), processes("auto"):
        pass


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_two_processes_equal_one(scenes: Path, tmp_path: Path, device: str) -> None:
    """Gradients of a joint batch, and the evaluation of 5 scenes, which 2 processes can't halve."""
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    one, two = (results(scenes, tmp_path / f"{count}.json", device, count) for count in (1, 2))
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        scale = max(np.abs(gradient).max(), 1e-6)
        np.testing.assert_allclose(np.array(two["gradients"][name]) / scale, np.array(gradient) / scale, atol=1e-4)
    one["report"], two["report"] = (found["report"]["render"] for found in (one, two))
    assert one["report"].keys() == two["report"].keys()
    assert one["report"]["answers"] == two["report"]["answers"] == 5
    np.testing.assert_allclose(two["report"]["negative_elbo"], one["report"]["negative_elbo"], rtol=1e-5)
    for name in ("reconstruction", "prior_mean", "shuffled_sample", "mean_image"):
        for metric, value in one["report"][name].items():
            np.testing.assert_allclose(two["report"][name][metric], value, rtol=1e-5)
