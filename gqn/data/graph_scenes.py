"""Scenes of a converted dataset as a graph asks for them: by the names of their data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gqn.camera import camera_vector
from gqn.data.dataset import DatasetError, SceneDataset

FRAMES = "frames"
Answers = Mapping[str, Sequence[Any]]


class LabelledScenes:
    """A dataset's frames, and answers that come with it.

    answers: by name, one for each scene: numbers in any nesting, or None where it is not known.
    """

    def __init__(self, scenes: SceneDataset, answers: Answers) -> None:
        self.scenes, self.answers = scenes, answers
        for name, values in answers.items():
            if len(values) != len(scenes):
                raise DatasetError(f"{len(values)} answers '{name}' for {len(scenes)} scenes")

    def __len__(self) -> int:
        return len(self.scenes)

    def observations(self, data: str) -> int:
        if data == FRAMES:
            return self.scenes.views
        if data not in self.answers:
            known = ", ".join([FRAMES, *self.answers])
            raise ValueError(f"dataset {self.scenes.name} has no data '{data}', only {known}: name them in the graph")
        return 0

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        frames, cameras = self.scenes.scene(scene)
        return frames[chosen].float() / 255, camera_vector(cameras[chosen])

    def answer(self, data: str, scene: int) -> Tensor | None:
        value = self.answers[data][scene]
        return None if value is None else torch.as_tensor(value, dtype=torch.float32)
