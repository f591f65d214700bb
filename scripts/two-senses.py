#!/usr/bin/env python3
"""What vision, touch and both tell of held-out views: train one graph on both, and give it either or both.

python scripts/two-senses.py WORK_DIR diagrams/two-senses

WORK_DIR takes the scenes and the run; the second folder gets two-senses.json and table.md.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gqn import checkpoint
from gqn.batch import GraphBatch, Views
from gqn.config import PRESETS, Config
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.generate import generate
from gqn.data.graph_batches import Asked, graph_evaluation_batches
from gqn.data.graph_scenes import LabelledScenes
from gqn.files import whole_file, write_json
from gqn.graph_training import train_graph
from gqn.heads import negative_elbo
from gqn.recursive import RecursiveGQN

GRAPH = Path(__file__).resolve().parent.parent / "diagrams/graphs/two-senses.yaml"
GIVEN = {"nothing": (), "vision": ("vision",), "touch": ("touch",), "both": ("vision", "touch")}
COUNTS = (1, 2, 3, 5, 8)
ASKED = Asked({"vision": "frames", "touch": "touch"}, {"render": "frames"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the scenes and the run")
    parser.add_argument("results", type=Path, help="folder for the results")
    parser.add_argument("--scenes", type=int, default=4000, help="training scenes (default 4000)")
    parser.add_argument("--held-out", type=int, default=400, help="held-out scenes (default 400)")
    parser.add_argument("--steps", type=int, default=6000, help="training steps (default 6000)")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training at most, 0 for no limit (default 8)")
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
        parts=3,
        cameras="ring",
        senses=("touch",),
    )
    convert(data, 500)
    run = train_graph(configuration(options, data))
    graph = checkpoint.load_graph(run)
    scenes = LabelledScenes(SceneDataset(data, "test"), [])
    rows = [row(graph, scenes, count) for count in COUNTS]
    about = {key: value for key, value in json.loads((run / "metrics.json").read_text()).items() if key != "history"}
    step = json.loads((run / "metrics.json").read_text())["history"][-1]
    options.results.mkdir(parents=True, exist_ok=True)
    results = {**about, "options": {**vars(options), "work": None, "results": None}}
    results |= {
        "steps": step["step"],
        "seconds": step["seconds"],
        "sigma": graph.state_dict()["nodes.render.sigma"].item(),
    }
    write_json(options.results / "two-senses.json", {**results, "held_out_scenes": len(scenes), "rows": rows})
    with whole_file(options.results / "table.md") as file:
        file.write(table(rows).encode())
    print(table(rows))


def configuration(options: argparse.Namespace, data: Path) -> Config:
    """The preset `small` with larger batches of smaller frames."""
    small = PRESETS["small"]
    return replace(
        small,
        data=str(data),
        runs=str(options.work / "runs"),
        seed=options.seed,
        recursive=replace(small.recursive, graph=str(GRAPH)),
        training=replace(
            small.training,
            steps=options.steps,
            minutes=options.minutes,
            batch=32,
            queries=3,
            context_views=(1, 8),
            sigma=0.3,
            final_sigma=0.2,
        ),
        evaluation=replace(small.evaluation, evaluate_every=1000, save_every=500),
    )


def row(graph: RecursiveGQN, scenes: LabelledScenes, count: int) -> dict[str, Any]:
    """Means over scenes with their intervals of 95 %, and of both over the better sense, scene by scene."""
    each = {given: likelihood(graph, scenes, senses, count) for given, senses in GIVEN.items()}
    better = max(("vision", "touch"), key=lambda given: each[given].mean().item())
    means = {given: interval(values) for given, values in each.items()}
    return {"observations": count, **means, "better": better, "both_over_better": interval(each["both"] - each[better])}


def interval(values: Tensor) -> dict[str, float]:
    """Mean and half of the width of its interval of 95 %, by the normal approximation."""
    return {"mean": values.mean().item(), "interval": 1.96 * (values.std() / len(values) ** 0.5).item()}


@torch.no_grad()
def likelihood(graph: RecursiveGQN, scenes: LabelledScenes, given: tuple[str, ...], count: int) -> Tensor:
    """Bound on log p(view) in nats, of one held-out view of each scene, given so many observations of each sense.

    The mean of four draws of the latents. The views asked for are the same in all cells: they come after eight others.
    """
    values = []
    for item in graph_evaluation_batches(scenes, ASKED, batch=100, context=max(COUNTS), seed=1):
        torch.manual_seed(item.first)
        senses = {
            name: Views(views.frames[:, :count], views.cameras[:, :count])
            for name, views in item.batch.senses.items()
            if name in given
        }
        asked = item.batch.tasks["render"]
        drawn = [graph(GraphBatch(senses, item.batch.tasks))["render"] for _ in range(4)]
        values.append(-torch.stack([negative_elbo(answer, asked.frames) for answer in drawn]).mean(dim=0)[:, 0])
    return torch.cat(values).double()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    columns = [*GIVEN, "both_over_better"]
    lines = [f"| observations of each sense | {' | '.join(name.replace('_', ' ') for name in columns)} |"]
    lines.append("|" + "---|" * (1 + len(columns)))
    for found in rows:
        cells = [f"{found[name]['mean']:.1f} ± {found[name]['interval']:.1f}" for name in columns]
        lines.append(f"| {found['observations']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except (DatasetError, ValueError, OSError) as error:
        sys.exit(f"two-senses.py: {error}")
