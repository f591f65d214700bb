"""One runner for all studies: a run for each cell, a line of results for each run, a table and curves from the lines.

A *cell* is a frozen dataclass of plain values that identifies a run: a recipe and a seed, say. A *study* says which
cells there are, how one is run, what a run depends on beside its cell, and how runs are told. The runner keeps the
file of results: a JSON object a line, `{"cell": ..., "experiment": ..., "about": ..., **result}`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Generic, TypeVar

import dacite
import numpy as np
import tyro
import yaml
from matplotlib.figure import Figure

from gqn.core.command import command
from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.figure import save_png
from gqn.core.files import append_json_line, read_json_lines, whole_file
from gqn.core.progress import Progress
from gqn.core.provenance import provenance
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import listed
from gqn.training import checkpoint

Line = dict[str, Any]
Cell = TypeVar("Cell")
Experiment = TypeVar("Experiment")
Asked = TypeVar("Asked", bound="Study[Any]")


class StudyError(Error):
    """A study that can't be run or told as it is asked for; the message says what to change."""


def load_layer_1(run: str | Path) -> RecursiveGQN:
    """Return the graph of a run or checkpoint that has a sense `vision`. Raises Error where there is none."""
    graph = checkpoint.load(run)
    senses = graph.to_dict()["senses"]
    if "vision" not in senses:
        raise StudyError(f"{run} has no sense 'vision'; there are {listed(senses)}: name the run of a layer 1")
    return graph


class Study(ABC, Generic[Cell]):
    """Base of all studies: a dataclass whose fields are the options of its script.

    Attributes:
        file: NAME.yaml of an experiment or NAME.jsonl; results, table and curves are NAME.jsonl, NAME.md and NAME.png.
        cell: The dataclass of its cells.
        unit: Unit of the numbers of a run's curve.
        tolerance: How far the curve of a run that is made again may lie from the one in the results.
    """

    file: Path
    cell: type[Cell]
    unit: str
    tolerance: float

    @property
    def results(self) -> Path:
        """The file of results."""
        return self.file.with_suffix(".jsonl")

    @abstractmethod
    def cells(self) -> list[Cell]:
        """Return all cells in the order in which they are run."""

    def chosen(self) -> list[Cell]:
        """Return the cells that the options ask for, by default all."""
        return self.cells()

    @abstractmethod
    def experiment(self, cell: Cell) -> dict[str, Any]:
        """Return what a run depends on beside its cell, as far as it is known; lines of another one are refused."""

    def open(self) -> None:
        """Open what all runs share, so that what it lacks is said before the first of them."""

    @abstractmethod
    def run(self, cell: Cell) -> Line:
        """Make one run and return its result, plain values."""

    def fresh(self, folder: Path) -> "Study[Cell]":
        """Return the study with an empty folder for its runs, if it keeps any: to make one again from the start."""
        return self

    @abstractmethod
    def curve(self, line: Line) -> list[float]:
        """Return the numbers by which a run that is made again is compared with the results."""

    @abstractmethod
    def table(self, known: dict[Cell, Line]) -> str:
        """Return the results in Markdown."""

    def figure(self, known: dict[Cell, Line]) -> Figure | None:
        """Return the curves of the results, None for a study that has none to compare."""
        return None


def read_experiment(path: Path, kind: type[Experiment]) -> Experiment:
    """Return the experiment, a dataclass, that a YAML file describes.

    Raises:
        StudyError: The file is missing, is no YAML, or has options that the dataclass lacks or refuses.
    """
    try:
        return dacite.from_dict(kind, yaml.safe_load(path.read_text()), dacite.Config(strict=True, cast=[tuple]))
    except (OSError, yaml.YAMLError, dacite.DaciteError, TypeError, AttributeError, ValueError) as error:
        raise StudyError(f"{path}: no experiment: {' '.join(str(error).split())}") from None


def read_results(study: Study[Cell]) -> dict[Cell, Line]:
    """Return the lines of the study's cells, in the order of its cells.

    Raises:
        StudyError: The file has lines of another study, or a line was made by another experiment, as far as it tells.
    """
    lines: dict[Cell, Line] = {}
    for line in read_json_lines(study.results):
        try:
            lines[study.cell(**line["cell"])] = line
        except (TypeError, KeyError):
            raise StudyError(f"{study.results} holds no lines of this study: name another file") from None
    known = {cell: lines[cell] for cell in study.cells() if cell in lines}
    first: dict[str, Any] = {}  # what the study does not tell must be the same in all lines
    for cell, line in known.items():
        expected = flat(plain(study.experiment(cell)))
        told = flat(line["experiment"])
        other = [name for name, value in told.items() if value != expected.get(name, first.setdefault(name, value))]
        if other:
            raise StudyError(
                f"{study.results}: the run of {name_of(cell)} was made with another {', '.join(other)}: "
                "remove its line, or give the study another name"
            )
    return known


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are read again from JSON: tuples are lists, keys are strings."""
    return json.loads(json.dumps(values))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries by their path, such as `training batch`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
    return found


def name_of(cell: Any) -> str:
    """Return a cell, a dataclass, as a user reads it."""
    return ", ".join(f"{name} {value}" for name, value in asdict(cell).items() if value is not None)


def choose(study: Study[Cell], **only: Collection[Any]) -> list[Cell]:
    """Return the cells whose fields have one of the given values; a field without values is not looked at.

    Raises:
        StudyError: The study has no such cell.
    """
    cells = study.cells()
    for name, values in only.items():
        cells = [cell for cell in cells if not values or getattr(cell, name) in values]
    if not cells:
        asked = ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in only.items() if values)
        raise StudyError(f"{study.results.stem} has no runs of {asked}")
    return cells


def make(study: Study[Cell], cells: Sequence[Cell]) -> Iterator[Line]:
    """Make the runs that the file of results lacks, and yield each line once it is on the disk.

    Several processes may share the file: each looks again before a run, and waits to write for who is writing.
    """
    known = read_results(study)
    missing = [cell for cell in cells if cell not in known]
    if missing:
        study.open()
    for cell in Progress(missing, f"runs of {study.results.stem}", unit="runs"):
        if cell in read_results(study):  # another process has made it meanwhile
            continue
        with processes("cpu") as group:
            about = provenance(group)
        line = {
            "cell": vars(cell),
            "experiment": study.experiment(cell),
            "about": about,
            **study.run(cell),
        }
        study.results.parent.mkdir(parents=True, exist_ok=True)
        append_json_line(study.results, line)
        yield line


def make_again(study: Study[Cell], cells: Sequence[Cell]) -> Iterator[str]:
    """Make runs anew and yield how far each lies from the results, which stay as they are.

    Raises:
        StudyError: After the last one, where a curve lies farther from the results' than is tolerated.
    """
    known, differ = read_results(study), 0
    for cell in Progress(cells, f"runs of {study.results.stem} again", unit="runs"):
        if cell not in known:
            raise StudyError(f"{study.results} has no run of {name_of(cell)} to compare with")
        with TemporaryDirectory() as folder:
            ours, theirs = study.curve(study.fresh(Path(folder)).run(cell)), study.curve(known[cell])
        same = len(ours) == len(theirs)  # evaluated as often
        apart = float(np.abs(np.subtract(ours, theirs)).max()) if same else np.inf
        differ += apart > study.tolerance
        yield (
            f"{name_of(cell)}: last {ours[-1]:.3f}, in the results {theirs[-1]:.3f}; at most {apart:.3g} apart, "
            f"{study.tolerance:g} is tolerated ({study.unit})"
        )
    if differ:
        raise StudyError(f"{differ} of {len(cells)} runs differ from the results")


@dataclass(frozen=True)
class Mode:
    """Modes other than making the missing runs."""

    again: bool = False
    """Make the chosen runs anew and compare them with the results."""
    report: bool = False
    """Only write the table and the curves."""


def carry_out(study: Study[Cell], mode: Mode = Mode()) -> None:
    """Make the chosen runs that are missing, or as `mode` says, print a line about each, and write the report."""
    if mode.again:
        for comparison in make_again(study, study.chosen()):
            Progress.write(comparison)
        return
    if not mode.report:
        for line in make(study, study.chosen()):
            cell = study.cell(**line["cell"])
            Progress.write(f"{name_of(cell)}: {study.curve(line)[-1]:.3f} at last ({study.unit})")
    write_report(study)


@dataclass(frozen=True)
class Options(Generic[Asked]):
    """Command line of a study's script; a script with more modes adds them in a subclass."""

    study: Annotated[Asked, tyro.conf.arg(name="")]
    mode: Annotated[Mode, tyro.conf.arg(name="")] = field(default_factory=Mode)

    def carry_out(self) -> None:
        """Do what is asked for."""
        carry_out(self.study, self.mode)


def main(options: type[Options[Any]], description: str | None) -> None:
    """Carry out what the command line asks for: all that a study's script does.

    Args:
        options: `Options[S]`, where the fields of the study S are options of the script, or a subclass.
        description: the script's docstring, which `--help` shows.
    """
    with command("the same command goes on"):
        tyro.cli(options, description=description).carry_out()


def write_report(study: Study[Cell]) -> None:
    """Write the table, NAME.md, and the curves, NAME.png, beside the results.

    Raises:
        StudyError: There is no run yet.
    """
    known = read_results(study)
    if not known:
        raise StudyError(f"{study.results} has no runs of this study yet")
    with whole_file(study.results.with_suffix(".md")) as file:
        file.write(study.table(known).encode())
    if figure := study.figure(known):
        save_png(figure, study.results.with_suffix(".png"))
    print(f"{study.results.with_suffix('.md')}: {len(known)} of {len(study.cells())} runs")
