"""Published implementations beside ours: checkouts are told by what lies in them, and their names never stay."""

import json
import runpy
import sys
from pathlib import Path

import pytest

import gqn
from gqn.core.errors import Error
from gqn.studies.benchmarks import peers

SCRIPT = Path(__file__).parents[2] / "scripts/benchmark.py"
# Of a tenth of a layer each, with the calls of the published ones.
NETWORK = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def look(self, frames, cameras, camera):
        b, m = frames.shape[:2]
        assert frames.shape == (b, m, 3, 64, 64) and cameras.shape == (b, m, 7) and camera.shape == (b, 7)
        return self.layer(frames.mean(dim=1))
"""
WOHLERT = """
from .tiny import Tiny


class GenerativeQueryNetwork(Tiny):
    def __init__(self, x_dim, v_dim, r_dim, h_dim, z_dim, L):
        super().__init__()
        assert (x_dim, v_dim, r_dim, h_dim, z_dim, L) == (3, 7, 256, 128, 64, 2)

    def forward(self, frames, cameras, truth, camera):
        mean = self.look(frames, cameras, camera)
        return mean, None, (mean - truth).square()

    def sample(self, frames, cameras, camera, sigma):
        return self.look(frames, cameras, camera)
"""
ISHOHEI = """
from core import Tiny


class GQN(Tiny):
    def __init__(self, representation, L):
        super().__init__()
        assert (representation, L) == ("pool", 2)

    def forward(self, frames, cameras, camera, truth, sigma):
        return -(self.look(frames, cameras, camera) - truth).square().sum(dim=(1, 2, 3)) / sigma

    def generate(self, frames, cameras, camera):
        return self.look(frames, cameras, camera)
"""


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """Checkouts of the two with tiny networks."""
    contents = {
        "wohlert/shepardmetzler.py": "",
        "wohlert/gqn/generator.py": "",
        "wohlert/gqn/tiny.py": NETWORK,
        "wohlert/gqn/__init__.py": WOHLERT,
        "ishohei/core.py": NETWORK,
        "ishohei/model.py": ISHOHEI,
        "ishohei/conv_lstm.py": "",
        "ishohei/gqn_dataset.py": "",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "wohlert", tmp_path / "ishohei"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "peers", *map(str, arguments)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_both_are_timed_beside_ours_at_their_sizes(
    checkouts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--batch", 1, "--context", 1, "--generation-steps", 2, "--repeats", 1, "--device", "cpu")
    run(monkeypatch, *checkouts, *options, "--output", tmp_path / "peers.json")
    report = json.loads((tmp_path / "peers.json").read_text())["peers"]
    assert list(report) == ["wohlert/generative-query-network-pytorch", "iShohei220/torch-gqn"]
    sizes = [row["sizes"] for row in report.values()]
    assert [(size["latent"], size["shared_cores"]) for size in sizes] == [(64, True), (3, False)]
    assert all(size["parameters"]["theirs"] == 12 for size in sizes)
    assert all(size["parameters"]["ours"] > 1_000_000 for size in sizes)
    for row in report.values():
        for timed in (row["training_step"], row["prior_sample"]):
            low, high = timed["of_turns_from_to"]
            assert 0 <= low <= timed["times_as_fast"] <= high < 1  # theirs is a layer here
            assert timed["ours_seconds_a_scene"] > timed["theirs_seconds_a_scene"]
    assert sys.modules["gqn"] is gqn


def test_their_modules_hide_ours_only_while_they_are_imported(checkouts: tuple[Path, Path]) -> None:
    before, path = dict(sys.modules), [*sys.path]
    with peers.imported(checkouts[0], "gqn") as module:
        assert module.__file__ == str(checkouts[0] / "gqn/__init__.py")
        assert sys.modules["gqn"] is module
    assert sys.modules == before
    assert sys.path == path
    with peers.imported(checkouts[1], "model"):
        pass
    assert not {"model", "core"} & sys.modules.keys()


def test_a_folder_that_is_no_known_checkout_is_refused_in_a_line(
    checkouts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SystemExit, match=rf"^benchmark: {folder}: no checkout of an implementation .* wohlert/.*$"):
            run(monkeypatch, checkouts[0], folder)
    with pytest.raises(SystemExit, match=r"^benchmark: no checkout named: clone wohlert/"):
        run(monkeypatch)
    assert capsys.readouterr().out == ""
    (checkouts[1] / "core.py").write_text("import a_library_that_nobody_has")
    missing = "its module model can't be imported: No module named 'a_library_that_nobody_has'"
    with pytest.raises(Error, match=missing), peers.imported(checkouts[1], "model"):
        pass
