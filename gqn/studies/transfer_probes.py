"""What a layer 1 holds of the arm before any task is learned: a transfer figure on one that holds nothing is void."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.views import EncodedViews
from gqn.data.task_scenes import TaskScenes
from gqn.evaluation.probes import r_squared, reduced
from gqn.studies.conditions import CONDITIONS, VISION, Condition
from gqn.studies.transfer import Laboratory

COMPONENTS = 512  # principal components of r that are read: an arm is a small part of what varies
PROBED = ("layer-1", "random", "autoencoder")  # conditions whose encoders are probed


def linear_probes(laboratory: Laboratory, seed: int = 0) -> dict[str, dict[str, Any]]:
    """R^2 on held-out scenes of ridge regression from r, by encoder and by what is asked, with intervals over scenes.

    joints: sines and cosines of those that move. target: its place.
    """
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


def representations(laboratory: Laboratory, condition: Condition, scenes: TaskScenes, seed: int) -> np.ndarray:
    """r of every scene from views that the seed chooses, (n, numbers)."""
    bench = laboratory.bench
    graph, _ = bench.graph(condition, "", seed)
    features = bench.features(condition, scenes, seed)
    assert features is not None, "a frozen encoder"
    random = torch.Generator().manual_seed(seed)
    views = torch.rand(scenes.cameras.shape[:2], generator=random).argsort(dim=1)[:, : bench.context]
    rows: list[Tensor] = []
    for part in torch.arange(len(scenes)).split(200):
        place = part[:, None], views[part]
        shown = EncodedViews(features[place].float(), scenes.cameras[place])
        with torch.no_grad():
            rows.append(graph.encode(VISION, {VISION: shown}).flatten(1))
    return torch.cat(rows).numpy()


def targets(scenes: TaskScenes) -> dict[str, np.ndarray]:
    state = scenes.state.double().numpy()
    return {"joints": state[:, :-3], "target": state[:, -3:]}
