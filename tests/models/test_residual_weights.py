"""Weights by residual: more for what is drawn wrong, of one scale, without gradient, none in the report."""

import torch

from gqn.models.losses import log_likelihood, residual_weights


def test_a_pixel_weighs_as_its_share_of_the_frames_error_within_bounds() -> None:
    frames = torch.zeros(1, 3, 10, 10)
    mean = torch.full((1, 3, 10, 10), 0.1, requires_grad=True)
    with torch.no_grad():
        mean[:, :, 0, 0] = 0.2
        mean[:, :, 9, 9] = 5.0
    weights = residual_weights(frames, mean)
    assert weights.shape == (1, 1, 10, 10)
    assert not weights.requires_grad
    average = (98 * 0.01 + 0.04 + 25.0) / 100
    assert weights[0, 0, 9, 9] == 8.0  # 96 times the mean
    torch.testing.assert_close(weights[0, 0, 0, 0].item(), max(0.1, 0.04 / average))
    assert weights[0, 0, 5, 5] == torch.tensor(0.1)
    torch.testing.assert_close(residual_weights(10 * frames, 10 * mean), weights)
    assert residual_weights(frames, frames).isfinite().all()


def test_weights_of_one_are_the_likelihood_and_others_count_pixel_by_pixel() -> None:
    frames, mean = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    plain = log_likelihood(frames, mean, 0.5)
    torch.testing.assert_close(log_likelihood(frames, mean, 0.5, torch.ones(2, 1, 4, 4)), plain)
    one = torch.zeros(2, 1, 4, 4)
    one[..., 1, 2] = 3
    difference = log_likelihood(frames, mean, 0.5, one) - log_likelihood(frames, mean, 0.5, 0 * one)
    torch.testing.assert_close(difference, -6 * (frames - mean)[..., 1, 2].square().sum(dim=-1))
