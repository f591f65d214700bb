"""An agent that learns to reach by soft actor-critic, with the same options whatever it observes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gqn.core.extras import extra
from gqn.core.progress import Progress
from gqn.studies.agent.environment import Camera, evaluate, film
from gqn.studies.agent.observers import CPU, Curve, Observation, observer, unlearned
from gqn.training.config import check_options

create_mlp = extra("stable_baselines3.common.torch_layers", "agent").create_mlp
# Base classes that are there only where the extra is.
Callback: Any = extra("stable_baselines3.common.callbacks", "agent").BaseCallback
SACPolicy: Any = extra("stable_baselines3.sac.policies", "agent").SACPolicy
SAC: Any = extra("stable_baselines3", "agent").SAC


@dataclass(frozen=True)
class Learning:
    """Options by which an agent learns, whatever it observes."""

    steps: int = 12_000
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


class Policy(SACPolicy):
    """Actor and critics of soft actor-critic, with layer normalisation in the critics.

    It keeps them from overrating moves that were never tried, at several updates a move (Hiraoka et al. 2022, DroQ).
    """

    def make_critic(self, features_extractor: nn.Module | None = None) -> nn.Module:
        critic = super().make_critic(features_extractor)
        seen = critic.q_networks[0][0].in_features
        for number in range(critic.n_critics):
            network = create_mlp(seen, 1, self.net_arch, post_linear_modules=[nn.LayerNorm])
            critic.q_networks[number] = nn.Sequential(*network)
            critic.add_module(f"qf{number}", critic.q_networks[number])
        return critic


def train_agent(
    observation: Observation,
    camera: Camera = "fixed",
    seed: int = 0,
    learning: Learning = Learning(),
    layer: str | Path | None = None,
    node: str = "vision",
    filmed: Path | None = None,
) -> Curve:
    """Return the learning curve of an agent: rows of `evaluate` with the steps before it.

    Args:
        observation: `expert` and `chance` see nothing, do not learn, and have one row.
        layer: The run of a graph, whose `node` is observed frozen (layer-1, layer-2), or whose sense `vision` is taken
            untrained, frozen (random) or to learn (pixels); for these two it is VISION where no run is given.
        filmed: A GIF to write of held-out episodes by what was learned.

    Raises:
        Error: There is no such layer or node, or it sees other frames.
    """
    torch.manual_seed(seed)
    observed = observer(observation, camera, seed, learning.trunk, layer, node)
    held_out = observed.make()
    if found := unlearned(observation, held_out, seed, learning.episodes):
        return [{"steps": 0, **found}]
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

    def act(seen: Any) -> Any:
        return agent.predict(seen, deterministic=True)[0]

    class Evaluation(Callback):
        def _on_training_start(self) -> None:
            self._on_step()

        def _on_step(self) -> bool:
            bar.update(self.num_timesteps - bar.n)
            if self.num_timesteps % learning.eval_every == 0:
                curve.append({"steps": self.num_timesteps, **evaluate(held_out, act, learning.episodes)})
            return True

    with Progress(title=f"moves by {observation}", unit="moves", total=learning.steps, leave=False) as bar:
        agent.learn(learning.steps, callback=Evaluation())
    if filmed:
        film(filmed, held_out, act)
    return curve
