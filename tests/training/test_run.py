"""A run as a notebook shows it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import gqn
from gqn.core.errors import Error
from gqn.core.figure import Figure


def report(step: int, gain: float) -> dict[str, object]:
    render = {"answers": 3, "prior_sample": {"psnr_db": 20.0}, "context_gain_db": gain}
    return {"step": step, "seconds": 60.0 * step, "scenes": 3, "tasks": {"render": render, "name": None}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metrics.json").write_text(json.dumps({"history": [report(1, 0.5), report(2, 1.25)]}))
    Figure().savefig(tmp_path / "predictions.png")
    return tmp_path


class Frame:
    """In pandas' place, which is not installed for the tests."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows

    def set_index(self, name: str) -> dict[object, dict[str, object]]:
        return {row.pop(name): row for row in self.rows}


def test_history_is_every_evaluation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = gqn.Run(folder).history
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1] == {
        "step": 2,
        "seconds": 120.0,
        "render/prior_sample/psnr_db": 20.0,
        "render/context_gain_db": 1.25,
    }
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    frame = gqn.Run(folder).history
    assert frame.keys() == {1, 2}
    assert frame[2]["render/context_gain_db"] == 1.25


def test_a_notebook_shows_the_last_figures_and_the_pictures(folder: Path) -> None:
    shown = gqn.Run(folder)._repr_html_()
    assert "step 2, 2.0 minutes, render context gain db 1.25" in shown
    assert shown.count("data:image/png;base64,") == 1  # curves.png is not there
    assert "context gain db 1.25" in repr(gqn.Run(folder))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="has no metrics.json of a run"):
        gqn.Run(tmp_path)
