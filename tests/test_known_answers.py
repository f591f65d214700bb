"""What is published of a network, of stub networks whose answers are known."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from gqn.batch import Views
from gqn.data.dataset import SceneDataset
from gqn.distributed import Processes
from gqn.gqn import GenerativeQueryNetwork
from gqn.objective import Gaussian
from gqn.probes import neighbours, representations
from gqn.rotation import scene_behind_a_view
from gqn.scenes.shepard_metzler import ShepardMetzler
from gqn.subject import Options, Subject

PIXELS, SCENES, VIEWS = 12, 10, 8
IDENTITY, ELSE = 0, 1  # channels of a frame: what it is of, and what else makes its pixels differ


class Stub:
    """Represents a view by some channels, each the same all over a frame, and paints them as they are."""

    def __init__(self, *channels: int) -> None:
        self.channels = list(channels)
        self.generator = self

    def encode(self, context: Views) -> Tensor:
        return context.frames[:, :, self.channels, :2, :2].mean(dim=1)

    def paint(self, canvas: Tensor) -> Tensor:
        return canvas

    def steps(self, cameras: Tensor, r: Tensor, frames: Tensor) -> Iterator[Any]:
        """The frame itself, but for what r says."""
        canvas = frames.clone()
        canvas[:, :, self.channels] = r[:, None, :, :1, :1]
        zero = torch.zeros(canvas.shape[0] * canvas.shape[1], 1, 1, 1)
        same = Gaussian(zero, zero)
        yield SimpleNamespace(latent=zero, posterior=same, prior=same, canvas=canvas.flatten(0, 1))


class Scenes:
    """Scene n is of n; its views differ from each other far more, and alike in every scene."""

    views, pixels = VIEWS, PIXELS

    def __len__(self) -> int:
        return SCENES

    def scene(self, index: int, views: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(range(VIEWS) if views is None else views)
        frames = torch.zeros(len(chosen), 3, PIXELS, PIXELS, dtype=torch.uint8)
        frames[:, IDENTITY] = 2 * index
        frames[:, ELSE] = (30 * chosen)[:, None, None].byte()
        return frames, torch.zeros(len(chosen), 5)


KNOWS, BLIND, DEAD = Stub(IDENTITY), Stub(ELSE), Stub(2)


def subject(network: Stub) -> Subject:
    return Subject(
        network=cast(GenerativeQueryNetwork, network),
        untrained=cast(GenerativeQueryNetwork, BLIND),
        scenes=cast(SceneDataset, Scenes()),
        baseline=torch.zeros(3, PIXELS, PIXELS),
        sigma=0.01,
        options=Options(context=3, most_context=3, samples=4, trials=4, batch=4),
        processes=Processes(0, 1, torch.device("cpu")),
        dataset=Path("none"),
        family=ShepardMetzler(size=PIXELS, cameras="ring"),
    )


@pytest.mark.parametrize(("network", "right"), [(KNOWS, 1.0), (DEAD, 0.1)])
def test_the_scene_behind_a_view(network: Stub, right: float) -> None:
    found = scene_behind_a_view(subject(network))[0]["scene_behind_a_view"]
    assert found["ways"] == 10
    assert found["by_likelihood"]["mean"] == pytest.approx(right)
    assert found["by_representation"]["mean"] == pytest.approx(right)


@pytest.mark.parametrize(("network", "right"), [(KNOWS, 1.0), (BLIND, 0.0), (DEAD, 7 / 79)])
def test_neighbours(network: Stub, right: float) -> None:
    """One that sees the view alone finds other scenes' views; one that sees nothing finds any of the 79."""
    found, drawn = neighbours(subject(network))
    assert found["neighbours"]["accuracy_by_representation"]["mean"] == pytest.approx(right)
    assert found["neighbours"]["accuracy_by_pixels"]["mean"] == 0
    assert set(drawn) == (set() if network is DEAD else {"t-sne"})


def test_the_control_of_the_probes_is_the_untrained_network() -> None:
    found = representations(subject(KNOWS), cast(SceneDataset, Scenes()), SCENES)
    of_the_scene = 2 / 255 * np.arange(SCENES)[:, None].repeat(4, axis=1)
    np.testing.assert_allclose(found["representation"], of_the_scene, atol=1e-6)
    of_the_views = found["untrained_network"] * 255 / 30 * 3  # the sum of the three views' numbers
    np.testing.assert_allclose(of_the_views, of_the_views.round(), atol=1e-4)
    assert of_the_views.min() >= 3  # 0 + 1 + 2
