#!/usr/bin/env python3
"""Measure what vision, touch and both tell of held-out views: train one graph on both, and give it either or both.

python scripts/two-senses.py WORK_DIR results/two-senses

Touch first learns by itself, from what a probe elsewhere feels; then the whole graph learns to render from either sense
and from both. WORK_DIR takes the scenes and the two runs; the second folder gets two-senses.json and table.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gqn.core.files import whole_file, write_json
from gqn.core.views import GraphBatch, Views
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.generate import generate
from gqn.data.graph_batches import Asked, graph_evaluation_batches
from gqn.data.graph_scenes import LabelledScenes
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import negative_elbo
from gqn.models.losses import log_likelihood
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config
from gqn.training.graph_training import train_graph
from gqn.training.validation import mean_image

GRAPH = Path(__file__).resolve().parent.parent / "diagrams/graphs/two-senses.yaml"
COUNTS = (1, 2, 3, 5, 8)
ASKED = Asked({"vision": "frames", "touch": "touch"}, {"render": "frames"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the scenes and the runs")
    parser.add_argument("results", type=Path, help="folder for the results")
    parser.add_argument("--scenes", type=int, default=12000, help="training scenes (default 12000)")
    parser.add_argument("--held-out", type=int, default=1000, help="held-out scenes (default 1000)")
    parser.add_argument("--touch-steps", type=int, default=8000, help="training steps of touch alone (default 8000)")
    parser.add_argument("--steps", type=int, default=8000, help="training steps of the graph (default 8000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = generate(
        "shepard_metzler_5_parts",
        options.work,
        options.scenes,
        seed=options.seed,
        test_scenes=options.held_out,
        name="two_senses",
        size=16,
        parts=5,
        hues=3,
        cameras="ring",
        senses=("touch",),
    )
    convert(data, 500)
    touch = train_graph(configuration(options, data, options.touch_steps, tasks=("feel",)))
    run = train_graph(configuration(options, data, options.steps, start=str(touch)))
    rows = table_rows(checkpoint.load_graph(run), data)
    runs = {
        name: json.loads((folder / "metrics.json").read_text()) for name, folder in (("touch", touch), ("graph", run))
    }
    results = {key: value for key, value in runs["graph"].items() if key != "history"}
    results |= {
        "options": {**vars(options), "work": None, "results": None},
        "seconds": {name: metrics["history"][-1]["seconds"] for name, metrics in runs.items()},
        "held_out_scenes": options.held_out,
        "rows": rows,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "two-senses.json", results)
    with whole_file(options.results / "table.md") as file:
        file.write(table(rows).encode())
    print(table(rows))


def configuration(options: argparse.Namespace, data: Path, steps: int, **recursive: Any) -> Config:
    """The preset `small`, slower and with larger batches; recursive: how the graph is trained, see `GraphConfig`."""
    small = PRESETS["small"]
    return replace(
        small,
        data=str(data),
        runs=str(options.work / "runs"),
        seed=options.seed,
        recursive=replace(small.recursive, graph=str(GRAPH), **recursive),
        training=replace(
            small.training,
            steps=steps,
            batch=32,
            queries=7,
            context_views=(1, max(COUNTS)),
            learning_rate=1e-3,
            warm_up_steps=400,
        ),
    )


def table_rows(graph: RecursiveGQN, data: Path) -> list[dict[str, Any]]:
    """For each count of observations log p(view) in nats, its mean over held-out scenes, given either sense and both.

    Differences are taken scene by scene. Of every scene the same view is asked, which comes after eight others.
    """
    scenes = LabelledScenes(SceneDataset(data, "test"), [])
    (held_out,) = graph_evaluation_batches(scenes, ASKED, batch=len(scenes), context=max(COUNTS), seed=1)
    asked = held_out.batch.tasks["render"].frames
    image = mean_image(SceneDataset(data, "train")).expand_as(asked)
    nothing = log_likelihood(asked, image, graph.spec["render"].options["sigma"])[:, 0]
    one_view = likelihood(graph, held_out.batch, {"vision": 1})
    rows = []
    for count in COUNTS:
        vision, touch, both, touched_view = (
            likelihood(graph, held_out.batch, given)
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
        rows.append({"observations": count, **{name: interval(values) for name, values in columns.items()}})
    return rows


@torch.no_grad()
def likelihood(graph: RecursiveGQN, batch: GraphBatch, counts: Mapping[str, int]) -> Tensor:
    """log p(view) of the view asked of each scene, given the first so many observations of each sense."""
    senses = {
        name: Views(batch.senses[name].frames[:, :count], batch.senses[name].cameras[:, :count])
        for name, count in counts.items()
    }
    answer = graph(GraphBatch(senses, {"render": batch.tasks["render"]}))["render"]
    return -negative_elbo(answer, batch.tasks["render"].frames)[:, 0]


def interval(values: Tensor) -> dict[str, float]:
    """Mean and half of the width of its interval of 95 %, by the normal approximation."""
    values = values.double()
    return {"mean": values.mean().item(), "interval": 1.96 * (values.std() / len(values) ** 0.5).item()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    _, *columns = rows[0]
    names = [name.replace("_", " ") for name in columns]
    lines = [f"| observations of each sense | {' | '.join(names)} |", "|" + "---|" * (1 + len(columns))]
    for found in rows:
        cells = [f"{found[name]['mean']:.1f} ± {found[name]['interval']:.1f}" for name in columns]
        lines.append(f"| {found['observations']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except (DatasetError, ValueError, OSError) as error:
        sys.exit(f"two-senses.py: {error}")
