"""A visit to scenes with a trained network: what it is shown, what it imagines from a camera, what it answers.

It knows of no page and no browser. Everything that does not depend on the camera is computed once a change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gqn.core.camera import CAMERA_NUMBERS, Geometry, camera_vector, recorded_camera
from gqn.core.errors import Error, NoSuchItem
from gqn.core.modes import evaluating
from gqn.core.views import Views
from gqn.data.batches import Scenes
from gqn.figures.predictions import SPREAD, as_bytes
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Head
from gqn.models.nodes import data_of
from gqn.models.outputs import Volume
from gqn.training.validation import image_errors
from gqn.viewer.answers import Said, say

Mode = Literal["sample", "mean", "spread", "reconstruction"]
MODES: tuple[Mode, ...] = get_args(Mode)
CONTEXT = 3  # views at the beginning
MOST_VIEWS = 30  # that are shown of a scene, evenly
SAMPLES, FEWER = 8, 2  # of a mean or a spread; of the same while the camera moves
SAME = 0.003  # most difference of two cameras' numbers, places in parts of the cameras' extent, for them to be one
FIELD_OF_VIEW = 45.0  # degrees, where neither the dataset nor the network says one

Frame = NDArray[np.uint8]  # (h, w, 3)


class Recorded(NamedTuple):
    """A recorded view of a scene."""

    number: int
    camera: NDArray[np.float64]  # x, y, z in world units, yaw, pitch in radians
    frame: Frame
    chosen: bool  # it is in the context


class Picture(NamedTuple):
    """A picture that is imagined from a camera, beside the truth where a recorded view is from there."""

    frame: Frame
    shown: Mode  # as which it was drawn: a reconstruction needs a truth, and is a sample elsewhere
    truth: Frame | None
    psnr: float | None  # dB, of the picture, where there is a truth


@dataclass(frozen=True)
class WhatIf:
    """Scenes whose context is shown in place of the scene's own: that of `context`, or A - B + C of three."""

    context: int | None = None
    """Scene whose views are shown; None for the visited scene's own."""
    minus: int | None = None
    """B, whose representation is taken off; none where it is None."""
    plus: int | None = None
    """C, whose representation is added; none where it is None."""

    def terms(self, scene: int) -> list[tuple[float, int]]:
        """Return the scenes to encode and their signs."""
        first = scene if self.context is None else self.context
        others = [(sign, other) for sign, other in ((-1.0, self.minus), (1.0, self.plus)) if other is not None]
        return [(1.0, first), *others]


@dataclass
class Known:
    """Results that hold until the next change."""

    reads: dict[str, Tensor] = field(default_factory=dict)  # what heads read, by task
    said: list[Said] | None = None  # answers that no camera plays a part in


class Session:
    """A trained network on scenes, one of which is visited.

    Args:
        network: a trained graph.
        scenes: where its observations come from, such as `gqn.LabelledScenes`.
        geometry: lens and world of the scenes, where they are known.

    Attributes:
        scene: number of the visited scene.
        mode: what is drawn, one of `MODES`.
        drawing: task that draws; "" for a network without one.
        drawings: all tasks that a camera can ask for a picture.
        draw: number of the sample of the latents: the same one is seen from all cameras.
        senses: whether each sense is switched on, by name.
        chosen: views in the context, by data.
        pictured: data of the senses whose observations are the recorded views, one for one, so that clicks choose them.

    Raises:
        Error: where there are no scenes, or they lack the data that a sense reads.
    """

    def __init__(self, network: RecursiveGQN, scenes: Scenes, geometry: Geometry | None = None) -> None:
        if not len(scenes):
            raise Error("the dataset has no scenes: convert its record files first, see data.sh")
        self.network, self.scenes, self.geometry = network, scenes, geometry
        self.device = next(network.parameters()).device
        spec = network.spec
        self._data = {name: data_of(name, node) for name, node in spec.items() if node.kind != "representation"}
        self.tasks = [name for name, node in spec.items() if node.kind == "task"]
        self.drawings = [name for name in self.tasks if self._draws(name)]
        self.drawing = self.drawings[0] if self.drawings else ""
        self.senses = {name: True for name, node in spec.items() if node.kind == "sense"}
        self.counts = {self._data[name]: scenes.observations(self._data[name]) for name in self.senses}
        self.frames = self._frames_data()
        self.views = evenly(scenes.observations(self.frames), MOST_VIEWS) if self.frames else []
        self.pictured = [data for data in self.counts if data == self.frames or self._same_poses(data)]
        self.chosen = {data: set(self._first(data)) for data in self.counts}
        self.mode: Mode = "sample"
        self.draw = 0
        self.scene = 0
        self.what_if = WhatIf()
        self._known = Known()
        self.open(0)

    # What is shown

    def open(self, scene: int) -> None:
        """Visit another scene, under its own context. Raises NoSuchItem past the end."""
        self._check(scene)
        recorded = self._observe(self.frames, scene, self.views) if self.frames else None
        self.scene, self.what_if, self._known, self._recorded = scene, WhatIf(), Known(), recorded

    def toggle(self, view: int) -> None:
        """Take a recorded view into the context, or out of it."""
        if view not in self.views:
            raise NoSuchItem(f"view {view}: shown are {self.views}")
        for data in self.pictured:
            self.chosen[data] ^= {view}
        self._known = Known()

    def take(self, data: str, count: int) -> None:
        """Show the first `count` observations of data whose poses are no recorded views, such as touch."""
        if data not in self.counts or not 0 <= count <= self.counts[data]:
            raise Error(f"{count} observations of '{data}': there are {self.counts.get(data, 0)} of it")
        self.chosen[data], self._known = set(range(count)), Known()

    def switch(self, sense: str, on: bool) -> None:
        """Switch a sense on or off: one that is off has observed nothing."""
        if sense not in self.senses:
            raise Error(f"no sense '{sense}'; there are {', '.join(self.senses)}")
        self.senses[sense], self._known = on, Known()

    def suppose(self, what_if: WhatIf) -> None:
        """Show the context of other scenes. Raises NoSuchItem for one past the end."""
        for _, scene in what_if.terms(self.scene):
            self._check(scene)
        self.what_if, self._known = what_if, Known()

    def draw_by(self, task: str) -> None:
        """Let another task draw."""
        if task not in self.drawings:
            raise Error(f"task '{task}' draws nothing from a camera; there are {', '.join(self.drawings)}")
        self.drawing = task

    # What there is

    @property
    def field_of_view(self) -> float:
        """Degrees, vertical: the network's own where it knows one, else the dataset's."""
        outputs = (self.network.trials[name].output for name in self.senses)
        of_network = [output.field_of_view for output in outputs if isinstance(output, Volume)]
        return next(iter(of_network), self.geometry.field_of_view if self.geometry else FIELD_OF_VIEW)

    @property
    def recorded(self) -> list[Recorded]:
        """The recorded views of the visited scene."""
        if self._recorded is None:
            return []
        cameras = recorded_camera(self._recorded.cameras[0]).double().cpu().numpy()
        chosen = self.chosen.get(self.frames, set())
        return [
            Recorded(number, camera, image(frame), number in chosen)
            for number, camera, frame in zip(self.views, cameras, self._recorded.frames[0], strict=True)
        ]

    @property
    def extent(self) -> float:
        """World units, of the recorded cameras about their middle."""
        if self._recorded is None:
            return 1.0
        places = self._recorded.cameras[0, :, :3]
        return max(float((places - places.mean(dim=0)).norm(dim=1).max()), 1e-3)

    def at(self, camera: ArrayLike) -> int | None:
        """Return the row in `recorded` of the view that a camera (5,) took; None where none did."""
        if self._recorded is None:
            return None
        apart = (self._recorded.cameras[0] - camera_vector(camera).to(self.device)).abs()
        apart[:, :3] /= self.extent
        nearest = int(apart.amax(dim=1).argmin())
        return nearest if float(apart[nearest].max()) < SAME else None

    # What the network says

    @torch.no_grad()
    def picture(self, camera: ArrayLike, *, moving: bool = False) -> Picture | None:
        """Return what is imagined from a camera; None where no task draws.

        Args:
            camera: (5,), x, y, z in world units, yaw and pitch in radians.
            moving: draw fewer samples, as the camera goes on anyway.
        """
        if not self.drawing:
            return None
        row = self.at(camera)
        truth = None if row is None or self._recorded is None else self._recorded.frames[:, row : row + 1]
        if truth is not None and truth.shape[2:] != self.network.trials[self.drawing].shape:
            truth = None
        shown: Mode = "sample" if self.mode == "reconstruction" and truth is None else self.mode
        query = camera_vector(camera).to(self.device)[None, None]
        head = cast(Head, self.network.nodes[self.drawing])
        count = 1 if shown == "sample" else FEWER if moving else SAMPLES
        with evaluating(self.network), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            r = self._reads()[self.drawing]
            informed = self._informed(Views(truth, query)) if shown == "reconstruction" and truth is not None else None
            torch.manual_seed(self.draw)
            if shown == "reconstruction":
                frame = head(query, r, truth, *(() if informed is None else (informed,))).mean[0, 0]
            else:
                frames = torch.stack([head.sample(query, r)[0, 0] for _ in range(count)])
                frame = SPREAD * frames.std(dim=0) if shown == "spread" else frames.mean(dim=0)
        if truth is None:
            return Picture(image(frame), shown, None, None)
        psnr = None if shown == "spread" else float(image_errors(frame, truth[0, 0])[1])
        return Picture(image(frame), shown, image(truth[0, 0]), psnr)

    @torch.no_grad()
    def answers(self, camera: ArrayLike) -> list[Said]:
        """Return what all tasks that draw nothing say: of the scene, or of what would be sensed at the camera (5,)."""
        with evaluating(self.network):
            if self._known.said is None:
                self._known.said = [self._answer(name, torch.zeros(0)) for name in self.tasks if not self._query(name)]
            asked = [name for name in self.tasks if self._query(name) == CAMERA_NUMBERS and name not in self.drawings]
            return [*self._known.said, *(self._answer(name, camera_vector(camera)) for name in asked)]

    def _answer(self, name: str, query: Tensor) -> Said:
        answer = cast(Head, self.network.nodes[name])(query.to(self.device)[None, None], self._reads()[name])
        truth = self._truth(self._data[name]) if not self._query(name) else None
        return say(name, self._data[name], answer, truth)

    def _truth(self, data: str) -> Tensor | None:
        try:
            known = self.scenes.observations(data) == 0
        except ValueError:  # the scenes have no such data
            return None
        truth = self.scenes.answer(data, self.scene) if known else None
        return None if truth is None else truth.to(self.device)

    def _reads(self) -> Mapping[str, Tensor]:
        """Return what heads read, encoded once a change."""
        if not self._known.reads:
            for sign, scene in self.what_if.terms(self.scene):
                for task, r in self.network.read(self._shown(scene)).items():
                    known = self._known.reads.get(task)
                    self._known.reads[task] = sign * r if known is None else known + sign * r
        return self._known.reads

    def _informed(self, truth: Views) -> Tensor | None:
        """Return what the head that draws would read if it were shown the truth too; None where it has no use of it."""
        (_, scene), *others = self.what_if.terms(self.scene)
        informed = self.network.informed(self.drawing, self._shown(scene), truth)
        if informed is None:
            return None
        rest = (sign * self.network.read(self._shown(other))[self.drawing] for sign, other in others)
        return sum(rest, start=informed)

    def _shown(self, scene: int) -> dict[str, Views]:
        """Return the context views of a scene, by sense; a sense that is off or observed nothing is left out."""
        shown = {}
        for name, on in self.senses.items():
            chosen = sorted(self.chosen[self._data[name]])
            views = self._observe(self._data[name], scene, chosen) if on and chosen else None
            if views is not None:
                shown[name] = views
        return shown

    def _observe(self, data: str, scene: int, chosen: Sequence[int]) -> Views | None:
        observed = self.scenes.observe(data, scene, chosen)
        return None if observed is None else Views(*(tensor[None] for tensor in observed)).to(self.device)

    def _check(self, scene: int) -> None:
        if not 0 <= scene < len(self.scenes):
            raise NoSuchItem(f"scene {scene}: there are {len(self.scenes)}, counted from 0")

    def _query(self, task: str) -> int:
        return int(self.network.spec[task].options["query"])

    def _draws(self, task: str) -> bool:
        shape = self.network.trials[task].shape
        return self._query(task) == CAMERA_NUMBERS and len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2]

    def _frames_data(self) -> str:
        """Return the data whose observations are shown as recorded views; "" where none are pictures."""
        for name in (*self.drawings, *self.senses):
            options = self.network.spec[name].options
            shape = tuple(options["target" if name in self.drawings else "frame"])
            if len(shape) == 3 and shape[0] == 3 and self.scenes.observations(self._data[name]):
                return self._data[name]
        return ""

    def _first(self, data: str) -> list[int]:
        if data in self.pictured:
            return [self.views[place] for place in evenly(len(self.views), CONTEXT)]
        return evenly(self.counts[data], min(CONTEXT, self.counts[data]))

    def _same_poses(self, data: str) -> bool:
        if not self.views or self.counts[data] != self.scenes.observations(self.frames):
            return False
        poses = [views.cameras for name in (data, self.frames) if (views := self._observe(name, 0, self.views[:1]))]
        return len(poses) == 2 and poses[0].shape == poses[1].shape and torch.equal(*poses)


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 to count - 1, evenly."""
    return list(range(count)) if count <= most else [place * count // most for place in range(most)]


def image(frame: Tensor) -> Frame:
    """Return a frame (c, h, w) of 0 to 1 as bytes (h, w, 3)."""
    pixels = as_bytes(frame).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
