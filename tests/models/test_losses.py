"""The objective against torch.distributions, the schedules at their ends."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gqn.models.losses import Gaussian, annealed, averaging_decay, gaussian_kl, likelihood_floor, log_likelihood


def gaussian(seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(*torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64))


def as_normal(g: Gaussian) -> Normal:
    return Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_equals_the_library() -> None:
    q, p = gaussian(0), gaussian(1)
    torch.testing.assert_close(gaussian_kl(q, p), kl_divergence(as_normal(q), as_normal(p)))
    assert gaussian_kl(q, q).abs().max() == 0
    assert gaussian_kl(q, p).min() > 0


def test_kl_of_half_precision_is_computed_in_float32() -> None:
    q = Gaussian(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16))
    p = Gaussian(torch.full((1,), 0.01, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16))
    divergence = gaussian_kl(q, p)
    assert divergence.dtype == torch.float32
    torch.testing.assert_close(divergence, 0.5 * p.mean.float() ** 2)


def test_likelihood_equals_the_library() -> None:
    frames, mean = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64)
    expected = Normal(mean, 0.7).log_prob(frames).sum(dim=(-3, -2, -1))
    torch.testing.assert_close(log_likelihood(frames, mean, 0.7), expected)


def test_the_floor_is_a_perfect_prediction() -> None:
    frames = torch.rand(1, 3, 64, 64)
    floor = likelihood_floor(0.7, frames.numel())
    assert round(floor) == 6909
    assert log_likelihood(frames, frames, 0.7).item() == pytest.approx(-floor)
    assert log_likelihood(frames, frames + 0.01, 0.7).item() < -floor


def test_annealing() -> None:
    assert annealed(0, 2.0, 0.7, 100) == 2.0
    assert annealed(50, 2.0, 0.7, 100) == pytest.approx(1.35)
    assert annealed(100, 2.0, 0.7, 100) == annealed(10**9, 2.0, 0.7, 100) == 0.7
    assert annealed(0, 2.0, 0.7, 0) == 0.7


def test_averaging_forgets_the_start() -> None:
    average = 1.0  # of the start alone, where all later values are 0
    for step in range(200):
        average *= averaging_decay(step, 0.999)
    assert average < 1e-6
    assert averaging_decay(10**6, 0.999) == 0.999
    assert averaging_decay(10**6, 0.0) == 0.0
    assert math.isclose(averaging_decay(0, 0.999), 0.1)
