"""Published measures of a network, on stub networks whose answers are known."""

from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from gqn.core.distributed import Processes
from gqn.core.views import Views
from gqn.data.batches import FLAT
from gqn.data.labelled_scenes import LabelledScenes
from gqn.evaluation.mental_rotation import hidden_parts, mental_rotation, scene_behind_a_view
from gqn.evaluation.probes import neighbours, representations, scene_algebra
from gqn.evaluation.stimuli import ExchangeTrial, HiddenTrial, MirrorTrial
from gqn.evaluation.subject import Options, Subject
from gqn.models.graph import RecursiveGQN
from gqn.models.losses import Gaussian, Latent
from gqn.models.outputs import Grid
from gqn.scenes.shepard_metzler import ShepardMetzler

PIXELS, SCENES, VIEWS = 12, 10, 8
IDENTITY, ELSE = 0, 1  # channels of a frame: what it is of, and what else makes its pixels differ


class Stub:
    """Represents a view by some channels, each the same all over a frame, and paints them as they are."""

    def __init__(self, *channels: int) -> None:
        self.channels = list(channels)
        self.generator = self
        self.scene = None
        self.nodes = {"render": self}
        self.trials = {"vision": SimpleNamespace(output=Grid(len(channels), 2, 2))}

    def encode(self, context: Views) -> Tensor:
        return context.frames[:, :, self.channels, :2, :2].mean(dim=1)

    def informed(self, task: str, senses: Any, answers: Views) -> None:
        """It has no posterior that would take it."""

    def paint(self, step: Any) -> Tensor:
        return step.canvas

    def __call__(self, cameras: Tensor, r: Tensor) -> Any:
        """Yield steps as `steps` does, of a frame that is not seen: black."""
        frames = torch.zeros(*cameras.shape[:2], 3, PIXELS, PIXELS)
        frames[:, :, self.channels] = r[:, None, :, :1, :1]
        return SimpleNamespace(mean=frames)

    def steps(self, cameras: Tensor, r: Tensor, frames: Tensor) -> Iterator[Any]:
        """The frame itself, but for what r says."""
        canvas = frames.clone()
        canvas[:, :, self.channels] = r[:, None, :, :1, :1]
        zero = torch.zeros(canvas.shape[0] * canvas.shape[1], 1, 1, 1)
        same = Gaussian(zero, zero)
        yield SimpleNamespace(latent=Latent(zero, same, same), canvas=canvas.flatten(0, 1))


class Scenes:
    """Scene n is of n; its views differ from each other far more, and alike in every scene."""

    def __len__(self) -> int:
        return SCENES

    def observations(self, data: str) -> int:
        return VIEWS

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        frames = torch.zeros(len(chosen), 3, PIXELS, PIXELS)
        frames[:, IDENTITY] = 2 * scene / 255
        frames[:, ELSE] = (30 / 255 * torch.tensor(chosen))[:, None, None]
        return frames, torch.zeros(len(chosen), 7)


KNOWS, BLIND, DEAD = Stub(IDENTITY), Stub(ELSE), Stub(2)


def subject(network: Stub) -> Subject:
    return Subject(
        network=cast(RecursiveGQN, network),
        untrained=cast(RecursiveGQN, BLIND),
        asked=FLAT,
        scenes=cast(LabelledScenes, Scenes()),
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


def views(*values: tuple[float, float]) -> Views:
    """One scene's views, each of a value in IDENTITY and one in ELSE."""
    frames = torch.zeros(1, len(values), 3, PIXELS, PIXELS)
    frames[:, :, : len(values[0])] = torch.tensor(values)[None, :, :, None, None]
    return Views(frames, torch.zeros(1, len(values), 7))


def test_mental_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror image looks more like the context from 6 of the 11 angles and is always nearer in its pixels.

    From one more angle the two are the same.
    """
    same = views(*[(0.2, 0.9)] * 6, (0.3, 0.5), *[(0.4, 0.9)] * 4)
    mirror = views(*[(0.4, 0.5)] * 6, (0.3, 0.5), *[(0.2, 0.5)] * 4)
    trial = MirrorTrial(views((0.1, 0.1)), same.frames[0], mirror.frames[0], same.cameras[0])
    monkeypatch.setattr("gqn.evaluation.mental_rotation.mirror_trial", lambda *_: trial)
    found = mental_rotation(subject(KNOWS))[0]["mental_rotation"]
    for choice, right in (
        ("likelihood", [1.0] * 6 + [0.5] + [0.0] * 4),
        ("representation", [1.0] * 6 + [0.5] + [0.0] * 4),
        ("pixels", [0.0] * 6 + [0.5] + [0.0] * 4),
    ):
        row = found[f"by_{choice}"]
        assert [angle["mean"] for angle in row["accuracy"]] == right == row["separation"]
        assert row["accuracy_at_all_angles"]["mean"] == pytest.approx(np.mean(right))


def hand_made_trial(hues: int, near: list[int]) -> HiddenTrial:
    """Three places, each a row of the frame; the second would show in the context. A body is below them."""
    colours = torch.tensor([hsv_to_rgb(hue / hues, 1, 1) for hue in range(hues)])
    answers = torch.zeros(3, hues, 3, PIXELS, PIXELS)
    answers[..., 3:, :] = 0.5
    for place in range(3):
        answers[place, :, :, place] = colours[..., None]
    return HiddenTrial(
        context=views((0.0, 0.0)), revealing=views((1.0, 0.0)), camera=torch.zeros(7), answers=answers,
        possible=np.array([True, False, True]), weight=np.array([0.25, 0, 0.75]), truth=answers[2, 1], place=2, hue=1,
        near=np.array(near),
    )  # fmt: skip


class Guesses:
    """Four samples: the truth where the part was shown, and guesses where it was not."""

    def __init__(self, trial: HiddenTrial) -> None:
        self.trial = trial

    def sample(self, context: Views, cameras: Tensor, count: int) -> Tensor:
        guesses = [(2, 1), (2, 2), (0, 1), (1, 0)] if context.frames.max() == 0 else [(2, 1)] * 4
        return torch.stack([self.trial.answers[place, hue] for place, hue in guesses])[:, None, None]


@pytest.mark.parametrize(("hues", "near", "on_the_truth"), [(12, [0, 1, 2], 0.5), (3, [1], 0.25)])
def test_hidden_parts(hues: int, near: list[int], on_the_truth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = hand_made_trial(hues, near)
    monkeypatch.setattr("gqn.evaluation.mental_rotation.hidden_trial", lambda *_: trial)
    row = hidden_parts(subject(cast(Stub, Guesses(trial))))[0]["hidden_parts"]
    found = {name: value["mean"] for name, value in row.items() if isinstance(value, dict)}
    assert found["places"] == 3
    assert found["possible_places"] == 2
    assert found["hidden_answers_covered"] == pytest.approx(3 / (2 * hues))
    assert found["hidden_share_on_possible_places"] == 0.75
    assert found["hidden_share_on_the_truth"] == on_the_truth
    assert found["hidden_rmse_of_the_best_sample_255"] == 0
    assert found["hidden_deviation_elsewhere_255"] == 0
    assert found["hidden_deviation_of_the_part_255"] > 50
    assert found["revealed_answers_covered"] == pytest.approx(1 / (2 * hues))
    assert found["revealed_share_on_possible_places"] == found["revealed_share_on_the_truth"] == 1
    assert found["revealed_deviation_of_the_part_255"] == found["revealed_rmse_of_a_sample_255"] == 0
    covered = [1 - (1 - weight / hues) ** 4 for weight in (0.25, 0.75)]
    assert found["true_posterior_answers_covered"] == pytest.approx(np.mean(covered))
    assert found["true_posterior_share_on_the_truth"] == pytest.approx(0.75 * len(near) / hues)


def test_scene_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A - B + C is D if r is shape and colour side by side; if r is the colour alone, it is A as much as D."""

    def exchange(family: ShepardMetzler, random: np.random.Generator, context: int) -> ExchangeTrial:
        one, first = random.integers(200, 500, 2) / 1024
        other, second = one + 0.25, first + 0.25
        kinds = [(one, first), (one, second), (other, second), (other, first)]
        frames = torch.cat([views(*[kind] * context).frames for kind in kinds])
        return ExchangeTrial(Views(frames, torch.zeros(4, context, 7)), views(kinds[3]))

    monkeypatch.setattr("gqn.evaluation.probes.exchange_trial", exchange)
    found = scene_algebra(subject(Stub(IDENTITY, ELSE)))[0]["scene_algebra"]
    assert found["candidates"] == SCENES + 4 + 3
    assert found["algebra"]["nearest"]["mean"] == 1
    assert found["random_triple"]["nearest"]["mean"] < 1
    assert found["c_alone"]["nearest"]["mean"] < 1
    psnr = {name: found[name]["psnr_db_of_its_rendering"]["mean"] for name in ("algebra", "d_itself", "c_alone")}
    assert psnr == pytest.approx({"algebra": 100, "d_itself": 100, "c_alone": -10 * np.log10(0.25**2 / 3)}, rel=1e-4)
    by_colour = scene_algebra(subject(Stub(ELSE)))[0]["scene_algebra"]["algebra"]
    assert by_colour["nearest"]["mean"] == 0.5
    assert by_colour["median_rank"] == 1.5


def test_the_control_of_the_probes_is_the_untrained_network() -> None:
    found = representations(subject(KNOWS), cast(LabelledScenes, Scenes()), SCENES)
    of_the_scene = 2 / 255 * np.arange(SCENES)[:, None].repeat(4, axis=1)
    np.testing.assert_allclose(found["representation"], of_the_scene, atol=1e-6)
    of_the_views = found["untrained_network"] * 255 / 30 * 3  # the sum of the three views' numbers
    np.testing.assert_allclose(of_the_views, of_the_views.round(), atol=1e-4)
    assert of_the_views.min() >= 3  # 0 + 1 + 2
