"""Reaching as gymnasium has it, and as a frozen representation shows it."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.checked import check_type
from gqn.core.errors import Error
from gqn.core.extras import extra
from gqn.core.files import whole_file
from gqn.core.views import Views
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.figures.predictions import animation
from gqn.models.graph import RecursiveGQN
from gqn.scenes.jaco import HALF, Jaco
from gqn.scenes.reaching import WORLDS, Reaching

gymnasium = extra("gymnasium", "agent")
spaces = extra("gymnasium.spaces", "agent")
# Base classes that are there only where the extra is.
Env: Any = gymnasium.Env
ObservationWrapper: Any = gymnasium.ObservationWrapper

Seen = Literal["state", "joints", "pixels", "pixels+joints"]
Camera = Literal["fixed", "moving"]
World = Literal["reduced", "full"]

NEAR, NEARER = 0.10, 0.05  # metres from hand to target at the end of an episode, what counts as there
SOFT = 0.05  # metres, added to distances before their logarithm, so that the last millimetres are worth little
LOOKS = 200  # random episodes whose first frames say how features vary
CLIP = 5.0  # standard deviations, beyond which a feature is cut
FILMED, PAUSE = 6, 10  # episodes of a film, and how many times it shows their last frame again
HELD_OUT = 2**32  # begins the seeds of held-out episodes, which no seed of training equals


class Reach(Env):
    """Reaching with the Jaco arm: `gqn/Reach-v0`. An action (n,) turns each joint that moves, from -1 to 1 of LARGEST.

    Observations, by mode:

    - joints: sine and cosine of the joints that move, and where that puts the hand, in metres, (2n + 3,);
    - state: the same and the way from the hand to the target, in decimetres, (2n + 6,): in metres the last of the way,
      where the direction matters most, would be a few hundredths beside numbers of about 1;
    - pixels: a frame (3, size, size) and the camera that took it (7,), as a dataset holds them;
    - pixels+joints: both.

    The reward of a move is by how much log(5 cm + distance of hand and target) falls, a difference of potentials: those
    of an episode add up to what its first and last distance say. Nothing ends an episode but its length, by which it is
    truncated. `info` has the distance in metres, and whether it is less than 5 cm.

    Args:
        observation: One of the modes.
        camera: One for all episodes, or another one in each.
        world: Three joints, one red target, plain walls and 32 x 32 pixels, or the family `jaco` as it is.
        render_mode: rgb_array, as the camera sees it, or none.
        options: Of the family of scenes `gqn.scenes.jaco.Jaco`, in place of the world's.

    Raises Error for a mode or an option that is not there, or that the family refuses.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, as gymnasium has it

    def __init__(
        self,
        observation: Seen = "state",
        camera: Camera = "fixed",
        world: World = "reduced",
        render_mode: Literal["rgb_array"] | None = None,
        **options: Any,
    ) -> None:
        for name, value, kind in (
            ("observation", observation, Seen),
            ("camera", camera, Camera),
            ("world", world, World),
            ("render_mode", render_mode, Literal["rgb_array"] | None),
        ):
            check_type(f"Reach: {name}", value, kind)
        if unknown := options.keys() - {field.name for field in fields(Jaco)}:
            raise Error(f"Reach has no option {', '.join(sorted(unknown))}")
        self.world = Reaching(replace(WORLDS[world], **options))
        self.seen: Seen = observation
        self.moving, self.camera, self.render_mode = camera == "moving", self.world.camera, render_mode
        joints = _box([1.0] * (2 * len(self.world.joints)) + [HALF] * 3)
        frame = spaces.Box(0, 255, (3, self.world.family.size, self.world.family.size), np.uint8)
        pixels = {"frame": frame, "camera": _box([HALF] * 3 + [1.0] * 4)}
        self.observation_space = {
            "joints": joints,
            "state": _box([*joints.high, *[20 * HALF] * 3]),
            "pixels": spaces.Dict(pixels),
            "pixels+joints": spaces.Dict({**pixels, "joints": joints}),
        }[observation]
        self.action_space = spaces.Box(-1, 1, self.world.joints.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a random episode, or a held-out one by options {"held_out": number}."""
        super().reset(seed=seed)
        if options:
            number = options.get("held_out")
            if set(options) != {"held_out"} or not isinstance(number, int) or number < 0:
                raise Error(f"options of reset are {options}, must be {{'held_out': number}} or none")
            self.world.begin(np.random.default_rng([HELD_OUT, number]))
        else:
            self.world.begin(self.np_random)
        if self.moving:
            self.camera = self.world.camera
        return self.observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the arm; return what is observed then, the reward, and that the episode is not over."""
        before = self.world.distance
        self.world.move(action)
        reward = float(np.log((SOFT + before) / (SOFT + self.world.distance)))
        return self.observe(), reward, False, False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return the frame (size, size, 3) that the camera sees, None without a mode."""
        return self.frame() if self.render_mode else None

    def frame(self) -> NDArray[np.uint8]:
        """Return the frame (size, size, 3) that the camera sees now."""
        return self.world.frame(self.camera)

    def expert(self) -> NDArray[np.float32]:
        """Return the action (n,) of an expert, who knows the pose that the target was placed by."""
        return self.world.expert().astype(np.float32)

    def observe(self) -> Any:
        """Return what is observed now."""
        joints, hand = self.world.joints, self.world.arm.hand
        told = np.concatenate([np.sin(joints), np.cos(joints), hand]).astype(np.float32)
        if self.seen == "joints":
            return told
        if self.seen == "state":
            return np.concatenate([told, 10 * (self.world.target - hand)], dtype=np.float32)
        frame = decode_jpeg(encode_jpeg(self.frame()))
        pixels = {"frame": frame, "camera": camera_vector(torch.from_numpy(self.camera).float()).numpy()}
        return {**pixels, "joints": told} if self.seen == "pixels+joints" else pixels

    def _info(self) -> dict[str, Any]:
        return {"distance": self.world.distance, "is_success": self.world.distance < NEARER}


def _box(most: list[float]) -> Any:
    high = np.array(most, np.float32)
    return spaces.Box(-high, high, dtype=np.float32)


class Features(ObservationWrapper):
    """Features of a frame and its camera by a node of a frozen graph, (n,), and the joints beside them.

    Features are standardised by the first frames of random episodes, which are looked at beforehand, since what frames
    share is large beside what they do not. Those that hardly vary are not blown up, and none leaves CLIP.

    Args:
        env: Of the mode pixels+joints.
        graph: Is frozen.
        looks: Random episodes that are looked at.
    """

    def __init__(self, env: Any, graph: RecursiveGQN, node: str, looks: int = LOOKS) -> None:
        super().__init__(env)
        graph.freeze()
        self.graph, self.node = graph, node
        frames = [self.encode(env.reset(seed=HELD_OUT - 1 - look)[0]) for look in range(looks)]
        deviation, self.mean = torch.std_mean(torch.stack(frames), dim=0)
        self.deviation = deviation.clamp(min=max(float(deviation.median()) / 10, 1e-6))
        # Moves are kept for replay, each with two observations: half precision halves the memory.
        features = spaces.Box(-CLIP, CLIP, self.mean.shape, np.float16)
        self.observation_space = spaces.Dict({"features": features, "joints": env.observation_space["joints"]})

    def around(self, env: Any) -> "Features":
        """Return the same for another environment, without looking again."""
        other = copy(self)
        other.env = env
        return other

    def observation(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        features = ((self.encode(observation) - self.mean) / self.deviation).clamp(-CLIP, CLIP)
        return {"features": features.half().numpy(), "joints": observation["joints"]}

    def encode(self, observation: dict[str, NDArray[Any]]) -> Tensor:
        """Return the representation as it is, (n,)."""
        frame, vector = (torch.from_numpy(observation[name])[None].float() for name in ("frame", "camera"))
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


def episode(env: Any, act: Callable[[Any], NDArray[Any]], number: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the reward and `info` at the beginning of a held-out episode, where there is none yet, and of each move."""
    (seen, info), over, reward = env.reset(options={"held_out": number}), False, 0.0
    yield reward, info
    while not over:
        seen, reward, _, over, info = env.step(act(seen))
        yield reward, info


def film(path: Path, env: Any, act: Callable[[Any], NDArray[Any]]) -> None:
    """Write the first FILMED held-out episodes side by side, as the environment's camera sees them, as a GIF."""
    shown = []
    for number in range(FILMED):
        frames = [env.unwrapped.frame() for _ in episode(env, act, number)]
        shown.append(np.stack([*frames, *frames[-1:] * PAUSE]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(animation(np.concatenate(shown, axis=2).transpose(0, 3, 1, 2)))


def evaluate(env: Any, act: Callable[[Any], NDArray[Any]], episodes: int) -> dict[str, float]:
    """Return means over held-out episodes: the distance at the end, whether that is near, and the sum of rewards."""
    distances, returns = [], []
    for number in range(episodes):
        rewards, infos = zip(*episode(env, act, number), strict=True)
        distances.append(infos[-1]["distance"])
        returns.append(sum(rewards))
    left = np.array(distances)
    return {
        "distance_cm": 100 * float(left.mean()),
        "median_distance_cm": 100 * float(np.median(left)),
        "success_10_cm": float((left < NEAR).mean()),
        "success_5_cm": float((left < NEARER).mean()),
        "return": float(np.mean(returns)),
    }
