"""Does a representation help an agent? One that reaches learns from frames, from a frozen representation, or the state.

The robot arm's figure of Eslami et al. (2018): environment steps to a threshold, by soft actor-critic with the same
options for every observer. Differs from the paper: the world, the algorithm and all sizes are ours.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from gqn.core.camera import camera_vector
from gqn.core.distributed import Processes
from gqn.core.extras import extra
from gqn.core.files import append_json_line, read_json_lines
from gqn.core.provenance import provenance
from gqn.core.views import Views
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.figures.curves import label, panels
from gqn.models.graph import RecursiveGQN
from gqn.scenes.reaching import FAMILY, Reaching
from gqn.studies.comparison import steps_to_threshold
from gqn.training.checkpoint import load_graph
from gqn.training.config import check_options
from gqn.training.trainer import computes_in_bfloat16

spaces = extra("gymnasium.spaces", "agent")
# Base classes that are there only where the extra is.
Env: Any = extra("gymnasium", "agent").Env
FeaturesExtractor: Any = extra("stable_baselines3.common.torch_layers", "agent").BaseFeaturesExtractor
Callback: Any = extra("stable_baselines3.common.callbacks", "agent").BaseCallback
SAC: Any = extra("stable_baselines3", "agent").SAC

Observation = Literal["state", "pixels", "layer-1", "layer-2", "random", "expert", "chance"]
Camera = Literal["fixed", "moving"]
Curve = list[dict[str, float]]

NEAR, NEARER = 0.10, 0.05  # metres from hand to target at the end of an episode, what counts as there
EPISODE = 20  # moves
LOOKS = 200  # random episodes whose first frames say how features vary
THRESHOLDS = (30, 20, 15)  # centimetres, of the mean distance at the end
HELD_OUT = 2**32  # begins the seeds of held-out episodes, which no seed of training equals
CPU = torch.device("cpu")  # networks are small, and the world is drawn on it
VISION: dict[str, Any] = {
    "encoder": "tower", "frame": [3, 32, 32], "channels": 64, "aggregate": "mean", "normalise": True
}  # fmt: skip


@dataclass(frozen=True)
class Learning:
    """How an agent learns, whatever it observes."""

    steps: int = 6_000
    """Moves of the arm."""
    evaluate_every: int = 1_000
    """Moves from one evaluation to the next; there is one before the first."""
    episodes: int = 30
    """Held-out episodes of an evaluation, the same each time."""
    warm_up: int = 500
    """Random moves before the first update."""
    update_every: int = 4
    """Moves from one round of updates to the next."""
    updates: int = 1
    """Updates of a round."""
    batch: int = 64
    """Moves of an update, out of all before."""
    learning_rate: float = 1e-3
    """Adam's."""
    discount: float = 0.8
    """Of a reward one move later."""
    target_rate: float = 0.02
    """Part by which the critics' targets come nearer to them at an update."""
    entropy: float = 0.01
    """Weight of the policy's entropy at first, beside rewards of a few tenths; then it is learned."""
    trunk: int = 64
    """Units of the layer that the observation goes through."""
    hidden: int = 256
    """Units of each of the two layers of the actor and of the critics."""

    def __post_init__(self) -> None:
        check_options((name, value > 0, "positive") for name, value in asdict(self).items())
        check_options([("discount", self.discount < 1, "less than 1")])


class Observer(ABC):
    """What an agent is told of the world; space: of gymnasium."""

    space: Any

    def prepare(self, world: Reaching, camera: NDArray[np.float64] | None) -> None:  # noqa: B027, for who needs none
        """Look at the world before anything is learned; camera: that of all episodes, None where each has its own."""

    @abstractmethod
    def observe(self, world: Reaching, camera: NDArray[np.float64]) -> Any:
        """An observation; camera: recorded (5,)."""


class State(Observer):
    """Sine and cosine of the joints that move, and where the target is, in metres."""

    def __init__(self, world: Reaching) -> None:
        self.space = spaces.Box(-np.inf, np.inf, (2 * len(world.joints) + 3,), np.float32)

    def observe(self, world: Reaching, camera: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.concatenate([np.sin(world.joints), np.cos(world.joints), world.target]).astype(np.float32)


class Pixels(Observer):
    """A frame and the camera that took it, as a dataset holds them."""

    def __init__(self, world: Reaching) -> None:
        frame = spaces.Box(0, 255, (3, world.family.size, world.family.size), np.uint8)
        self.space = spaces.Dict({"frame": frame, "camera": spaces.Box(-np.inf, np.inf, (7,), np.float32)})

    def observe(self, world: Reaching, camera: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        frame = decode_jpeg(encode_jpeg(world.frame(camera)))
        return {"frame": frame, "camera": camera_vector(torch.from_numpy(camera).float()).numpy()}


class Frozen(Observer):
    """What a node of a graph, which this freezes, makes of one frame and its camera; flattened, in half precision.

    Standardised by random episodes that are looked at beforehand: what episodes share is large beside what they do not.
    """

    def __init__(self, world: Reaching, graph: RecursiveGQN, node: str) -> None:
        graph.freeze()
        self.graph, self.node, self.pixels = graph, node, Pixels(world)
        # Moves are kept for replay, each with two observations: half precision halves the memory.
        self.space = spaces.Box(-np.inf, np.inf, (cells(graph, node),), np.float16)
        self.mean, self.deviation = torch.zeros(cells(graph, node)), torch.ones(cells(graph, node))

    def prepare(self, world: Reaching, camera: NDArray[np.float64] | None) -> None:
        random, found = np.random.default_rng(LOOKS), []
        for _ in range(LOOKS):
            world.begin(random)
            found.append(self.encode(world, world.camera if camera is None else camera))
        deviation, self.mean = torch.std_mean(torch.stack(found), dim=0)
        self.deviation = torch.where(deviation > 1e-6, deviation, 1)

    def observe(self, world: Reaching, camera: NDArray[np.float64]) -> NDArray[np.float16]:
        return ((self.encode(world, camera) - self.mean) / self.deviation).half().numpy()

    def encode(self, world: Reaching, camera: NDArray[np.float64]) -> Tensor:
        seen = self.pixels.observe(world, camera)
        frame, vector = (torch.from_numpy(seen[name])[None].float() for name in ("frame", "camera"))
        return encoded(self.graph, self.node, frame / 255, vector)[0]


def encoded(graph: RecursiveGQN, node: str, frames: Tensor, cameras: Tensor) -> Tensor:
    """What a node makes of single frames (b, 3, h, w), from 0 to 1, and their cameras (b, 7), flattened (b, n)."""
    return graph.encode(node, {"vision": Views(frames[:, None], cameras[:, None])}).flatten(1)


def cells(graph: RecursiveGQN, node: str) -> int:
    """The numbers of a node's representation."""
    return int(np.prod(graph.trials[node].shape))


class Trunk(FeaturesExtractor):
    """A narrow layer between what is observed and actor or critics, which bounds it; before it, a sense that learns.

    Without, a representation of thousands of numbers moves them thousands of times as far at each update as the state.
    As in DrQ (Kostrikov et al. 2020). sense: of a graph, untrained, for `Pixels`; in bfloat16 where layer 1 would be.
    """

    def __init__(self, space: Any, width: int, sense: dict[str, Any] | None = None) -> None:
        super().__init__(space, width)
        self.graph = untrained(sense) if sense else None
        seen = cells(self.graph, "vision") if self.graph else space.shape[0]
        self.layers = nn.Sequential(nn.Linear(seen, width), nn.LayerNorm(width), nn.Tanh())
        self.bfloat16 = computes_in_bfloat16("auto", CPU)

    def forward(self, seen: Any) -> Tensor:
        if self.graph:
            with torch.autocast(CPU.type, torch.bfloat16, enabled=self.bfloat16):
                seen = encoded(self.graph, "vision", seen["frame"], seen["camera"]).float()
        return self.layers(seen)


def untrained(sense: dict[str, Any]) -> RecursiveGQN:
    """A graph of one sense, `vision`."""
    graph = RecursiveGQN.from_dict({"senses": {"vision": {**sense, "frozen": False}}})
    return graph.to(memory_format=torch.channels_last)


class Episodes(Env):
    """Reaching as gymnasium has it: EPISODE moves, each rewarded by minus the distance that is left, in metres.

    camera: one for all episodes, or another one in each.
    """

    def __init__(self, observer: Callable[[Reaching], Observer], camera: Camera = "fixed") -> None:
        self.world = Reaching()
        self.observer, self.moving, self.camera = observer(self.world), camera == "moving", self.world.camera
        self.observer.prepare(self.world, None if self.moving else self.camera)
        self.observation_space = self.observer.space
        self.action_space = spaces.Box(-1, 1, self.world.joints.shape, np.float32)
        self.left = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a random episode, or a held-out one by options {"held_out": number}."""
        super().reset(seed=seed)
        self.world.begin(np.random.default_rng([HELD_OUT, options["held_out"]]) if options else self.np_random)
        if self.moving:
            self.camera = self.world.camera
        self.left = EPISODE
        return self.observer.observe(self.world, self.camera), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.world.move(action)
        self.left -= 1
        return self.observer.observe(self.world, self.camera), -self.world.distance, False, not self.left, {}


def evaluate(env: Any, act: Callable[[Any], NDArray[Any]], episodes: int) -> dict[str, float]:
    """Means over held-out episodes: the distance at the end, whether that is near, and the sum of rewards."""
    distances, returns = [], []
    for number in range(episodes):
        seen, _ = env.reset(options={"held_out": number})
        over, total = False, 0.0
        while not over:
            seen, reward, _, over, _ = env.step(act(seen))
            total += reward
        distances.append(env.world.distance)
        returns.append(total)
    left = np.array(distances)
    return {
        "distance_cm": 100 * float(left.mean()),
        "median_distance_cm": 100 * float(np.median(left)),
        "success_10_cm": float((left < NEAR).mean()),
        "success_5_cm": float((left < NEARER).mean()),
        "return": float(np.mean(returns)),
    }


def train_agent(
    observation: Observation,
    camera: Camera = "fixed",
    seed: int = 0,
    learning: Learning = Learning(),
    layer: str | Path | None = None,
    node: str = "vision",
) -> Curve:
    """The learning curve of an agent: rows of `evaluate` with the steps before it.

    observation: `expert` and `chance` see nothing, do not learn, and have one row. layer: the run of a graph, whose
    `node` is observed frozen (layer-1, layer-2), or whose sense `vision` is taken untrained, frozen (random) or to
    learn (pixels); for these two it is VISION where no run is given. Raises ValueError, CheckpointError, GraphError.
    """
    if observation in ("layer-1", "layer-2") and not layer:
        raise ValueError(f"{observation} needs the run of a graph")
    torch.manual_seed(seed)
    graph = load_graph(layer) if layer else untrained(VISION)
    sense = graph.to_dict()["senses"]["vision"]
    if list(sense["frame"]) != [3, FAMILY.size, FAMILY.size]:
        raise ValueError(f"{layer} sees frames of {sense['frame']}, the world has {FAMILY.size} pixels")
    if observation == "random":
        torch.manual_seed(seed)
        graph = untrained(sense)

    def observer(world: Reaching) -> Observer:
        if observation == "pixels":
            return Pixels(world)
        return Frozen(world, graph, node) if observation in ("layer-1", "layer-2", "random") else State(world)

    held_out = Episodes(observer, camera)
    random = np.random.default_rng(seed)
    if observation == "expert":
        return [{"steps": 0, **evaluate(held_out, lambda _: held_out.world.expert(), learning.episodes)}]
    if observation == "chance":
        return [{"steps": 0, **evaluate(held_out, lambda _: random.uniform(-1, 1, 3), learning.episodes)}]
    trunk = {"width": learning.trunk, "sense": sense if observation == "pixels" else None}
    agent = SAC(
        "MultiInputPolicy" if observation == "pixels" else "MlpPolicy",
        Episodes(observer, camera),
        learning_rate=learning.learning_rate,
        buffer_size=learning.steps,
        learning_starts=learning.warm_up,
        batch_size=learning.batch,
        gamma=learning.discount,
        tau=learning.target_rate,
        ent_coef=f"auto_{learning.entropy}",
        train_freq=learning.update_every,
        gradient_steps=learning.updates,
        policy_kwargs={
            "net_arch": [learning.hidden] * 2,
            "features_extractor_class": Trunk,
            "features_extractor_kwargs": trunk,
        },
        seed=seed,
        device=CPU,
    )
    curve: Curve = []

    class Evaluation(Callback):
        def _on_training_start(self) -> None:
            self._on_step()

        def _on_step(self) -> bool:
            if self.num_timesteps % learning.evaluate_every == 0:
                found = evaluate(held_out, lambda seen: agent.predict(seen, deterministic=True)[0], learning.episodes)
                curve.append({"steps": self.num_timesteps, **found})
            return True

    agent.learn(learning.steps, callback=Evaluation())
    return curve


def compare(
    results: str | Path,
    observations: Sequence[Observation],
    cameras: Sequence[Camera],
    seeds: Sequence[int],
    learning: Learning = Learning(),
    layers: dict[str, tuple[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """The asked runs, one of each observation, camera and seed, after those that the file lacked were made.

    results: a JSON object a line, of a run that ended; run again, it goes on where it was stopped, and runs of another
    `learning`, layer or node are others. layers: run and node an observation takes, by its name, see `train_agent`.
    """
    results, layers = Path(results), layers or {}
    alike = json.loads(json.dumps({"learning": asdict(learning), "family": asdict(FAMILY)}))  # as they are read again
    runs = []
    for seed, camera, observation in dict.fromkeys(product(seeds, cameras, observations)):
        layer, node = layers.get(observation, (None, "vision"))
        run = {"observation": observation, "camera": camera, "seed": seed, "layer": layer, "node": node, **alike}
        known = next((known for known in read_json_lines(results) if run.items() <= known.items()), None)
        if known:
            runs.append(known)
            continue
        began = time.perf_counter()
        curve = train_agent(observation, camera, seed, learning, layer, node)
        seconds = round(time.perf_counter() - began, 1)
        line = {**run, "seconds": seconds, **provenance(Processes(0, 1, CPU)), "curve": curve}
        results.parent.mkdir(parents=True, exist_ok=True)
        append_json_line(results, line)
        runs.append(line)
    return runs


def moves_to(curve: Curve, distance_cm: float) -> float:
    """Moves until the mean distance at the end has fallen so far; infinite for never."""
    return steps_to_threshold([row["steps"] for row in curve], [row["distance_cm"] for row in curve], distance_cm)


def groups(runs: list[dict[str, Any]]) -> dict[tuple[str, str], list[Curve]]:
    """The curves of all seeds by camera and observation."""
    found: dict[tuple[str, str], list[Curve]] = {}
    for run in runs:
        found.setdefault((run["camera"], run["observation"]), []).append(run["curve"])
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Moves to of the THRESHOLDS and what was reached at last, median (lowest to highest) of the seeds; in Markdown."""

    def spread(values: list[float], form: str) -> str:
        low, middle, high = (
            format(v, form) if v < float("inf") else "never" for v in (min(values), median(values), max(values))
        )
        return middle if len(values) == 1 else f"{middle} ({low} to {high})"

    columns = [
        "camera", "observation", "seeds", *(f"moves to {cm} cm" for cm in THRESHOLDS), "distance at last (cm)",
        "within 10 cm at last", "within 5 cm at last",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for (camera, observation), curves in groups(runs).items():
        row = [spread([moves_to(curve, cm) for curve in curves], ",.0f") for cm in THRESHOLDS]
        if observation in ("expert", "chance"):
            row = ["" for _ in THRESHOLDS]
        for key, form in (("distance_cm", ".1f"), ("success_10_cm", ".0%"), ("success_5_cm", ".0%")):
            row.append(spread([curve[-1][key] for curve in curves], form))
        lines.append(f"| {camera} | {observation} | {len(curves)} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def picture(runs: list[dict[str, Any]]) -> Figure:
    """The distance at the end against the moves before, by camera: means over the seeds, and each seed's faintly."""
    found = groups(runs)
    cameras = sorted({camera for camera, _ in found})
    figure, places = panels(len(cameras))
    observations = list(dict.fromkeys(observation for _, observation in found))
    for (camera, observation), curves in found.items():
        place, colour = places[cameras.index(camera)], f"C{observations.index(observation)}"
        distances = [[row["distance_cm"] for row in curve] for curve in curves]
        if len(curves[0]) == 1:
            place.axhline(float(np.mean(distances)), color=colour, linestyle=":", label=observation)
            continue
        steps = [row["steps"] for row in curves[0]]
        place.plot(steps, np.mean(distances, axis=0), color=colour, label=f"{observation} ({len(curves)} seeds)")
        for each in distances:
            place.plot(steps, each, color=colour, linewidth=0.5, alpha=0.4)
    for camera, place in zip(cameras, places, strict=True):
        label(place, "moves of the arm", "distance of hand and target\nat the end of an episode (cm)")
        place.set_title(f"{camera} camera", fontsize=8)
        place.set_ylim(bottom=0)
        place.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure
