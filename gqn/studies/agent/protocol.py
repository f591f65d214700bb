"""Does a representation help an agent? One that reaches learns from frames, from a frozen representation, or the state.

The robot arm's figure of Eslami et al. (2018): environment steps to a threshold, by soft actor-critic with the same
options for every observer. Differs from the paper: the world, the algorithm and all sizes are ours. A second protocol
counts the episodes to which an expert has answered.
"""

import time
from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any, ClassVar

import numpy as np
import tyro
from matplotlib.figure import Figure

from gqn.core.tables import table
from gqn.figures.curves import label, panels
from gqn.scenes.reaching import FAMILY
from gqn.studies.agent.cloning import Cloning, clone_agent
from gqn.studies.agent.environment import Camera
from gqn.studies.agent.learner import Learning, train_agent
from gqn.studies.agent.observers import Curve, Observation
from gqn.studies.comparison import spread, steps_to_threshold, told_ratio
from gqn.studies.runner import Line, Study, StudyError

THRESHOLDS = (30, 20, 15)  # centimetres, of the mean distance at the end
CLONED = (40, 30, 20, 10, 5)  # centimetres, of the median
GATE = 5  # centimetres, of the median, which an agent that is told the state must reach
BLIND = ("expert", "chance")  # they do not learn
PAIRS = (("layer-1", "pixels"), ("layer-1", "random"), ("layer-2", "layer-1"), ("layer-2", "pixels"))  # compared


@dataclass(frozen=True)
class Cell:
    """One run: what the agent observes, by which camera, its seed, and the run and node of a layer that it observes."""

    observation: Observation
    camera: Camera
    seed: int
    layer: str | None
    node: str


@dataclass
class _Reaching(Study[Cell]):
    """Runs of agents that reach, by what they observe."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME.jsonl")]
    """File of the runs, which is made or gone on with."""
    observations: tuple[Observation, ...] = (
        "expert", "chance", "state", "joints", "pixels", "random", "layer-1", "layer-2"
    )  # fmt: skip
    """Observations, a run each; expert and chance don't learn."""
    cameras: tuple[Camera, ...] = ("fixed",)
    """One camera for all episodes, or another one in each."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run each."""
    layer_1: str | None = None
    """Run whose sense `vision` is layer-1; random and pixels take it untrained."""
    layer_2: str | None = None
    """Run whose representation is layer-2."""
    node: str = "arm"
    """Name of the representation in the run of --layer-2."""
    films: bool = False
    """Film held-out episodes by what a run has learned: NAME/OBSERVATION-CAMERA-SEED.gif."""

    cell = Cell
    unit = "distance of hand and target in cm"
    tolerance = 5.0
    counted: ClassVar[str]  # what comes before an evaluation, in the rows of a curve
    axis: ClassVar[str]  # the same, as a figure has it
    shown: ClassVar[str]  # the distance, in the rows of a curve, that a figure shows

    def __post_init__(self) -> None:
        for name, run in (("layer-1", self.layer_1), ("layer-2", self.layer_2)):
            if name in self.observations and run is None:
                raise StudyError(f"--observations {name} needs --{name} RUN")

    def cells(self) -> list[Cell]:
        """Return a run of each seed, camera and observation, in this order, so that no observation is short of one."""
        first = (self.layer_1, "vision")
        layers = {"pixels": first, "random": first, "layer-1": first, "layer-2": (self.layer_2, self.node)}
        every = dict.fromkeys(product(self.seeds, self.cameras, self.observations))
        return [
            Cell(observation, camera, seed, *layers.get(observation, (None, "vision")))
            for seed, camera, observation in every
        ]

    def run(self, cell: Cell) -> Line:
        begun = time.perf_counter()
        film = self.results.with_suffix("") / f"{cell.observation}-{cell.camera}-{cell.seed}.gif"
        curve = self.learned(cell, film if self.films else None)
        return {"seconds": round(time.perf_counter() - begun, 1), "curve": curve}

    @abstractmethod
    def learned(self, cell: Cell, film: Path | None) -> Curve:
        """Return the curve of a run, of which `film` is written where one is asked for."""

    def curve(self, line: Line) -> list[float]:
        return [row[self.shown] for row in line["curve"]]

    def table(self, known: dict[Cell, Line]) -> str:
        """Return what it takes to the thresholds and what is reached at last, median (lowest to highest) of seeds."""
        last = [
            ("distance_cm", "distance at last (cm)", ".1f"),
            ("median_distance_cm", "median at last (cm)", ".1f"),
            ("success_10_cm", "within 10 cm at last", ".0%"),
            ("success_5_cm", "within 5 cm at last", ".0%"),
        ]
        thresholds = self.thresholds()
        columns = ["camera", "observation", "seeds", *(title for title, _, _ in thresholds), *(t for _, t, _ in last)]
        rows = []
        for (camera, observation), curves in groups(known).items():
            counts = [
                "" if observation in BLIND else spread([self.until(curve, cm, key) for curve in curves], ",.0f", median)
                for _, cm, key in thresholds
            ]
            reached = [spread([curve[-1][key] for curve in curves], form, median) for key, _, form in last]
            rows.append([camera, observation, str(len(curves)), *counts, *reached])
        return "\n\n".join(filter(None, [table(columns, rows), self.ratios(known)])) + "\n"

    def ratios(self, known: dict[Cell, Line]) -> str:
        """Return the ratios of PAIRS in what it takes to the thresholds, by the seeds of both; "" for no such pair."""
        thresholds, rows = self.thresholds(), []
        for camera, (ours, theirs) in product(self.cameras, PAIRS):
            mine, others = (
                {cell.seed: line["curve"] for cell, line in known.items() if (cell.camera, cell.observation) == asked}
                for asked in ((camera, ours), (camera, theirs))
            )
            if seeds := sorted(mine.keys() & others.keys()):
                budget = mine[seeds[0]][-1][self.counted]
                cells = []
                for _, cm, key in thresholds:
                    needed = ([self.until(runs[seed], cm, key) for seed in seeds] for runs in (mine, others))
                    cells.append(told_ratio(next(needed), next(needed), budget))
                rows.append([camera, f"{ours} / {theirs}", str(len(seeds)), *cells])
        return table(["camera", "ratio", "seeds", *(title for title, _, _ in thresholds)], rows) if rows else ""

    @abstractmethod
    def thresholds(self) -> list[tuple[str, float, str]]:
        """Return columns of the table: title, threshold in centimetres, and the distance in the rows of a curve."""

    def until(self, curve: Curve, centimetres: float, key: str) -> float:
        """Return how much is counted until the distance at the end, by `key`, has fallen so far; infinite for never."""
        return steps_to_threshold([row[self.counted] for row in curve], [row[key] for row in curve], centimetres)

    def figure(self, known: dict[Cell, Line]) -> Figure:
        """Return the distance at the end against what is counted, by camera: means, and each seed's faintly."""
        found = groups(known)
        cameras = sorted({camera for camera, _ in found})
        figure, places = panels(len(cameras))
        observations = list(dict.fromkeys(observation for _, observation in found))
        for (camera, observation), curves in found.items():
            place, colour = places[cameras.index(camera)], f"C{observations.index(observation)}"
            distances = [[row[self.shown] for row in curve] for curve in curves]
            if observation in BLIND:
                place.axhline(float(np.mean(distances)), color=colour, linestyle=":", label=observation)
                continue
            counts = [row[self.counted] for row in curves[0]]
            place.plot(counts, np.mean(distances, axis=0), color=colour, label=f"{observation} ({len(curves)} seeds)")
            for each in distances:
                place.plot(counts, each, color=colour, linewidth=0.5, alpha=0.4)
        for camera, place in zip(cameras, places, strict=True):
            distance = "median distance" if self.shown.startswith("median") else "distance"
            label(place, self.axis, f"{distance} of hand and target\nat the end of an episode (cm)")
            place.set_title(f"{camera} camera", fontsize=8)
            place.set_ylim(bottom=0)
            place.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return figure


@dataclass
class Agents(_Reaching):
    """Train agents that reach, by what they observe, and compare how many moves each takes to learn it."""

    learning: Annotated[Learning, tyro.conf.arg(name="")] = field(default_factory=Learning)

    counted, axis, shown = "steps", "moves of the arm", "distance_cm"

    def experiment(self, cell: Cell) -> dict[str, Any]:
        return {"learning": asdict(self.learning), "family": asdict(FAMILY)}

    def learned(self, cell: Cell, film: Path | None) -> Curve:
        return train_agent(cell.observation, cell.camera, cell.seed, self.learning, cell.layer, cell.node, film)

    def thresholds(self) -> list[tuple[str, float, str]]:
        mean = [(f"moves to {cm} cm", cm, "distance_cm") for cm in THRESHOLDS]
        return [*mean, (f"moves to a median of {GATE} cm", GATE, "median_distance_cm")]


@dataclass
class Clones(_Reaching):
    """Clone an expert that reaches, by what the clone observes, and compare how many episodes each needs."""

    cloning: Annotated[Cloning, tyro.conf.arg(name="")] = field(default_factory=Cloning)

    counted, axis, shown = "episodes", "episodes with an expert's answers", "median_distance_cm"

    def experiment(self, cell: Cell) -> dict[str, Any]:
        return {"cloning": asdict(self.cloning), "family": asdict(FAMILY)}

    def learned(self, cell: Cell, film: Path | None) -> Curve:
        return clone_agent(cell.observation, cell.camera, cell.seed, self.cloning, cell.layer, cell.node, film)

    def thresholds(self) -> list[tuple[str, float, str]]:
        return [(f"episodes to a median of {cm} cm", cm, "median_distance_cm") for cm in CLONED]

    def until(self, curve: Curve, centimetres: float, key: str) -> float:
        """Return episodes until the distance at the end has fallen so far, between evaluations by their logarithm."""
        episodes = [np.log(row[self.counted]) for row in curve]
        return float(np.exp(steps_to_threshold(episodes, [row[key] for row in curve], centimetres)))

    def table(self, known: dict[Cell, Line]) -> str:
        """Return the summary, and below it what each number of episodes comes to."""
        rows = []
        for (camera, observation), curves in groups(known).items():
            for at in zip(*curves, strict=True):
                cells = [
                    spread([row[key] for row in at], form, median)
                    for key, form in (("median_distance_cm", ".1f"), ("distance_cm", ".1f"), ("success_5_cm", ".0%"))
                ]
                rows.append([camera, observation, f"{at[0]['episodes']:,}", str(len(at)), *cells])
        columns = ["camera", "observation", "episodes", "seeds", "median (cm)", "mean (cm)", "within 5 cm"]
        return f"{super().table(known)}\n{table(columns, rows)}\n"

    def figure(self, known: dict[Cell, Line]) -> Figure:
        """Return the curves, with episodes on a logarithmic axis."""
        figure = super().figure(known)
        for place in figure.axes:
            place.set_xscale("log")
            place.set_xticks(self.cloning.episodes, [f"{count:,}" for count in self.cloning.episodes])
            place.minorticks_off()
        return figure


def groups(known: dict[Cell, Line]) -> dict[tuple[str, str], list[Curve]]:
    """Return the curves of all seeds by camera and observation."""
    found: dict[tuple[str, str], list[Curve]] = {}
    for cell, line in known.items():
        found.setdefault((cell.camera, cell.observation), []).append(line["curve"])
    return found
