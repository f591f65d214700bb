"""Errors, intervals and calibration where their values are known."""

import numpy as np
import pytest
import torch
from closed_form import LinearGaussian, posing
from torchmetrics.functional.image import peak_signal_noise_ratio

from gqn.data.batches import EvaluationBatch
from gqn.evaluation.metrics import (
    LEVELS,
    MEASURES,
    PREDICTIONS,
    calibration,
    calibration_in_figures,
    correlation_with_interval,
    in_figures,
    mean_with_interval,
    measures,
    predictions,
    rank_correlation,
    shares,
)

SIGMA, SCALE, LATENTS, PIXELS = 0.02, 0.5, 8, 12
VARIANCE = LATENTS * SCALE**2 / (3 * PIXELS**2)  # of a value of the frame, by the latents


def linear(**changes: float) -> LinearGaussian:
    return LinearGaussian(pixels=PIXELS, latents=LATENTS, scale=SCALE, sigma=SIGMA, **changes)


def items(network: LinearGaussian, count: int) -> EvaluationBatch:
    """Scenes whose context has the brightness of the model's mean, and shuffled ones that are darker by 0.1."""
    torch.manual_seed(0)
    context = torch.full((count, 3, 3, PIXELS, PIXELS), 0.5).double()
    context[:, 1:] += torch.tensor([0.05, -0.05]).double()[None, :, None, None, None]
    batch = posing(context, network.frames(count, 0.5))
    return EvaluationBatch(0, batch, posing(context - 0.1, batch.query.frames[:, 0]))


def test_expected_errors_of_a_linear_gaussian_model() -> None:
    network = linear()
    item = items(network, 200)
    samples = 4
    frames, imagined = predictions(network, item, torch.full((3, PIXELS, PIXELS), 0.4), samples, context=3)
    assert tuple(frames) == PREDICTIONS
    assert imagined.shape == (samples, 200, 3, PIXELS, PIXELS)
    truth = item.batch.query.frames[:, 0]
    error = {name: (frame - truth).square().mean().item() for name, frame in frames.items()}
    assert error["prior_sample"] == pytest.approx(2 * VARIANCE + SIGMA**2, rel=0.1)
    assert error["prior_mean"] == pytest.approx((1 + 1 / samples) * VARIANCE + SIGMA**2, rel=0.1)
    assert error["shuffled_mean"] == pytest.approx((1 + 1 / samples) * VARIANCE + SIGMA**2 + 0.01, rel=0.1)
    assert error["shuffled_sample"] == pytest.approx(2 * VARIANCE + SIGMA**2 + 0.01, rel=0.1)
    assert error["mean_image"] == pytest.approx(VARIANCE + SIGMA**2 + 0.01, rel=0.1)
    assert error["nearest_context_view"] == pytest.approx(VARIANCE + SIGMA**2, rel=0.1)
    assert error["reconstruction"] == pytest.approx(SIGMA**2, rel=0.1)  # of which the posterior takes up some
    each = (imagined - truth).square().mean(dim=(2, 3, 4))
    assert error["prior_best"] == pytest.approx(each.min(dim=0).values.mean().item())


def test_the_nearest_context_view_is_by_the_camera() -> None:
    item = items(linear(), 2)
    item.batch.context.cameras[:, :, 0] = torch.tensor([[5.0, 1.0, -2.0], [0.5, 3.0, -2.0]])
    frames, _ = predictions(linear(), item, torch.zeros(3, PIXELS, PIXELS), 2, context=3)
    context = item.batch.context.frames
    assert torch.equal(frames["nearest_context_view"], torch.stack([context[0, 1], context[1, 0]]))
    fewer, _ = predictions(linear(), item, torch.zeros(3, PIXELS, PIXELS), 2, context=1)
    assert torch.equal(fewer["nearest_context_view"], context[:, 0])


def test_measures_are_those_of_the_literature() -> None:
    torch.manual_seed(0)
    truth = torch.rand(6, 3, 16, 16)
    predicted = truth + 0.1 * torch.randn_like(truth)
    found = dict(zip(MEASURES, measures(predicted, truth).unbind(dim=1), strict=True))
    for i in range(6):
        psnr = peak_signal_noise_ratio(predicted[i].clamp(0, 1), truth[i], data_range=1.0)
        torch.testing.assert_close(found["psnr_db"][i], psnr)
    assert (found["ssim"] < 0.99).all()
    assert measures(truth, truth)[:, 3] == pytest.approx(1)


def test_both_conventions_of_the_root_mean_square_error() -> None:
    errors = torch.tensor([[0.01, 20.0, 0.1, 0.5], [0.09, 10.0, 0.2, 0.7]])
    found = in_figures(errors, seed=0)
    assert found["rmse_255_mean_of_roots"]["mean"] == pytest.approx(255 * 0.2)
    assert found["rmse_255_root_of_mean"]["mean"] == pytest.approx(255 * 0.05**0.5)
    assert found["mae_255"]["mean"] == pytest.approx(255 * 0.15)
    assert found["psnr_db"]["mean"] == pytest.approx(15)
    assert found["ssim"]["mean"] == pytest.approx(0.6)


def test_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=400)
    found = mean_with_interval(values, seed=0)
    half = 1.96 * values.std() / 20
    assert found["interval_95"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.2 * half)
    assert mean_with_interval(values[:1], seed=0) == {"mean": values[0]}


def test_rank_correlation() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert np.isnan(rank_correlation(a, torch.ones(4)))
    assert correlation_with_interval(a, torch.ones(4), 0) is None
    random = torch.Generator().manual_seed(0)
    wide = torch.rand(200, generator=random)
    found = correlation_with_interval(wide, wide + torch.rand(200, generator=random), 0)
    low, high = found["interval_95"]
    assert 0.3 < low < found["value"] < high < 0.9


def calibrated(sigma: float, count: int = 60) -> dict[str, torch.Tensor]:
    network = linear()
    item = items(network, count)
    imagined = network.sample(item.batch.context, item.batch.query.cameras, 150)[:, :, 0]
    return calibration(imagined, item.batch.query.frames[:, 0], torch.full((count,), sigma))


def test_the_model_that_made_the_frames_is_calibrated() -> None:
    rows = calibrated(SIGMA)
    levels = torch.tensor(LEVELS)
    torch.testing.assert_close(rows["coverage"].mean(dim=0), levels, rtol=0, atol=0.03)
    torch.testing.assert_close(rows["coverage_uncertain"].mean(dim=0), levels, rtol=0, atol=0.03)
    torch.testing.assert_close(
        rows["quarter_variance"].mean(dim=0), rows["quarter_error"].mean(dim=0), rtol=0.15, atol=0
    )
    torch.testing.assert_close(rows["spread"].mean().item(), VARIANCE, rtol=0.05, atol=0)
    assert (rows["quarter_variance"].diff(dim=1) > 0).all()
    figures = calibration_in_figures(rows, seed=0)
    assert figures["rank_correlation_within_frames"]["mean"] > 0.1
    assert figures["coverage"]["90%"]["mean"] == pytest.approx(0.9, abs=0.03)


def test_too_small_or_too_large_a_sigma_shows_in_the_coverage() -> None:
    levels = torch.tensor(LEVELS)
    assert (calibrated(0.1)["coverage"].mean(dim=0) > levels + 0.02).all()
    network = linear()
    item = items(network, 30)
    sure = network.sample(item.batch.context, item.batch.query.cameras, 1)[:, :, 0].expand(20, -1, -1, -1, -1)
    rows = calibration(sure, item.batch.query.frames[:, 0], torch.full((30,), SIGMA))
    assert (rows["coverage"].mean(dim=0) < levels - 0.1).all()


def test_a_background_that_is_certain_is_within_an_interval_as_often_as_it_says() -> None:
    """Black frames, of which the prediction is sure: where in level 0 a value lies is drawn at random."""
    torch.manual_seed(0)
    black = torch.zeros(2, 3, 32, 32)
    rows = calibration(black[None], black, torch.full_like(black, 2e-4))
    torch.testing.assert_close(rows["coverage"], torch.tensor(LEVELS).expand(2, -1), rtol=0, atol=0.03)


def test_answers_that_tie_share_the_choice() -> None:
    found = shares(torch.tensor([[0.0, 1, 2], [1, 0, 0], [3, 3, 3]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]).double())
