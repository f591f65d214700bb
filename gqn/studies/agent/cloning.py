"""A clone of the expert that reaches, learned by what it observes from labelled moves: behaviour cloning with DAgger.

Ross et al. (2011), "A reduction of imitation learning and structured prediction to no-regret online learning". Differs
from the paper: after the first episodes, which are the expert's, all moves are the clone's.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gqn.core.extras import extra
from gqn.core.progress import Progress
from gqn.studies.agent.environment import Camera, evaluate, film
from gqn.studies.agent.observers import Curve, Observation, observer, unlearned
from gqn.training.config import check_options

torch_layers = extra("stable_baselines3.common.torch_layers", "agent")
preprocess_obs = extra("stable_baselines3.common.preprocessing", "agent").preprocess_obs


@dataclass(frozen=True)
class Cloning:
    """Options by which a clone learns, whatever it observes."""

    episodes: tuple[int, ...] = (10, 30, 100, 300)
    """Episodes after which a clone is learned from all moves so far, each with the expert's answer, and evaluated."""
    held_out: int = 50
    """Held-out episodes of an evaluation, the same each time."""
    updates: int = 1_000
    """Updates of a clone, from the start each time."""
    batch: int = 128
    """Moves of an update, out of all before."""
    learning_rate: float = 1e-3
    """Adam's at first; it falls to nothing along half a cosine."""
    trunk: int = 64
    """Units of the layer that what is seen goes through."""
    hidden: int = 256
    """Units of each of the two layers after it."""

    def __post_init__(self) -> None:
        values = {**asdict(self), "episodes": min(self.episodes, default=0)}
        check_options((name, value > 0, "positive") for name, value in values.items())
        check_options([("episodes", all(a < b for a, b in pairwise(self.episodes)), "rising")])


class Clone(nn.Module):
    """Network from what is observed to a move (b, n), from -1 to 1."""

    def __init__(self, env: Any, policy: dict[str, Any], hidden: int) -> None:
        super().__init__()
        self.space = env.observation_space
        extractor = policy.get("features_extractor_class", torch_layers.FlattenExtractor)
        self.extractor = extractor(self.space, **policy.get("features_extractor_kwargs", {}))
        moves = env.action_space.shape[0]
        self.layers = nn.Sequential(
            *torch_layers.create_mlp(
                self.extractor.features_dim,
                moves,
                [hidden] * 2,
                squash_output=True,
                post_linear_modules=[nn.LayerNorm],
            )
        )

    def forward(self, seen: Any) -> Tensor:
        return self.layers(self.extractor(preprocess_obs(seen, self.space)))

    @torch.no_grad()
    def act(self, observation: Any) -> NDArray[np.float32]:
        """Return the move (n,) by one observation."""
        return self(batch([observation]))[0].numpy()


def batch(observations: list[Any]) -> Any:
    """Return observations of an environment as one tensor, or one of each part."""
    if isinstance(observations[0], dict):
        return {name: torch.from_numpy(np.stack([one[name] for one in observations])) for name in observations[0]}
    return torch.from_numpy(np.stack(observations))


def clone_agent(
    observation: Observation,
    camera: Camera = "fixed",
    seed: int = 0,
    cloning: Cloning = Cloning(),
    layer: str | Path | None = None,
    node: str = "vision",
    filmed: Path | None = None,
) -> Curve:
    """Return the curve of an expert's clone: rows of `evaluate` with the episodes before it.

    Arguments are those of `gqn.studies.agent.learner.train_agent`.

    Raises:
        Error: There is no such layer or node, or it sees other frames.
    """
    torch.manual_seed(seed)
    observed = observer(observation, camera, seed, cloning.trunk, layer, node)
    env = observed.make()
    if found := unlearned(observation, env, seed, cloning.held_out):
        return [{"episodes": 0, **found}]
    env.reset(seed=seed)
    clone: Clone | None = None
    seen, answers, curve = [], [], []
    with Progress(title=f"episodes by {observation}", unit="episodes", total=cloning.episodes[-1], leave=False) as bar:
        for before, count in pairwise((0, *cloning.episodes)):
            for _ in range(count - before):
                (now, _), over = env.reset(), False
                while not over:
                    answer = env.unwrapped.expert()
                    seen.append(now)
                    answers.append(answer)
                    now, _, _, over, _ = env.step(clone.act(now) if clone else answer)
                bar.update(1)
            clone = learned(Clone(env, observed.policy, cloning.hidden), seen, answers, cloning)
            found = evaluate(env, clone.act, cloning.held_out)
            curve.append({"episodes": count, **found})
    if filmed and clone:
        film(filmed, env, clone.act)
    return curve


def learned(clone: Clone, seen: list[Any], answers: list[NDArray[np.float32]], cloning: Cloning) -> Clone:
    """Return the clone after it has learned the expert's answers to what is seen."""
    moves = torch.from_numpy(np.stack(answers))
    optimizer = torch.optim.Adam(clone.parameters(), cloning.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cloning.updates)
    for _ in range(cloning.updates):
        chosen = torch.randint(len(seen), (cloning.batch,))
        loss = (clone(batch([seen[number] for number in chosen])) - moves[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return clone
