"""Probes of layer 1 before any task is learned: transfer from a layer that knows nothing of the arm is void."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.distributed import processes
from gqn.core.files import write_json
from gqn.core.provenance import provenance
from gqn.data.task_scenes import TaskScenes
from gqn.evaluation.probes import r_squared, reduced
from gqn.studies.transfer.experiment import CONDITIONS, Condition
from gqn.studies.transfer.protocol import Laboratory, Transfer
from gqn.studies.transfer.workbench import VISION, shown, some_views

COMPONENTS = 512  # principal components of r that are read: an arm is a small part of what varies
PROBED = ("layer-1", "random", "autoencoder")  # conditions whose encoders are probed


def probe(study: Transfer) -> dict[str, dict[str, Any]]:
    """Return what layer 1 holds by `linear_probes`, written to layer-1-probes.json beside the results."""
    found = linear_probes(study.laboratory)
    with processes("cpu") as group:
        write_json(study.results.with_name("layer-1-probes.json"), {**provenance(group), "r_squared": found})
    return found


def linear_probes(laboratory: Laboratory, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return R^2 on held-out scenes of ridge regression from r, by encoder and target, with intervals over scenes."""
    splits = laboratory.scenes, laboratory.held_out
    truth = [targets(scenes) for scenes in splits]
    found: dict[str, dict[str, Any]] = {}
    for name in PROBED:
        train, test = (representations(laboratory, CONDITIONS[name], scenes, seed) for scenes in splits)
        readable = reduced(train, test, seed, COMPONENTS)
        found[name] = {
            asked: r_squared("linear", readable, truth[0][asked], truth[1][asked], seed) for asked in truth[0]
        }
    return found


@torch.no_grad()
def representations(laboratory: Laboratory, condition: Condition, scenes: TaskScenes, seed: int) -> np.ndarray:
    """Return r of every scene from views that the seed chooses, of a volume those always shown, (n, numbers)."""
    bench = laboratory.bench
    graph, _ = bench.graph(condition, "", seed)
    features = bench.features(condition, scenes, seed)
    views = some_views(len(scenes), scenes, bench.experiment.context, torch.Generator().manual_seed(seed))
    rows: list[Tensor] = []
    for part in torch.arange(len(scenes)).split(200):
        seen = shown(scenes, part[:, None], views[part], features)
        rows.append(graph.encode({VISION: seen}, VISION).flatten(1))
    return torch.cat(rows).numpy()


def targets(scenes: TaskScenes) -> dict[str, np.ndarray]:
    """Return sines and cosines of the joints, and the place of the target."""
    state = scenes.state.double().numpy()
    return {"joints": state[:, :-3], "target": state[:, -3:]}
