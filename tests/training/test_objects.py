"""Object gain: a painter of the truth has all of it, one that knows floors and walls alone has none."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gqn.core.views import Views
from gqn.data.convert import convert
from gqn.data.dataset import TWINS, SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.training.objects import check_twins, errors_where_different, object_gain


class Pictures:
    """Scenes of a grey ground with one white pixel, each view of a scene alike."""

    def __init__(self, column: int) -> None:
        self.column = column

    def __len__(self) -> int:
        return 5

    def observations(self, data: str) -> int:
        return 4

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        frames = torch.full((3, 8, 8), 0.1 * scene)
        frames[:, scene, self.column] = 1
        return frames.expand(len(chosen), -1, -1, -1), torch.full((len(chosen), 7), float(scene))

    def answer(self, data: str, scene: int) -> None:
        return None


def test_who_copies_the_context_has_all_the_gain_and_who_paints_the_ground_has_none() -> None:
    def copied(context: Views, cameras: Tensor) -> Tensor:
        return context.frames[:, :1]

    def ground(context: Views, cameras: Tensor) -> Tensor:
        return context.frames[:, :1, :, -1:, -1:].expand(-1, -1, -1, 8, 8)

    scenes, twins = Pictures(2), Pictures(5)
    own = object_gain(copied, scenes, twins, context=2, seed=0)
    assert own["psnr_db"] == pytest.approx(100)
    assert own["gain_db"] > 90
    assert own["mae"] == 0
    assert own["pixels"] == pytest.approx(2 / 64)
    assert own["scenes"] == 5
    none = object_gain(ground, scenes, twins, context=2, seed=0)
    assert none["gain_db"] == 0
    assert none["mae"] > 0.3
    assert object_gain(copied, twins, scenes, context=2, seed=0, limit=3, batch=2)["scenes"] == 3
    assert object_gain(copied, scenes, scenes, context=2, seed=0) == {}


def test_only_pixels_that_differ_count() -> None:
    truth, twin = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    twin[0, 1, 2, 3] = 1  # in one channel of one pixel
    predicted = torch.ones(1, 3, 4, 4)
    predicted[0, :, 2, 3] = torch.tensor([0.1, 0.2, 0.3])
    psnr, mae = errors_where_different(predicted, truth, twin)[0].tolist()
    assert mae == pytest.approx(0.2)
    assert psnr == pytest.approx(-10 * torch.tensor(0.14 / 3).log10().item(), abs=1e-4)
    assert errors_where_different(predicted, truth, truth).isnan().all()


def test_twins_of_drawn_scenes_are_known_from_other_scenes(tmp_path: Path) -> None:
    options = {"test_scenes": 2, "twins": True, "size": 8, "views": 3, "workers": 1, "progress": False}
    folder = generate("shepard_metzler_5_parts", tmp_path, 2, 0, **options)
    convert(folder, 2, workers=1, progress=False)
    train, test, twins = (LabelledScenes(SceneDataset(folder, split)) for split in ("train", "test", TWINS))
    check_twins(test, twins)
    with pytest.raises(ValueError, match="the twins are of other scenes"):
        check_twins(train, twins)
