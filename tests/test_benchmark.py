"""The front door of the benchmarks."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/benchmark.py"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_scenes_writes_the_rate_of_each_family_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rates.json"
    families = ("shepard_metzler_5_parts", "shepard_metzler_7_parts")
    options = ("--size", "8", "--seconds", "0.01", "--dataset", "1", "--output", str(output))
    run(monkeypatch, "scenes", "--families", *families, *options)
    report = json.loads(output.read_text())
    assert set(report["frames_a_second"]) == set(families)
    assert min(report["frames_a_second"].values()) > 0
    assert report["provenance"]["command"][:2] == ["benchmark.py", "scenes"]
    assert report["dataset"]["scenes"] == 1
    assert "frames/s a core at 8x8" in capsys.readouterr().out


def test_arm_counts_what_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "arm.json"
    run(monkeypatch, "arm", "--scenes", "2", "--output", str(output))
    report = json.loads(output.read_text())
    assert {"pose", "locate", "reach", "grasp", "provenance"} <= set(report)
    assert report["locate"] == {
        "scenes_with_an_answer": 2,
        "true_answers_succeed": 1.0,
        "median_error_metres": 0.0,
        "random_answers_succeed": 0.0,
    }


def test_train_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "train", "--help")
    assert stopped.value.code == 0
    assert "--repeats" in capsys.readouterr().out


def test_data_measures_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "data.json"
    run(
        monkeypatch, "data", "--scenes", "20", "--size", "16", "--repeats", "1", "--large", "1", "--output", str(output)
    )
    report = json.loads(output.read_text())
    assert len(report["scenes_a_second"]) == 6
    assert min(report["scenes_a_second"].values()) > 0
    assert report["bytes_a_scene"]["decoded shards"] > 15 * 3 * 16 * 16
    assert len(report["ratios"]) == 3
    assert report["provenance"]["command"][:2] == ["benchmark.py", "data"]


def test_scaling_computes_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "scaling.json"
    options = ("--pixels", "16", "--repeats", "1", "--batches", "2", "--lengths", "4", "--output", str(output))
    run(monkeypatch, "scaling", *options)
    report = json.loads(output.read_text())
    assert report["two_processes"]["efficiency"] > 0
    assert [(row["scenes"], row["L"]) for row in report["memory_megabytes"]] == [(2, 4), (2, 4)]
    assert min(row["megabytes"] for row in report["memory_megabytes"]) > 0
    for row in report["computed"]:
        assert 0 < row["efficiency"] < 1
