"""Observers: what an agent is told or sees of the world, and the layers through which it takes that in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gqn.core.extras import extra
from gqn.models.graph import RecursiveGQN
from gqn.scenes.reaching import FAMILY
from gqn.studies.agent import REACH
from gqn.studies.agent.environment import Camera, Features, encoded, evaluate, gymnasium, numbers_of
from gqn.studies.runner import StudyError, load_layer_1
from gqn.training.setup import computes_in_bfloat16

# A base class that is there only where the extra is.
FeaturesExtractor: Any = extra("stable_baselines3.common.torch_layers", "agent").BaseFeaturesExtractor

Observation = Literal["state", "joints", "pixels", "layer-1", "layer-2", "random", "expert", "chance"]
Curve = list[dict[str, float]]

CPU = torch.device("cpu")  # networks are small, and the world is drawn on it
VISION: dict[str, Any] = {
    "encoder": "tower", "frame": [3, 32, 32], "channels": 64, "aggregate": "mean", "normalise": True
}  # fmt: skip


class Trunk(FeaturesExtractor):
    """A narrow layer between what is seen and actor or critics, which bounds it; the joints go by it.

    Without, a representation of thousands of numbers moves them thousands of times as far at each update as the joints.
    As in DrQ (Kostrikov et al. 2020). sense: of a graph, untrained, which sees frames in place of features; in bfloat16
    where layer 1 would be.
    """

    def __init__(self, space: Any, width: int, sense: dict[str, Any] | None = None) -> None:
        super().__init__(space, width + space["joints"].shape[0])
        self.graph = untrained(sense) if sense else None
        seen = numbers_of(self.graph, "vision") if self.graph else space["features"].shape[0]
        self.layers = nn.Sequential(nn.Linear(seen, width), nn.LayerNorm(width), nn.Tanh())
        self.bfloat16 = computes_in_bfloat16("auto", CPU)

    def forward(self, observed: dict[str, Tensor]) -> Tensor:
        if self.graph:
            with torch.autocast(CPU.type, torch.bfloat16, enabled=self.bfloat16):
                seen = encoded(self.graph, "vision", observed["frame"], observed["camera"]).float()
        else:
            seen = observed["features"]
        return torch.cat([self.layers(seen), observed["joints"]], dim=1)


def untrained(sense: dict[str, Any]) -> RecursiveGQN:
    """Return a graph of one sense, `vision`."""
    graph = RecursiveGQN.from_dict({"senses": {"vision": {**sense, "frozen": False}}})
    return graph.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Observer:
    """Environments as an agent observes them, and the options of a policy that takes in what it observes."""

    make: Callable[[], Any]
    policy: dict[str, Any]


def observer(
    observation: Observation, camera: Camera, seed: int, width: int, layer: str | Path | None, node: str
) -> Observer:
    """Return an observer. Arguments are those of `train_agent`; width: of the trunk.

    Raises:
        Error: There is no such layer or node, or it sees other frames.
    """

    def plain(mode: str) -> Any:
        return gymnasium.make(REACH, observation=mode, camera=camera, disable_env_checker=True)

    if observation in ("state", "joints", "expert", "chance"):
        return Observer(lambda: plain("joints" if observation == "joints" else "state"), {})
    if observation in ("layer-1", "layer-2") and not layer:
        raise StudyError(f"{observation} needs the run of a graph: name it by --{observation}")
    torch.manual_seed(seed)
    graph = load_layer_1(layer) if layer else untrained(VISION)
    sense = graph.to_dict()["senses"]["vision"]
    if list(sense["frame"]) != [3, FAMILY.size, FAMILY.size]:
        raise StudyError(f"{layer} sees frames of {sense['frame']}, the world has {FAMILY.size} pixels")
    trunk = {"width": width, "sense": sense if observation == "pixels" else None}
    policy = {"features_extractor_class": Trunk, "features_extractor_kwargs": trunk}
    if observation == "pixels":
        return Observer(lambda: plain("pixels+joints"), policy)
    if observation == "random":
        torch.manual_seed(seed)
        graph = untrained(sense)
    looked = Features(plain("pixels+joints"), graph, node)
    return Observer(lambda: looked.around(plain("pixels+joints")), policy)


def unlearned(observation: Observation, env: Any, seed: int, episodes: int) -> dict[str, float] | None:
    """Return the row of `evaluate` of an expert, or of random moves, None for who learns."""
    if observation == "expert":
        return evaluate(env, lambda _: env.unwrapped.expert(), episodes)
    if observation == "chance":
        random, joints = np.random.default_rng(seed), env.action_space.shape
        return evaluate(env, lambda _: random.uniform(-1, 1, joints), episodes)
    return None
