"""The runner of studies: runs made once, refused where they are another experiment's, told from the results alone."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from gqn.core.files import append_json_line, read_json_lines
from gqn.studies.runner import (
    Line,
    Mode,
    Study,
    StudyError,
    carry_out,
    choose,
    make,
    read_experiment,
    read_results,
)


@dataclass(frozen=True)
class Cell:
    name: str
    seed: int


@dataclass
class Toy(Study[Cell]):
    file: Path
    names: tuple[str, ...] = ("one", "two")
    options: dict[str, Any] = field(default_factory=lambda: {"batch": 4, "inner": {"steps": (1, 2)}})
    values: dict[str, float] = field(default_factory=dict)
    made: list[Cell] = field(default_factory=list)

    cell = Cell
    unit = "cm"
    tolerance = 0.5

    def cells(self) -> list[Cell]:
        return [Cell(name, seed) for seed in (0, 1) for name in self.names]

    def experiment(self, cell: Cell) -> dict[str, Any]:
        return self.options

    def run(self, cell: Cell) -> Line:
        self.made.append(cell)
        return {"errors": [3.0, self.values.get(cell.name, 1.0)]}

    def curve(self, line: Line) -> list[float]:
        return line["errors"]

    def table(self, known: dict[Cell, Line]) -> str:
        return "\n".join(f"{cell.name} {cell.seed}: {line['errors'][-1]:g}" for cell, line in known.items())

    def figure(self, known: dict[Cell, Line]) -> Figure:
        return Figure()


def test_runs_are_made_once_and_go_on_after_an_interruption(tmp_path: Path) -> None:
    study = Toy(tmp_path / "new" / "toy.jsonl")
    first = next(make(study, study.cells()))
    assert first["cell"] == {"name": "one", "seed": 0}
    assert {"commit", "command", "torch"} <= first["about"].keys()
    assert len(list(make(study, study.cells()))) == 3
    assert not list(make(study, study.cells()))
    assert len(study.made) == 4
    assert list(read_results(study)) == study.cells()
    # A line that a killed process left unfinished is no run, and does not swallow the next.
    with study.results.open("a") as file:
        file.write('{"cell": {"na')
    append_json_line(study.results, {**first, "cell": {"name": "three", "seed": 0}})
    assert list(read_results(study)) == study.cells()
    study.names = ("one", "two", "three")
    assert Cell("three", 0) in read_results(study)


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    studies = [Toy(tmp_path / "toy.jsonl", names=(f"name {number}",)) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda study: list(make(study, study.cells())), studies))
    assert len(read_json_lines(tmp_path / "toy.jsonl")) == 16


def test_lines_of_another_experiment_are_refused(tmp_path: Path) -> None:
    study = Toy(tmp_path / "toy.jsonl")
    list(make(study, study.cells()))
    for options, other in (
        ({"batch": 5, "inner": {"steps": [1, 2]}}, "batch"),
        ({"batch": 4, "inner": {"steps": [1, 3]}}, "inner steps"),
    ):
        with pytest.raises(StudyError, match=f"run of name one, seed 0 was made with another {other}: remove its line"):
            read_results(Toy(study.file, options=options))
    # What the lines do not tell, an option newer than they, is no difference; nor are cells that the study lacks.
    more = {**study.options, "newer": 1}
    assert len(read_results(Toy(study.file, names=("one", "three"), options=more))) == 2
    # What the study does not tell must be the same in all lines.
    less = {"inner": {"steps": [1, 2]}}
    assert len(read_results(Toy(study.file, options=less))) == 4
    lines = read_json_lines(study.results)
    lines[-1]["experiment"]["batch"] = 5
    study.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StudyError, match="seed 1 was made with another batch"):
        read_results(Toy(study.file, options=less))


def test_lines_of_another_study_are_refused(tmp_path: Path) -> None:
    for number, line in enumerate(({"recipe": "one"}, {"cell": {"recipe": "one", "seed": 0}}, [])):
        append_json_line(tmp_path / f"{number}.jsonl", line)
        with pytest.raises(StudyError, match="holds no lines of this study: name another file"):
            read_results(Toy(tmp_path / f"{number}.jsonl"))


def test_a_run_that_is_made_again_is_compared_and_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Toy(tmp_path / "toy.jsonl")
    list(make(study, study.cells()[:3]))
    before = study.results.read_bytes()
    study.names = ("one",)
    carry_out(study, Mode(again=True))
    assert "name one, seed 0: last 1.000, in the results 1.000; at most 0 apart" in capsys.readouterr().out
    study.values["one"] = 1.6
    with pytest.raises(StudyError, match="2 of 2 runs differ from the results"):
        carry_out(study, Mode(again=True))
    study.curve = lambda line: line["errors"][: 1 if study.made[-1] == Cell("one", 0) and "cell" not in line else 2]
    study.values["one"] = 1.0
    with pytest.raises(StudyError, match="1 of 2 runs"):  # of another number of evaluations
        carry_out(study, Mode(again=True))
    del study.curve
    study.names = ("one", "two")
    study.values["one"] = 1.4
    with pytest.raises(StudyError, match="has no run of name two, seed 1 to compare with"):
        carry_out(study, Mode(again=True))
    assert study.results.read_bytes() == before


def test_a_report_is_made_of_the_lines_alone(tmp_path: Path) -> None:
    study = Toy(tmp_path / "toy.yaml")
    with pytest.raises(StudyError, match=r"toy.jsonl has no runs of this study yet"):
        carry_out(study, Mode(report=True))
    list(make(study, study.cells()[:2]))
    study.made.clear()
    carry_out(study, Mode(report=True))
    assert not study.made
    assert (tmp_path / "toy.md").read_text() == "one 0: 1\ntwo 0: 1"
    assert (tmp_path / "toy.png").exists()


def test_cells_are_chosen_by_their_fields(tmp_path: Path) -> None:
    study = Toy(tmp_path / "toy.jsonl")
    assert choose(study, name=(), seed=()) == study.cells()
    assert choose(study, name=("two",), seed=(1,)) == [Cell("two", 1)]
    with pytest.raises(StudyError, match="toy has no runs of name three, seed 0 1"):
        choose(study, name=("three",), seed=(0, 1))


def test_an_experiment_that_can_not_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "cell.yaml"
    file.write_text("name: one\nseed: 0\n")
    assert read_experiment(file, Cell) == Cell("one", 0)
    for text in ("name: one", "name: one\nseed: 0\ncolour: 1", "[1", "- 1", "name: 1\nseed: 0"):
        file.write_text(text)
        with pytest.raises(StudyError, match=r"cell.yaml: no experiment: ") as raised:
            read_experiment(file, Cell)
        assert "\n" not in str(raised.value)
    with pytest.raises(StudyError, match="no experiment: "):
        read_experiment(tmp_path / "none.yaml", Cell)
