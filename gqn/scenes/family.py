"""What all families of scenes share: their options, and how a setting becomes frames, labels and further senses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.render import World, render

Array = NDArray[np.float64]
Labels = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A scene before it is drawn."""

    world: World
    cameras: Array  # recorded, (views, 5)
    labels: Labels  # the ground truth, as plain values and arrays


@dataclass(frozen=True)
class Scene:
    """A scene as it is recorded."""

    frames: NDArray[np.uint8]  # (views, size, size, 3)
    cameras: NDArray[np.float32]  # recorded, (views, 5)
    labels: Labels


@dataclass(frozen=True)
class Family(ABC):
    """A family of scenes: its options. ValueError for an option out of its range."""

    size: int = 64
    """Pixels, height and width of a frame."""
    views: int = 10
    """Frames, and cameras, of a scene."""
    samples: int = 1
    """Rays along the side of a pixel; more than 1 smooths edges and takes that many squared times as long."""

    def __post_init__(self) -> None:
        self.at_least(1, "size", "views", "samples")
        for option, kind in get_type_hints(type(self)).items():
            several = get_origin(kind) is tuple
            choices = get_args(get_args(kind)[0] if several else kind)
            if get_origin(get_args(kind)[0] if several else kind) is not Literal:
                continue
            chosen = getattr(self, option)
            for value in chosen if several else [chosen]:
                if value not in choices:
                    raise ValueError(f"{option} is {value!r}, must be one of {', '.join(map(str, choices))}")

    def at_least(self, least: int, *options: str) -> None:
        """Raise ValueError for options below `least`."""
        for option in options:
            if getattr(self, option) < least:
                raise ValueError(f"{option} is {getattr(self, option)}, must be at least {least}")

    @abstractmethod
    def setting(self, random: np.random.Generator) -> Setting:
        """A random scene of this family, not yet drawn."""

    def scene(self, random: np.random.Generator) -> Scene:
        """A random scene of this family: the same for the same state of `random`."""
        setting = self.setting(random)
        cameras = setting.cameras.astype(np.float32)  # what is recorded is what the frames were drawn with
        return Scene(render(setting.world, cameras, self.size, self.samples), cameras, setting.labels)
