"""Metrics and evaluation on stand-ins whose answers are known."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gqn.core.distributed import Processes
from gqn.core.views import Batch, Views
from gqn.data.batches import FLAT, evaluation_batches
from gqn.figures.predictions import predictions
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Answer, PixelNormal
from gqn.training.validation import evaluate, image_errors, mean_image, scalars, shared_out


class Flat:
    """Scenes of one brightness each, of 4 pixels, whose cameras tell it: x is the brightness of 0 to 255."""

    views, pixels = 5, 4

    def __init__(self, brightness: list[int]) -> None:
        self.brightness = brightness

    def __len__(self) -> int:
        return len(self.brightness)

    def observations(self, data: str) -> int:
        return self.views

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        cameras = torch.zeros(len(chosen), 7)
        cameras[:, 0] = self.brightness[scene]
        return torch.full((len(chosen), 3, 4, 4), self.brightness[scene] / 255), cameras

    def answer(self, data: str, scene: int) -> Tensor | None:
        raise AssertionError(data)


class Stand(RecursiveGQN):
    """Reconstructs without error at 2 nats, and imagines what `imagine` says of the context."""

    def __init__(self, imagine, sigma: float = 0.5) -> None:
        super().__init__()
        cores = {"hidden": 2, "canvas": 2, "generation_steps": 2}
        self.add_sense("vision", "pool", frame=(3, 4, 4), channels=2)
        self.add_task("render", "render", ["vision"], target=(3, 4, 4), query=7, sigma=sigma, **cores)
        self.imagine = imagine

    def forward(self, batch: Batch) -> dict[str, Answer]:
        frames = batch.query.frames
        kl = torch.ones(*batch.query.cameras.shape[:2], 2)
        return {"render": Answer(frames, kl, PixelNormal(frames, self.nodes["render"].sigma))}

    def sample(self, senses, cameras: Tensor, samples: int = 1, task: str = "") -> Tensor:
        value = self.imagine(senses["vision"])  # (b,)
        return value[None, :, None, None, None, None].expand(samples, -1, cameras.shape[1], 3, 4, 4)


ALONE = Processes(0, 1, torch.device("cpu"))


def report(imagine, brightness: list[int], **changes):
    scenes = Flat(brightness)
    arguments = {"context": 2, "samples": 3, "seed": 0, "processes": ALONE, "batch": 2} | changes
    return evaluate(Stand(imagine), scenes, FLAT, mean_image(scenes), **arguments)["render"]


def test_errors_of_an_image() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    errors = image_errors(torch.stack([truth[0] + 0.1, truth[1] - 7]), truth)
    torch.testing.assert_close(errors[0], torch.tensor([0.01, 20.0, 0.1]))
    torch.testing.assert_close(errors[1], torch.tensor([0.0, 100.0, 0.0]))  # clipped to black


def test_a_perfect_reconstruction_costs_its_kl() -> None:
    result = report(lambda context: context.frames[:, 0, 0, 0, 0], [10, 20, 30])
    assert result["answers"] == 3
    assert result["kl"] == pytest.approx(2)
    assert result["negative_elbo_above_floor"] == pytest.approx(2, abs=1e-4)
    assert result["negative_elbo_floor"] == pytest.approx(48 * (math.log(0.5) + 0.5 * math.log(2 * math.pi)))
    assert result["reconstruction"]["mse"] == 0


def test_context_gain_tells_who_uses_the_context() -> None:
    brightness = [10, 100, 200]
    oracle = report(lambda context: context.frames[:, 0, 0, 0, 0], brightness)
    assert oracle["prior_sample"]["mse"] == pytest.approx(0, abs=1e-12)
    # Shuffled context: 100, 200 and 10 in the place of 10, 100 and 200.
    squares = [(a - b) ** 2 / 255**2 for a, b in zip(brightness, [100, 200, 10], strict=True)]
    assert oracle["shuffled_sample"]["mse"] == pytest.approx(sum(squares) / 3, rel=1e-5)
    assert oracle["context_gain_db"] > 50
    blind = report(lambda context: torch.full((len(context.frames),), 0.4), brightness)
    assert blind["context_gain_db"] == pytest.approx(0)
    assert blind["prior_mean"] == blind["shuffled_mean"]


def test_mean_image_is_the_baseline() -> None:
    scenes = Flat([0, 51, 102])
    torch.testing.assert_close(mean_image(scenes), torch.full((3, 4, 4), 0.2))
    result = report(lambda context: torch.zeros(len(context.frames)), [0, 51, 102])
    assert result["mean_image"]["mse"] == pytest.approx((0.2**2 + 0 + 0.2**2) / 3, rel=1e-5)


def test_limit_and_batch_size_do_not_change_a_scene() -> None:
    def imagine(context: Views) -> Tensor:
        return context.frames.mean(dim=(1, 2, 3, 4)) / 2

    brightness = list(range(0, 250, 50))
    whole, pieces = (report(imagine, brightness, batch=size) for size in (5, 2))
    assert whole["prior_sample"] == pytest.approx(pieces["prior_sample"])
    assert report(imagine, brightness, limit=3)["answers"] == 3


def test_scalars_by_their_path() -> None:
    report = {"scenes": 3, "rows": [{"mean": 0.5}, {"mean": 0.25, "none": None}], "at": {"sigma": 0.3}, "name": "x"}
    assert dict(scalars(report)) == {"rows/0/mean": 0.5, "rows/1/mean": 0.25, "at/sigma": 0.3}


def test_one_scene_has_no_shuffled_context() -> None:
    result = report(lambda context: context.frames[:, 0, 0, 0, 0], [10])
    assert result["shuffled_sample"] is result["context_gain_db"] is None
    assert result["prior_sample"]["mse"] == pytest.approx(0, abs=1e-12)


def test_picture_shows_samples_and_reconstruction_apart() -> None:
    item = next(evaluation_batches(Flat([0, 60, 120]), batch=3, context=2, seed=0))
    figure = predictions(Stand(lambda context: context.frames[:, 0, 0, 0, 0]), item.batch, item.shuffled, samples=4)
    images = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in images if axes.get_title()]
    assert titles[:3] == ["context 1", "context 2", "truth"]
    assert "prior sample 1" in titles
    assert "reconstruction\n(saw the truth)" in titles
    assert len(images) == 3 * len(titles)
    gaps = [axes for axes in figure.axes if not axes.images]
    assert len(gaps) == 3 * 4  # between context, truth, samples, reconstruction, shuffled context
    row = [axes.images[0].get_array()[0, 0, 0] for axes in images[: len(titles)]]
    assert row[titles.index("mean of 4, shuffled\ncontext")] == pytest.approx(60 / 255)
    assert row[titles.index("truth")] == row[titles.index("prior sample 1")] == 0


def test_a_failure_of_another_process_is_raised_here_too() -> None:
    """An exception of one process is raised here, so that this process does not go on to the next section."""

    met = []

    class Two(Processes):
        def gather(self, value: Any) -> list[Any]:
            met.append(value)
            return [value, ({}, RuntimeError("the other one"))]

    def work(number: int) -> dict[str, Tensor]:
        if number == 2:
            raise RuntimeError("this one")
        return {"row": torch.zeros(1)}

    two = Two(0, 2, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="the other one"):
        shared_out(two, [0, 1, 1], work, seed=0, title="")
    with pytest.raises(RuntimeError, match="this one"):
        shared_out(two, [0, 1, 2], work, seed=0, title="")
    assert len(met) == 2  # the other process does not wait in vain
