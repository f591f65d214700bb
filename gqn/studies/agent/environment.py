"""Reaching as gymnasium has it, and what an agent observes of it: the state, frames, or a frozen representation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.extras import extra
from gqn.core.views import Views
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.models.graph import RecursiveGQN
from gqn.scenes.reaching import Reaching

spaces = extra("gymnasium.spaces", "agent")
Env: Any = extra("gymnasium", "agent").Env  # a base class that is there only where the extra is

Camera = Literal["fixed", "moving"]

NEAR, NEARER = 0.10, 0.05  # metres from hand to target at the end of an episode, what counts as there
EPISODE = 20  # moves
LOOKS = 200  # random episodes whose first frames say how features vary
HELD_OUT = 2**32  # begins the seeds of held-out episodes, which no seed of training equals


class Observer(ABC):
    """Interface of an observer: what an agent is told of the world.

    Attributes:
        space: Of gymnasium.
    """

    space: Any

    def prepare(self, world: Reaching, camera: NDArray[np.float64] | None) -> None:  # noqa: B027, for who needs none
        """Look at the world before anything is learned; camera: that of all episodes, None where each has its own."""

    @abstractmethod
    def observe(self, world: Reaching, camera: NDArray[np.float64]) -> Any:
        """Return an observation; camera: recorded (5,)."""


class State(Observer):
    """Sine and cosine of the joints that move, and the place of the target, in metres."""

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
    """A node's representation of one frame and its camera, flattened, in half precision; the graph is frozen.

    Standardised by random episodes that are looked at beforehand: what episodes share is large beside what they do not.
    """

    def __init__(self, world: Reaching, graph: RecursiveGQN, node: str) -> None:
        graph.freeze()
        self.graph, self.node, self.pixels = graph, node, Pixels(world)
        # Moves are kept for replay, each with two observations: half precision halves the memory.
        self.space = spaces.Box(-np.inf, np.inf, (numbers_of(graph, node),), np.float16)
        self.mean, self.deviation = torch.zeros(self.space.shape), torch.ones(self.space.shape)

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
        """Return the representation as it is, (n,)."""
        seen = self.pixels.observe(world, camera)
        frame, vector = (torch.from_numpy(seen[name])[None].float() for name in ("frame", "camera"))
        return encoded(self.graph, self.node, frame / 255, vector)[0]


def encoded(graph: RecursiveGQN, node: str, frames: Tensor, cameras: Tensor) -> Tensor:
    """Return a node's representations of single frames, flattened, (b, n).

    Args:
        frames: (b, 3, h, w), from 0 to 1.
        cameras: (b, 7).
    """
    return graph.encode({"vision": Views(frames[:, None], cameras[:, None])}, node).flatten(1)


def numbers_of(graph: RecursiveGQN, node: str) -> int:
    """Return how many numbers a node's representation has."""
    return int(np.prod(graph.trials[node].shape))


class Episodes(Env):
    """Reaching in EPISODE moves, each rewarded by minus the distance that is left, in metres.

    Args:
        observer: Made for this environment's world.
        camera: One for all episodes, or another one in each.
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
        """Move the arm; return what is observed then, the reward, and whether the episode is over."""
        self.world.move(action)
        self.left -= 1
        return self.observer.observe(self.world, self.camera), -self.world.distance, False, not self.left, {}


def evaluate(env: Any, act: Callable[[Any], NDArray[Any]], episodes: int) -> dict[str, float]:
    """Return means over held-out episodes: the distance at the end, whether that is near, and the sum of rewards."""
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
