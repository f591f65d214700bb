"""Base of all families of scenes: their options, and how a setting becomes frames, labels and further senses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from gqn.core.camera import Geometry
from gqn.core.checked import check_type, fits
from gqn.core.display import Rectangle
from gqn.core.errors import Error
from gqn.scenes.render import World, render
from gqn.scenes.senses import PROBES, SENSORS, depth_and_normals, random_probes, touch

Array = NDArray[np.float64]
Labels = dict[str, Any]
Drawn = TypeVar("Drawn")
MOST = 100_000  # pixels, views or rays: what no memory holds
Sense = Literal["depth", "normals", "touch"]


@dataclass(frozen=True)
class Setting:
    """A scene before it is drawn."""

    world: World
    cameras: Array  # recorded, (views, 5)
    labels: Labels  # the ground truth, as plain values and arrays
    touchable: Array  # (n, 3), points inside of what a probe may touch


@dataclass(frozen=True)
class Scene:
    """A scene as it is recorded."""

    frames: NDArray[np.uint8]  # (views, size, size, 3), of those that were asked for
    cameras: NDArray[np.float32]  # recorded, (views, 5)
    labels: Labels
    tensors: dict[str, NDArray[np.float32]]  # what further senses say, by name, as `Family.tensors` has their shapes


@dataclass(frozen=True)
class Family(ABC):
    """Options of a family of scenes, which draws scenes by them. Raises ValueError for an option out of its range."""

    size: int = 64
    """Pixels, height and width of a frame."""
    views: int = 10
    """Frames, and cameras, of a scene."""
    samples: int = 1
    """Rays along the side of a pixel; more than 1 smooths edges and takes that many squared times as long."""
    senses: tuple[Sense, ...] = ()
    """Further senses to record beside the frames: depth and normals of each view, or touch by 15 probes."""

    geometry: ClassVar[Geometry]  # of the cameras and the world
    hand: ClassVar[float]  # world units, side of the probe that touches; 0 where there is nothing to touch
    ground: ClassVar[float | None] = 0.0  # world units, height of the floor; None where there is none

    def __post_init__(self) -> None:
        kinds = {
            option: kind for option, kind in get_type_hints(type(self)).items() if get_origin(kind) is not ClassVar
        }
        for option, kind in kinds.items():
            if isinstance(getattr(self, option), list):  # as a dataset's description has it
                object.__setattr__(self, option, tuple(getattr(self, option)))
            if get_origin(kind) is not Literal:  # whose choices are told below
                check_type(option, getattr(self, option), kind)
        self.at_least(1, "size", "views", "samples")
        for option in ("size", "views", "samples"):
            if getattr(self, option) > MOST:
                raise Error(f"{option} is {getattr(self, option)}, must be at most {MOST}")
        if "touch" in self.senses and not self.hand:
            raise Error("senses: this family holds no objects to touch")
        for option, kind in kinds.items():
            several = get_origin(kind) is tuple
            choices = get_args(get_args(kind)[0] if several else kind)
            if get_origin(get_args(kind)[0] if several else kind) is not Literal:
                continue
            chosen = getattr(self, option)
            for value in chosen if several else [chosen]:
                if not fits(value, Literal[choices]):
                    raise Error(f"{option} is {value!r}, must be one of {', '.join(map(str, choices))}")

    @property
    def field_of_view(self) -> float:
        """Degrees, vertical, of the cameras."""
        return self.geometry.field_of_view

    @property
    def covered(self) -> tuple[Rectangle, ...]:
        """Rectangles of the frames that a display covers; none by default."""
        return ()

    def at_least(self, least: int, *options: str) -> None:
        """Raise Error for options below `least`."""
        for option in options:
            if getattr(self, option) < least:
                raise Error(f"{option} is {getattr(self, option)}, must be at least {least}")

    @abstractmethod
    def setting(self, random: np.random.Generator, contents: np.random.Generator | None = None) -> Setting:
        """Return a random scene of this family, not yet drawn.

        Args:
            random: Draws cameras, surroundings and light, and what the scene holds.
            contents: Draws what the scene holds instead, and nothing else changes: a twin of the scene without it.
        """

    def scene(
        self,
        random: np.random.Generator,
        contents: np.random.Generator | None = None,
        views: Sequence[int] | None = None,
    ) -> Scene:
        """Return a random scene of this family, or its twin: the same for the same states of the generators.

        Args:
            random: Draws cameras, surroundings and light, and what the scene holds.
            contents: Draws what the scene holds instead: other objects, or another pose and target.
            views: Of which to draw the frames, in which order; all by default. All else is of all views in any case.
        """
        setting = self.setting(random, contents)
        cameras = setting.cameras.astype(np.float32)  # what is recorded is what the frames were drawn with
        chosen = list(range(len(cameras)) if views is None else views)
        frames = self.finished(render(setting.world, cameras[chosen], self.size, self.samples), chosen)
        return Scene(frames, cameras, setting.labels, self._sense(setting, cameras, random))

    def finished(self, frames: NDArray[np.uint8], views: Sequence[int]) -> NDArray[np.uint8]:
        """Return frames (n, size, size, 3) of some views with what is drawn over them; here they stay as they are."""
        return frames

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is recorded of a scene beside frames and cameras, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        if "depth" in self.senses:
            shapes["depth"] = (self.views, self.size, self.size)
        if "normals" in self.senses:
            shapes["normals"] = (self.views, self.size, self.size, 3)
        if "touch" in self.senses:
            shapes |= {"touch": (PROBES, SENSORS), "touch_cameras": (PROBES, 5)}
        return shapes

    def _sense(
        self, setting: Setting, cameras: NDArray[np.float32], random: np.random.Generator
    ) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        if "depth" in self.senses or "normals" in self.senses:
            found["depth"], found["normals"] = depth_and_normals(setting.world, cameras, self.size)
        if "touch" in self.senses:
            # Last, so that a dataset with touch shows the same scenes as one without.
            probes = random_probes(setting.world, setting.touchable, self.hand, self.ground, random)
            found |= {"touch": touch(setting.world, probes, self.hand), "touch_cameras": probes}
        return {name: found[name] for name in self.tensors}


def draw_contents(
    draw: Callable[[np.random.Generator], Drawn], random: np.random.Generator, contents: np.random.Generator | None
) -> Drawn:
    """Return what `draw` gives by `contents` where that is given, else by `random`, which moves on alike."""
    drawn = draw(random)
    return drawn if contents is None else draw(contents)
