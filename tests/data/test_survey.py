"""The survey of a dataset agrees with its content."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, RecordWriter
from matplotlib.image import imread

from gqn.data.convert import convert
from gqn.data.dataset import DatasetError
from gqn.data.survey import contact_sheet, survey


@pytest.fixture
def converted(small_dataset: RecordWriter) -> Path:
    """Scenes 3 to 42 of brightness and x alike, one of them damaged, and 50 to 54 to test on."""
    directory = small_dataset(train=[range(3, 20), range(20, 43)], test=[range(50, 55)])
    path = directory / "train/2-of-2.tfrecord"
    whole = bytearray(path.read_bytes())
    whole[300] ^= 1
    path.write_bytes(whole)
    convert(directory, 8, workers=1, progress=False, allow_damaged=True)
    return directory


def test_counts_ranges_and_damage(converted: Path) -> None:
    told = survey(converted)
    train, test = told["train"], told["test"]
    assert (train["scenes"], train["views"], train["pixels"], train["record_files"]) == (39, 2, 8, 2)
    assert (test["scenes"], test["shards"], test["damages"], test["unreadable"]) == (5, 1, [], [])
    assert train["cameras"]["x"] == [3.0, 42.0]
    assert train["cameras"]["distance"] == [3.0, 42.0]
    assert train["cameras"]["yaw"] == [0.0, 0.0]
    assert train["bytes"] == sum(file.stat().st_size for file in (converted / "torch/train").glob("*.pt"))
    (damage,) = train["damages"]
    assert damage.startswith("2-of-2.tfrecord at byte 0, ")
    assert "bad checksum of its data" in damage
    assert test["brightness"][0] == pytest.approx(np.mean(range(50, 55)), abs=1.5)


def test_the_sheet_shows_the_scenes(converted: Path, tmp_path: Path) -> None:
    contact_sheet(converted, tmp_path / "sheet.png", scenes=4)
    sheet = (255 * imread(tmp_path / "sheet.png")).round()
    assert sheet.shape == (4 * 10, 2 * 10, 4)
    middles = sheet[5::10, 5::10, 0].tolist()
    assert middles == [[3, 3], [42, 42], [50, 50], [54, 54]]
    assert (sheet[0] == 255).all()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    script = REPOSITORY / "scripts/inspect-dataset.py"
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")


def test_the_script_tells_it(converted: Path, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    run(monkeypatch, str(converted))
    told = capsys.readouterr().out
    assert "small train: 39 scenes of 2 views, 8x8 pixels, from 2 record files" in told
    assert "damaged records: 1" in told
    assert (converted / "torch/contact-sheet.png").exists()
    (converted / "torch/test/1-of-1.0000.pt").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="damaged shard"):
        contact_sheet(converted, tmp_path / "sheet.png")
    assert len(survey(converted)["test"]["unreadable"]) == 5
    with pytest.raises(SystemExit, match=f"inspect-dataset: {tmp_path}/none: no torch/train or torch/test in it"):
        run(monkeypatch, str(tmp_path / "none"))
