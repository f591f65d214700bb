"""Bounds on the likelihood against the closed form of a linear-Gaussian stand-in."""

import math
from itertools import pairwise

import pytest
import torch
from closed_form import LinearGaussian, posing
from torch.distributions import Normal, kl_divergence

from gqn.evaluation.likelihood import (
    Draws,
    bits_per_dimension,
    fitted_sigma,
    importance_bound,
    log_probability_of_level,
    negative_elbo,
    posterior_draws,
    sigma_of_others,
)

BRIGHTNESS = 0.5


def drawn(network: LinearGaussian, frames: torch.Tensor, count: int, rows: int = 512) -> Draws:
    torch.manual_seed(1)
    context = torch.full((len(frames), 2, 3, 4, 4), BRIGHTNESS)
    batch = posing(context, frames)
    return posterior_draws(network.generator, network.encode(batch.context), batch.query, count, rows=rows)


@pytest.fixture
def frames() -> torch.Tensor:
    torch.manual_seed(0)
    return LinearGaussian().frames(5, BRIGHTNESS)


@pytest.mark.parametrize("scene", [False, True])
def test_with_the_true_posterior_every_bound_is_the_likelihood(frames: torch.Tensor, scene: bool) -> None:
    network = LinearGaussian(scene=scene)
    evidence = network.log_evidence(frames, BRIGHTNESS)
    draws = drawn(network, frames, 2000)
    for k in (1, 10, 100):
        torch.testing.assert_close(importance_bound(draws, 0.3, k), evidence)
    # The ELBO takes the KL in closed form and the squared error by the draws.
    error = draws.squares.std(dim=1) / (2 * 0.3**2) / math.sqrt(2000)
    assert ((-negative_elbo(draws, 0.3) - evidence).abs() < 4 * error).all()


@pytest.mark.parametrize("scene", [False, True])
def test_elbo_and_importance_bounds_of_another_posterior(frames: torch.Tensor, scene: bool) -> None:
    network = LinearGaussian(shift=0.3, widen=1.5, scene=scene)
    g = network.generator
    evidence = network.log_evidence(frames, BRIGHTNESS)
    true = g.true_posterior(frames - BRIGHTNESS, g.weight)
    deviation = (0.5 * true.log_variance).exp()
    gap = kl_divergence(Normal(true.mean + 0.3, deviation * math.sqrt(1.5)), Normal(true.mean, deviation)).sum(
        (1, 2, 3)
    )
    draws = drawn(network, frames, 20_000)
    elbo = -negative_elbo(draws, 0.3)
    torch.testing.assert_close(elbo, evidence - gap, rtol=0, atol=0.1)
    assert gap.min() > 1  # or the bounds below could not be told apart
    bounds = [importance_bound(draws, 0.3, k) for k in (1, 10, 100)]
    torch.testing.assert_close(bounds[0], elbo, rtol=0, atol=0.1)
    assert all((higher > lower + 0.1).all() for lower, higher in pairwise(bounds))
    assert (bounds[-1] < evidence + 0.1).all()  # but for the noise of 200 groups
    assert (evidence - bounds[-1]).max() < 0.3 * gap.min()


def test_divergence_of_each_step(frames: torch.Tensor) -> None:
    network = LinearGaussian(shift=0.1)
    g = network.generator
    draws = drawn(network, frames, 3)
    for step, weight in enumerate(g.weight.chunk(2, dim=1)):
        true = g.true_posterior(frames - BRIGHTNESS, weight)
        q = Normal(true.mean + 0.1, (0.5 * true.log_variance).exp())
        torch.testing.assert_close(draws.kl[:, step], kl_divergence(q, Normal(0.0, 1.0)).sum(dim=(1, 2, 3)))


def test_few_rows_at_a_time_give_draws_of_the_same_law(frames: torch.Tensor) -> None:
    network = LinearGaussian()
    draws = drawn(network, frames, 7, rows=10)
    assert draws.squares.shape == draws.ratio.shape == (5, 7)
    torch.testing.assert_close(importance_bound(draws, 0.3, 7), network.log_evidence(frames, BRIGHTNESS))
    torch.testing.assert_close(draws.kl, drawn(network, frames, 7).kl)  # its KL does not depend on the draws


def test_bounds_of_one_set_of_draws_are_ordered_whatever_they_are() -> None:
    torch.manual_seed(0)
    draws = Draws(torch.rand(8, 12), torch.randn(8, 12), torch.rand(8, 2), 48)
    bounds = [importance_bound(draws, 0.1, k) for k in (1, 3, 6, 12)]
    assert all((high >= low).all() for low, high in pairwise(bounds))
    for k in (0, 5, 24):
        with pytest.raises(ValueError, match="do not divide 12 draws"):
            importance_bound(draws, 0.1, k)


def test_fitted_sigma_is_where_the_elbo_is_greatest() -> None:
    torch.manual_seed(0)
    values, sigma = 3000, 0.07
    squares = (sigma * torch.randn(20, 6, values).double()).square().sum(dim=2)
    draws = Draws(squares, torch.zeros(20, 6).double(), torch.rand(20, 2).double(), values)
    fitted = fitted_sigma(squares, values)
    assert fitted == pytest.approx(sigma, rel=0.01)
    least = negative_elbo(draws, fitted).mean()
    assert all(negative_elbo(draws, fitted * factor).mean() > least for factor in (0.9, 0.99, 1.01, 1.1))


def test_no_scene_is_evaluated_at_a_sigma_that_it_fitted() -> None:
    squares = torch.tensor([1.0, 100.0, 1.0, 100.0, 1.0]).double()
    sigmas = sigma_of_others(squares, values=4)
    torch.testing.assert_close(sigmas, torch.tensor([5.0, 0.5, 5.0, 0.5, 5.0]).double())
    torch.testing.assert_close(sigma_of_others(squares[:1], values=4), torch.tensor([0.5]).double())


def test_sigmas_of_their_own_for_each_frame(frames: torch.Tensor) -> None:
    draws = drawn(LinearGaussian(), frames, 4)
    sigmas = torch.linspace(0.1, 0.5, 5).double()
    for i, sigma in enumerate(sigmas.tolist()):
        assert importance_bound(draws, sigmas, 2)[i].item() == pytest.approx(
            importance_bound(draws, sigma, 2)[i].item()
        )
        assert negative_elbo(draws, sigmas)[i].item() == pytest.approx(negative_elbo(draws, sigma)[i].item())


def test_bits_of_8_bit_pixels_are_those_of_their_probabilities() -> None:
    assert bits_per_dimension(0.0, 10) == pytest.approx(math.log2(255))  # a uniform density on 0..1
    pixels = Normal(0.5, 0.1)
    levels = torch.arange(256).double() / 255
    probability = pixels.cdf(levels + 0.5 / 255) - pixels.cdf(levels - 0.5 / 255)
    bits = -(probability * probability.log2()).sum().item()
    nats = -(probability * pixels.log_prob(levels)).sum().item()
    assert bits_per_dimension(nats, 1) == pytest.approx(bits, rel=1e-3)


def test_the_levels_of_a_value_share_its_probability() -> None:
    levels = torch.arange(256, dtype=torch.float64) / 255
    for mean, scale in ((0.5, 0.3), (-0.4, 0.1), (0.999, 0.002), (0.2, 5.0), (0.7, 1e-3)):
        probability = log_probability_of_level(levels, torch.tensor(mean), torch.tensor(scale)).exp()
        assert probability.sum().item() == pytest.approx(1, abs=1e-9)
        whole = Normal(mean, scale).cdf(torch.tensor([0.5 / 255, 1 - 0.5 / 255], dtype=torch.float64))
        assert probability[0].item() == pytest.approx(whole[0].item(), abs=1e-6)
        assert probability[-1].item() == pytest.approx(1 - whole[1].item(), abs=1e-6)


def test_an_unlikely_level_has_a_probability_and_a_gradient() -> None:
    scale = torch.tensor(1e-3, requires_grad=True)
    frames = torch.tensor([0.0, 0.3, 1.0])
    found = log_probability_of_level(frames, torch.tensor([1.0, 0.9, 0.0]), scale)
    found.sum().backward()
    assert found.isfinite().all()
    assert (found < -1e4).all()
    assert scale.grad is not None
    assert scale.grad.isfinite()
    assert scale.grad > 0  # a larger scale is likelier


def test_bits_of_levels_are_those_of_the_density_where_the_scale_is_wide() -> None:
    torch.manual_seed(0)
    frames = ((0.5 + 0.1 * torch.randn(3, 3, 8, 8)).clamp(0, 1) * 255).round() / 255
    nats = -Normal(0.5, 0.1).log_prob(frames).sum().item()
    levels = -log_probability_of_level(frames, torch.tensor(0.5), torch.tensor(0.1)).mean().item() / math.log(2)
    assert levels == pytest.approx(bits_per_dimension(nats, frames.numel()), abs=0.01)
