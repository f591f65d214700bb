"""Scenes of a converted dataset as networks ask for them: by the names of their data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.checked import checked
from gqn.core.errors import Error
from gqn.data.batches import FRAMES
from gqn.data.dataset import SceneDataset

CAMERAS = "_cameras"  # after a sense's name, the poses of its probes
# Channels first, as networks take frames.
AXES = {"depth": lambda depth: depth.unsqueeze(1), "normals": lambda normals: normals.permute(0, 3, 1, 2)}


class LabelledScenes:
    """Scenes of a dataset as networks ask for them: frames, observations of further senses, and answers from labels.

    Frames, depth and normals are from the cameras' poses, touch from those of its probes. Frames are black where a
    head-up display covers them: it belongs to no scene, so no network learns it and no measure counts it.

    Args:
        scenes: the dataset.
        labels: of every scene of the split its answers by name, in any nesting, as `gqn.data.labels.scene_labels`
            reads them or as made by hand; the data "objects.0.position" is the value there. None, or a name that a
            scene lacks, is not known.

    Raises:
        Error: where there are too few labels.
    """

    @checked
    def __init__(self, scenes: SceneDataset, labels: Sequence[Mapping[str, Any]] = ()) -> None:
        if len(labels) and len(labels) <= max(scenes.numbers, default=0):
            raise Error(f"labels of {len(labels)} scenes for a split of more: give those of every scene")
        self.scenes = scenes
        self.labels = [labels[number] for number in scenes.numbers] if len(labels) else []

    def __len__(self) -> int:
        return len(self.scenes)

    def observations(self, data: str) -> int:
        if data == FRAMES:
            return self.scenes.views
        if data in self.scenes.further:
            return self.scenes.further[data][0]
        if not any(found(labels, data) is not None for labels in self.labels):
            known = ", ".join([FRAMES, *self.scenes.further, *(self.labels[0] if self.labels else ())])
            raise Error(f"dataset {self.scenes.name} has no data '{data}', only {known}: name them in the graph")
        return 0

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        places = list(chosen)
        if data == FRAMES:
            frames, cameras = self.scenes.scene(scene, places)
            frames = frames.float() / 255
            if self.scenes.covered is not None:
                frames = frames.masked_fill(self.scenes.covered, 0)
            return frames, camera_vector(cameras)
        probes = f"{data}{CAMERAS}"
        own = probes in self.scenes.further
        poses = self.scenes.sensed(scene, probes)[places] if own else self.scenes.scene(scene, places)[1]
        return AXES.get(data, torch.clone)(self.scenes.sensed(scene, data)[places]), camera_vector(poses)

    def labels_of(self, scene: int) -> Mapping[str, Any]:
        """Return the ground truth of a scene."""
        return self.labels[scene]

    def answer(self, data: str, scene: int) -> Tensor | None:
        value = found(self.labels_of(scene), data)
        try:
            answer = None if value is None else torch.as_tensor(value, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise Error(f"data '{data}' of scene {scene} are no numbers: name others in the graph") from None
        if answer is not None and not answer.isfinite().all():
            raise Error(f"data '{data}' of scene {scene} are not finite: mend its labels, or leave them out (null)")
        return answer


def found(labels: Any, path: str) -> Any:
    """Return the value at a path such as "objects.0.position" in nested labels; None where there is none."""
    for name in path.split("."):
        if isinstance(labels, Sequence) and name.isdecimal() and int(name) < len(labels):
            labels = labels[int(name)]
        elif isinstance(labels, Mapping) and name in labels:
            labels = labels[name]
        else:
            return None
    return labels
