"""The whole test pipeline on a small network, by one process and by two, and what it refuses."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import run_script, run_together
from PIL import Image

from gqn.core.distributed import Processes
from gqn.core.extras import MissingExtra, extra
from gqn.data.convert import convert
from gqn.data.generate import generate
from gqn.evaluation.probes import probes
from gqn.evaluation.report import RESULTS, assess, prepare
from gqn.evaluation.stimuli import NoTrial
from gqn.evaluation.subject import Options
from gqn.training import checkpoint
from gqn.training.config import QUICK
from gqn.training.setup import flat_network

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate.py"
SMALL = Options(
    context=1, most_context=2, samples=2, draws=4, fewer_draws=2, importance=(1, 4), batch=2, trials=3, probe_scenes=24
)
FLAGS = shlex.split(
    "--context 1 --most-context 2 --samples 2 --draws 4 --fewer-draws 2 --importance 1 4 --batch 2 --trials 3 "
    "--probe-scenes 24 --device cpu"
)


def saved_run(folder: Path, **changes: Any) -> Path:
    """A run that was saved before it learned anything."""
    model = replace(QUICK.model, representation_channels=8, side=8, hidden=8, canvas=8, latent=2, generation_steps=2)
    config = replace(QUICK, model=model, precision="float32", **changes)
    pixels = config.size or 16
    torch.manual_seed(0)
    network = flat_network(replace(model, field_of_view=20.0, radius=0.6), pixels)
    optimizer = torch.optim.AdamW(network.parameters())
    checkpoint.save(
        folder / checkpoint.FILE,
        config=config,
        step=1,
        seconds=2.0,
        network=network,
        ema=network,
        optimizer=optimizer,
    )
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(run_folder: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Of 5 scenes, by one process."""
    out = tmp_path_factory.mktemp("report") / "out"
    done = run_script(SCRIPT, run_folder, scenes, "--output", out, *FLAGS)
    assert done.returncode == 0, done.stderr
    return json.loads((out / RESULTS).read_text()), out


def test_everything_is_there(report: tuple[dict[str, Any], Path]) -> None:
    found, folder = report
    assert found["dataset"]["scenes"] == 5
    assert (
        [row["context"] for row in found["likelihood"]] == [0, 1, 2] == [row["context"] for row in found["prediction"]]
    )
    for row in found["likelihood"]:
        for sigma in ("training_sigma", "fitted_sigma"):
            elbo = row[sigma]["negative_elbo"]["mean"]
            assert elbo == pytest.approx(
                row[sigma]["floor"] + row[sigma]["negative_elbo_above_floor"]["mean"], rel=1e-4, abs=2e-3
            )  # numbers of six digits, hundreds apart
            bounds = row[sigma]["negative_importance_bound"]
            assert bounds.keys() == ({"1", "4"} if row["context"] == 1 else {"1"})
            assert bounds.get("4", bounds["1"])["mean"] <= bounds["1"]["mean"]
        assert row["kl"]["mean"] == pytest.approx(sum(row["kl_by_step"]), rel=1e-4)
    assert found["prediction"][0]["nearest_context_view"] is None
    assert found["order_of_context"]["largest_relative_change_of_r"] < 1e-5
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {"against-context", "calibration", "predictions", "canvas", "flight-strip"} | {
        "mental-rotation",
        "hidden-part",
        "t-sne",
        "scene-algebra",
    }
    assert list(folder.glob("events.out.tfevents.*"))
    with Image.open(folder / "flight.gif") as flight:
        assert flight.n_frames > 10
        assert flight.size[0] % 16 == 0


def test_what_the_network_knows_is_there(report: tuple[dict[str, Any], Path]) -> None:
    found = report[0]
    assert found["scene_behind_a_view"]["ways"] == 5
    for choice in ("by_likelihood", "by_representation", "by_pixels"):
        assert 0 <= found["scene_behind_a_view"][choice]["mean"] <= 1
        assert len(found["mental_rotation"][choice]["accuracy"]) == len(found["mental_rotation"]["angles"])
    hidden = found["hidden_parts"]
    assert 0 < hidden["true_posterior_answers_covered"]["mean"] <= 1
    assert hidden["hidden_share_on_possible_places"]["mean"] <= 1
    assert found["probes"]["mlp"].keys() == {"context", "colours_r2", "layout_r2", "colours_in_place_r2"}
    for context, row in enumerate(found["probes"]["linear"], 1):
        # Not the count: all objects of the dataset have five parts.
        assert row.keys() == {"context", "colours_r2", "layout_r2", "colours_in_place_r2"}
        assert row["context"] == context
        for said in (values for name, values in row.items() if name != "context"):
            assert said.keys() == {"representation", "untrained_network", "mean_of_frames", "constant"}
            for figure in said.values():
                assert figure["interval_95"][0] <= figure["value"] <= figure["interval_95"][1]
    assert found["neighbours"]["scenes"] == 5
    assert found["scene_algebra"]["candidates"] == 5 + 3 + 3


def test_the_untrained_network_is_as_a_run_begins(run_folder: Path, scenes: Path) -> None:
    """The run's own weights, where the seed is the run's."""
    own = checkpoint.load(run_folder).state_dict()
    for seed, same in ((0, True), (1, False)):
        options = replace(SMALL, seed=seed)
        subject, _ = prepare(run_folder, scenes, options, Processes(0, 1, torch.device("cpu")))
        weights = subject.untrained.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in own.items()) == same


def test_a_dataset_without_labels_or_of_other_scenes_goes_without_them(
    run_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    other = tmp_path / "another"
    shutil.copytree(scenes, other, ignore=shutil.ignore_patterns("*.labels.json", "dataset.json"))
    out = assess(run_folder, other, tmp_path / "out", replace(SMALL, limit=2, most_context=1), "cpu")
    found = json.loads((out / RESULTS).read_text())
    assert "have labels" in found["probes"]["left_out"]
    for name in ("mental_rotation", "hidden_parts", "scene_algebra"):
        assert "Shepard-Metzler" in found[name]["left_out"]
    assert found["scene_behind_a_view"]["ways"] == 2


def test_scenes_of_one_split_are_the_test_and_go_without_probes(run_folder: Path, scenes: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(scenes, alone, ignore=shutil.ignore_patterns("train"))
    subject, about = prepare(run_folder, alone, SMALL, Processes(0, 1, torch.device("cpu")))
    assert about["dataset"]["split"] == "test"
    found, _ = probes(subject)
    assert "one split alone" in found["probes"]["left_out"]


def test_frames_are_brought_to_the_size_that_the_run_was_trained_on(scenes: Path, tmp_path: Path) -> None:
    run = saved_run(tmp_path, size=32)  # frames of 16 pixels
    out = assess(run, scenes, tmp_path / "out", replace(SMALL, limit=2, most_context=1), "cpu")
    found = json.loads((out / RESULTS).read_text())
    assert found["dataset"]["pixels"] == 32
    for section in ("mental_rotation", "hidden_parts", "probes", "scene_algebra"):
        assert "left_out" not in found[section]
    with Image.open(out / "flight.gif") as flight:
        assert flight.size[0] % (2 * 32) == 0


def test_a_section_that_fails_loses_no_other(
    run_folder: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_trial(*_: Any) -> None:
        raise NoTrial("no part is ever hidden")

    def broken(*_: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("gqn.evaluation.mental_rotation.hidden_trial", no_trial)
    monkeypatch.setattr("gqn.evaluation.probes.labels_of", broken)
    with pytest.raises(ValueError, match="broken"):
        assess(run_folder, scenes, tmp_path / "out", replace(SMALL, limit=2, most_context=1), "cpu")
    found = json.loads((tmp_path / "out" / RESULTS).read_text())
    assert found["hidden_parts"] == {"left_out": "no part is ever hidden"}
    assert len(found["likelihood"]) == 2
    assert list(found["seconds"])[-1] == "hidden_parts"  # which comes before the probes


def numbers(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in numbers(inner, f"{path}/{name}").items()}
    if isinstance(value, list):
        return {k: v for i, inner in enumerate(value) for k, v in numbers(inner, f"{path}/{i}").items()}
    return {path: value}


def test_two_processes_give_the_figures_of_one(
    report: tuple[dict[str, Any], Path], run_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    """Of 5 scenes in batches of 2, which 2 processes can't halve."""
    for done in run_together(2, SCRIPT, run_folder, scenes, "--output", tmp_path / "out", *FLAGS):
        assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "out" / RESULTS).read_text())
    assert two["processes"] == 2
    assert not any(str(tmp_path) in part or str(scenes) in part for part in two["command"])
    alone = numbers({name: value for name, value in report[0].items() if isinstance(value, dict | list)})
    together = numbers(two)
    skipped = ("/seconds", "/command")
    for name, value in alone.items():
        if not name.startswith(skipped):
            if isinstance(value, float):
                np.testing.assert_allclose(together[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
            else:
                assert together[name] == value, name


def test_refusals_are_one_line(run_folder: Path, scenes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"nothing")
    done = run_script(SCRIPT, broken, scenes, *FLAGS)
    assert done.returncode == 1
    assert done.stderr.strip() == f"evaluate: {broken} can't be read as a checkpoint (UnpicklingError): use another"
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at"):
        assess(tmp_path, scenes, tmp_path / "out", SMALL, "cpu")
    with pytest.raises(ValueError, match="'vision' needs 16 observations.*the dataset has 15: lower --most-context"):
        assess(run_folder, scenes, tmp_path / "out", replace(SMALL, most_context=15), "cpu")
    other = generate("shepard_metzler_5_parts", tmp_path, 1, seed=0, test_scenes=1, size=8, workers=1, progress=False)
    convert(other, 8, workers=1, progress=False)
    with pytest.raises(ValueError, match="trained on frames of 16 pixels, .* has 8: name a dataset of that size"):
        assess(run_folder, other, tmp_path / "out", SMALL, "cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 0}, "--context must be from 1 to most-context"),
        ({"importance": (3,)}, "--importance must be divisors of draws"),
        ({"samples": 1}, "--samples must be at least 2"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(MissingExtra, match=r"torchmetrics is not installed.*pip install 'gqn\[evaluate\]'"):
        extra("torchmetrics.functional.image")
