"""An agent that learns to reach by soft actor-critic, with the same options whatever it observes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gqn.core.extras import extra
from gqn.core.progress import Progress
from gqn.models.graph import RecursiveGQN
from gqn.scenes.reaching import FAMILY
from gqn.studies.agent import REACH
from gqn.studies.agent.environment import Camera, Features, encoded, evaluate, gymnasium, numbers_of
from gqn.studies.runner import StudyError
from gqn.training import checkpoint
from gqn.training.config import check_options
from gqn.training.setup import computes_in_bfloat16

layers = extra("stable_baselines3.common.torch_layers", "agent")
# Base classes that are there only where the extra is.
FeaturesExtractor: Any = layers.BaseFeaturesExtractor
Callback: Any = extra("stable_baselines3.common.callbacks", "agent").BaseCallback
SACPolicy: Any = extra("stable_baselines3.sac.policies", "agent").SACPolicy
SAC: Any = extra("stable_baselines3", "agent").SAC

Observation = Literal["state", "joints", "pixels", "layer-1", "layer-2", "random", "expert", "chance"]
Curve = list[dict[str, float]]

CPU = torch.device("cpu")  # networks are small, and the world is drawn on it
VISION: dict[str, Any] = {
    "encoder": "tower", "frame": [3, 32, 32], "channels": 64, "aggregate": "mean", "normalise": True
}  # fmt: skip


@dataclass(frozen=True)
class Learning:
    """Options by which an agent learns, whatever it observes."""

    steps: int = 5_000
    """Moves of the arm."""
    eval_every: int = 1_000
    """Moves from one evaluation to the next; there is one before the first."""
    episodes: int = 50
    """Held-out episodes of an evaluation, the same each time."""
    warm_up: int = 500
    """Random moves before the first update."""
    updates: int = 4
    """Updates after each move."""
    batch: int = 256
    """Moves of an update, out of all before."""
    learning_rate: float = 1e-3
    """Adam's."""
    discount: float = 0.8
    """Of a reward one move later."""
    target_rate: float = 0.01
    """Part by which the critics' targets come nearer to them at an update."""
    entropy: float = 0.05
    """Weight of the policy's entropy at first, beside rewards of some tenths; then it is learned."""
    trunk: int = 64
    """Units of the layer that what is seen goes through."""
    hidden: int = 128
    """Units of each of the two layers of the actor and of the critics."""

    def __post_init__(self) -> None:
        check_options((name, value > 0, "positive") for name, value in asdict(self).items())
        check_options([("discount", self.discount < 1, "less than 1")])


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


class Policy(SACPolicy):
    """Actor and critics of soft actor-critic, with layer normalisation in the critics.

    It keeps them from overrating moves that were never tried, at several updates a move (Hiraoka et al. 2022, DroQ).
    """

    def make_critic(self, features_extractor: nn.Module | None = None) -> nn.Module:
        critic = super().make_critic(features_extractor)
        seen = critic.q_networks[0][0].in_features
        for number in range(critic.n_critics):
            network = layers.create_mlp(seen, 1, self.net_arch, post_linear_modules=[nn.LayerNorm])
            critic.q_networks[number] = nn.Sequential(*network)
            critic.add_module(f"qf{number}", critic.q_networks[number])
        return critic


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
    graph = checkpoint.load(layer) if layer else untrained(VISION)
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
    return Observer(lambda: Features(plain("pixels+joints"), graph, node), policy)


def train_agent(
    observation: Observation,
    camera: Camera = "fixed",
    seed: int = 0,
    learning: Learning = Learning(),
    layer: str | Path | None = None,
    node: str = "vision",
) -> Curve:
    """Return the learning curve of an agent: rows of `evaluate` with the steps before it.

    Args:
        observation: `expert` and `chance` see nothing, do not learn, and have one row.
        layer: The run of a graph, whose `node` is observed frozen (layer-1, layer-2), or whose sense `vision` is taken
            untrained, frozen (random) or to learn (pixels); for these two it is VISION where no run is given.

    Raises:
        Error: There is no such layer or node, or it sees other frames.
    """
    torch.manual_seed(seed)
    observed = observer(observation, camera, seed, learning.trunk, layer, node)
    held_out = observed.make()
    random = np.random.default_rng(seed)
    if observation == "expert":
        return [{"steps": 0, **evaluate(held_out, lambda _: held_out.unwrapped.expert(), learning.episodes)}]
    if observation == "chance":
        return [{"steps": 0, **evaluate(held_out, lambda _: random.uniform(-1, 1, 3), learning.episodes)}]
    agent = SAC(
        Policy,
        observed.make(),
        learning_rate=learning.learning_rate,
        buffer_size=learning.steps,
        learning_starts=learning.warm_up,
        batch_size=learning.batch,
        gamma=learning.discount,
        tau=learning.target_rate,
        ent_coef=f"auto_{learning.entropy}",
        train_freq=1,
        gradient_steps=learning.updates,
        policy_kwargs={"net_arch": [learning.hidden] * 2, **observed.policy},
        seed=seed,
        device=CPU,
    )
    curve: Curve = []

    class Evaluation(Callback):
        def _on_training_start(self) -> None:
            self._on_step()

        def _on_step(self) -> bool:
            bar.update(self.num_timesteps - bar.n)
            if self.num_timesteps % learning.eval_every == 0:
                found = evaluate(held_out, lambda seen: agent.predict(seen, deterministic=True)[0], learning.episodes)
                curve.append({"steps": self.num_timesteps, **found})
            return True

    with Progress(title=f"moves by {observation}", unit="moves", total=learning.steps, leave=False) as bar:
        agent.learn(learning.steps, callback=Evaluation())
    return curve
