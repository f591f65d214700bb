"""Worlds without end: training scenes that are drawn as they are asked for, none twice, without a file.

Scene i goes on where a drawn dataset ends: it is the training scene i that `gqn.data.generate` draws of the same world
and the same seed, and its frames are the numbers that a converted dataset holds. Held-out scenes have a numbering of
their own, so no training scene is among them.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gqn.data.batches import ENDLESS
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.generate import generate, labels_text, recorded, stream
from gqn.data.labelled_scenes import LabelledScenes
from gqn.scenes import FAMILIES
from gqn.scenes.family import Family

SUFFIX = ":endless"
BEFOREHAND = 200  # training scenes that are drawn for the probes and the mean image of a run on a world's name


class EndlessDataset(SceneDataset):
    """Training scenes without end of the world of a drawn dataset, from the first one of the dataset itself on.

    Args:
        directory: the dataset's folder.
        size: as for a `SceneDataset`.

    Raises:
        DatasetError: where the dataset was not drawn by `gqn.data.generate`, or is not converted.
    """

    def __init__(self, directory: str | Path, *, size: int = 0) -> None:
        self.family, self.seed = _world(Path(directory))
        self._seen_only = replace(self.family, senses=())  # frames cost less without further senses
        super().__init__(directory, "train", size=size)

    def __len__(self) -> int:
        return ENDLESS

    def sensed(self, index: int, name: str) -> Tensor:
        if name not in self.further:
            return super().sensed(index, name)  # which says what there is
        return torch.from_numpy(self.family.scene(stream(self.seed, "train", index), views=()).tensors[name])

    def labels(self, index: int) -> dict[str, Any]:
        """Return the ground truth of a scene, as the file of a drawn dataset gives it."""
        return json.loads(labels_text(self.family.setting(stream(self.seed, "train", index)).labels))

    def _recorded(self, index: int, views: list[int]) -> tuple[list[bytes], Tensor]:
        scene = self._seen_only.scene(stream(self.seed, "train", index), views=views)
        jpegs, cameras = recorded(self.family, scene)
        return jpegs, torch.from_numpy(cameras)[views]


class EndlessScenes(LabelledScenes):
    """Scenes of an `EndlessDataset` as networks ask for them, with the answers of those that were drawn before.

    Args:
        drawn: the dataset's own training scenes, whose labels tell which answers there are.
    """

    def __init__(self, drawn: LabelledScenes) -> None:
        dataset = drawn.scenes
        super().__init__(EndlessDataset(dataset.folder.parents[1], size=dataset.pixels))
        self.labels = drawn.labels

    def labels_of(self, scene: int) -> Mapping[str, Any]:
        assert isinstance(self.scenes, EndlessDataset)
        return self.scenes.labels(scene)


def is_endless(data: str) -> bool:
    """Return whether a dataset's name asks for a world without end."""
    return data.endswith(SUFFIX)


def folder_of(data: str) -> str:
    """Return the folder that a dataset's name leads to, of an endless one that which is drawn already."""
    return data.removesuffix(SUFFIX)


def begun(data: str, directory: Path, *, seed: int, test_scenes: int) -> str:
    """Return an endless dataset's name by the folder of its drawn scenes, which of a world by its name are drawn first.

    Args:
        data: FOLDER:endless, the folder of a drawn and converted dataset, as it comes back; or WORLD:endless.
        directory: where to draw the held-out scenes of a world, their twins, and BEFOREHAND training scenes.
        seed: of the world's scenes.
        test_scenes: held-out scenes.

    Raises:
        DatasetError: where the name is neither.
    """
    name = folder_of(data)
    if name not in FAMILIES:
        if not Path(name).is_dir():
            raise DatasetError(
                f"{data}: {name} is no folder of a drawn dataset and no world, only {', '.join(FAMILIES)}"
            )
        _world(Path(name))
        return data
    folder = generate(name, directory, BEFOREHAND, seed, test_scenes=test_scenes, twins=True)
    convert(folder, 100)
    return f"{folder}{SUFFIX}"


def _world(directory: Path) -> tuple[Family, int]:
    """Return the family of a drawn dataset's scenes, and their seed."""
    try:
        described = json.loads((directory / "dataset.json").read_text())
        return FAMILIES[described["family"]](**described["options"]), int(described["seed"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{directory}{SUFFIX}: not drawn by scripts/generate-scenes.py, so it can't go on ({error!r})"
        ) from error
