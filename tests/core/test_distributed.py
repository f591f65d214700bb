"""Several processes give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = Path(__file__).parents[1] / "distributed_process.py"


def results(launcher: list[str], dataset: Path, out: Path) -> dict[str, Any]:
    environ = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(SCRIPT), str(dataset), str(out)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_two_processes_equal_one(scenes: Path, tmp_path: Path) -> None:
    """Gradients of a joint batch, and the evaluation of 5 scenes, which 2 processes can't halve."""
    one = results([sys.executable], scenes, tmp_path / "one.json")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = results(torchrun, scenes, tmp_path / "two.json")
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
