"""Study of two senses: how much vision, touch and both tell of held-out views, in one graph trained on both.

Touch first learns by itself, from what a probe elsewhere feels; then the whole graph learns to render from either sense
and from both.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from gqn.core.tables import table
from gqn.core.views import Batch
from gqn.data.batches import Asked, evaluation_batch
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import negative_elbo
from gqn.models.losses import log_likelihood
from gqn.studies.runner import Line, Study
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config
from gqn.training.history import METRICS
from gqn.training.trainer import train
from gqn.training.validation import mean_image

GRAPH = Path(__file__).resolve().parents[2] / "diagrams/graphs/two-senses.yaml"
COUNTS = (1, 2, 3, 5, 8)  # observations of each sense
ASKED = Asked({"vision": "frames", "touch": "touch"}, {"render": "frames"})


@dataclass(frozen=True)
class Experiment:
    """Scenes and steps."""

    scenes: int = 12_000
    """Training scenes."""
    held_out: int = 1_000
    """Held-out scenes."""
    touch_steps: int = 8_000
    """Training steps of touch alone."""
    steps: int = 8_000
    """Training steps of the graph."""


@dataclass(frozen=True)
class Cell:
    """One run: the seed of its scenes and its weights."""

    seed: int


@dataclass
class TwoSenses(Study[Cell]):
    """Measure how much vision, touch and both tell of held-out views."""

    work: tyro.conf.Positional[Path]
    """Folder for the scenes and the runs."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME.jsonl")]
    """File of the runs, which is made or gone on with."""
    seeds: tuple[int, ...] = (0,)
    """A run each, of scenes of its own."""
    graph: Path = GRAPH
    """File of a graph with the senses vision and touch and the tasks render and feel."""
    plan: Annotated[Experiment, tyro.conf.arg(name="")] = field(default_factory=Experiment)

    cell = Cell
    unit = "log p(view) given both senses, in nats"
    tolerance = 10.0

    def fresh(self, folder: Path) -> "TwoSenses":
        return replace(self, work=folder)

    def cells(self) -> list[Cell]:
        return [Cell(seed) for seed in self.seeds]

    def experiment(self, cell: Cell) -> dict[str, Any]:
        return asdict(self.plan)

    def run(self, cell: Cell) -> Line:
        work = self.work / str(cell.seed)
        data = generate(
            "shepard_metzler_5_parts",
            work,
            self.plan.scenes,
            seed=cell.seed,
            test_scenes=self.plan.held_out,
            name="two_senses",
            size=16,
            parts=5,
            hues=3,
            cameras="ring",
            senses=("touch",),
        )
        convert(data, 500)
        touch = train(self.configuration(cell, data, self.plan.touch_steps, tasks=("feel",)))
        whole = train(self.configuration(cell, data, self.plan.steps, start=str(touch)))
        metrics = {name: json.loads((run / METRICS).read_text()) for name, run in (("touch", touch), ("graph", whole))}
        return {
            "precision": metrics["graph"]["precision"],
            "parameters": metrics["graph"]["parameters"],
            "seconds": {name: found["history"][-1]["seconds"] for name, found in metrics.items()},
            "rows": rows(checkpoint.load(whole), data),
        }

    def configuration(self, cell: Cell, data: Path, steps: int, **graph: Any) -> Config:
        """Return the preset `small`, slower and with larger batches; graph: how it is trained, see `GraphConfig`."""
        small = PRESETS["small"]
        return replace(
            small,
            data=str(data),
            runs=str(data.parent / "runs"),
            seed=cell.seed,
            graph=replace(small.graph, graph=str(self.graph), **graph),
            training=replace(
                small.training,
                steps=steps,
                batch=32,
                queries=7,
                context_views=(1, max(COUNTS)),
                learning_rate=1e-3,
                warmup_steps=400,
            ),
        )

    def curve(self, line: Line) -> list[float]:
        return [row["both"]["mean"] for row in line["rows"]]

    def table(self, known: dict[Cell, Line]) -> str:
        """Return a table of each seed."""
        if len(known) == 1:
            return row_table(*known.values()) + "\n"
        return "\n".join(f"### Seed {cell.seed}\n\n{row_table(line)}\n" for cell, line in known.items())


def row_table(line: Line) -> str:
    """Return the rows of a run in Markdown."""
    _, *columns = line["rows"][0]
    found = [
        [str(row["observations"]), *(f"{row[name]['mean']:.1f} ± {row[name]['interval']:.1f}" for name in columns)]
        for row in line["rows"]
    ]
    return table(["observations of each sense", *(name.replace("_", " ") for name in columns)], found)


def rows(graph: RecursiveGQN, data: Path) -> list[dict[str, Any]]:
    """Return for each count of observations the mean log p(view), in nats, given either sense and both.

    Differences are taken scene by scene. Of every held-out scene the same view is asked, after eight others.
    """
    scenes = LabelledScenes(SceneDataset(data, "test"))
    every = range(len(scenes))
    batch = evaluation_batch(scenes, ASKED, every, len(scenes), context=max(COUNTS), seed=1).batch
    asked = batch.tasks["render"].frames
    image = mean_image(LabelledScenes(SceneDataset(data, "train"))).expand_as(asked)
    nothing = log_likelihood(asked, image, graph.spec["render"].options["sigma"])[:, 0]
    one_view = likelihood(graph, batch, {"vision": 1})
    found = []
    for count in COUNTS:
        vision, touch, both, touched_view = (
            likelihood(graph, batch, given)
            for given in (
                {"vision": count},
                {"touch": count},
                {"vision": count, "touch": count},
                {"vision": 1, "touch": count},
            )
        )
        better = max(vision, touch, key=lambda values: values.mean().item())
        columns = {
            "mean_image": nothing,
            "vision": vision,
            "touch": touch,
            "both": both,
            "both_over_better": both - better,
            "touch_over_one_view": touched_view - one_view,
        }
        found.append({"observations": count, **{name: interval(values) for name, values in columns.items()}})
    return found


@torch.no_grad()
def likelihood(graph: RecursiveGQN, batch: Batch, counts: Mapping[str, int]) -> Tensor:
    """Return log p(view) of the view asked of each scene, given the first observations of each sense, (n,)."""
    senses = {name: batch.senses[name].part(slice(count)) for name, count in counts.items()}
    answer = graph(Batch(senses, {"render": batch.tasks["render"]}))["render"]
    return -negative_elbo(answer, batch.tasks["render"].frames)[:, 0]


def interval(values: Tensor) -> dict[str, float]:
    """Return the mean and half of the width of its interval of 95 %, by the normal approximation."""
    values = values.double()
    return {"mean": values.mean().item(), "interval": 1.96 * (values.std() / len(values) ** 0.5).item()}
