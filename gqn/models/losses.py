"""The objective and the schedules: pure functions of tensors and of the step."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """A diagonal normal distribution by its mean and the logarithm of its variance, of one shape."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Return one draw."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)


class Latent(NamedTuple):
    """A latent as it was drawn, (n, ...)."""

    value: Tensor
    prior: Gaussian
    posterior: Gaussian | None  # None where it was drawn from the prior

    @classmethod
    def drawn(cls, prior: Gaussian, posterior: Gaussian | None) -> "Latent":
        """Return a draw from the posterior, or from the prior where there is none."""
        return cls((posterior or prior).sample(), prior, posterior)

    @property
    def kl(self) -> Tensor:
        """KL of posterior to prior in nats, (n,); zero for a draw from the prior."""
        if self.posterior is None:
            return self.value.new_zeros(len(self.value))
        return gaussian_kl(self.posterior, self.prior).flatten(1).sum(dim=1)


def gaussian_kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) in nats of each element, in float32 or better; zero where q = p."""
    q_mean, q_log_variance, p_mean, p_log_variance = (promote(t) for t in (*q, *p))
    difference = q_log_variance - p_log_variance
    # expm1 keeps the small differences that exp(d) - 1 would cancel.
    return 0.5 * (difference.expm1() - difference + (q_mean - p_mean).square() * (-p_log_variance).exp())


def log_likelihood(frames: Tensor, mean: Tensor, sigma: float | Tensor, weights: Tensor | None = None) -> Tensor:
    """Return log N(frames; mean, sigma^2) in nats, summed over the last three axes: (..., c, h, w) -> (...).

    weights: of each pixel's squared error, (..., 1, h, w); no likelihood then, but what training may follow.
    """
    squares = (promote(frames) - promote(mean)).square()
    squares = (squares if weights is None else weights * squares).sum(dim=(-3, -2, -1))
    sigma = torch.as_tensor(sigma, dtype=torch.float64, device=squares.device)  # of no axes: it keeps the result's type
    floor = math.prod(frames.shape[-3:]) * (sigma.log() + 0.5 * math.log(2 * math.pi))
    return -0.5 * squares / sigma**2 - floor


def residual_weights(frames: Tensor, mean: Tensor, least: float = 0.1, most: float = 8.0) -> Tensor:
    """Return for each pixel its squared error over its frame's mean, cut to `least` and `most`, without gradient.

    So small things that are drawn wrong are not drowned by large ones that are nearly right.

    Args:
        frames: Truth (..., c, h, w).
        mean: Prediction of the same shape.
        least: Smallest weight.
        most: Largest weight.

    Returns:
        Weights (..., 1, h, w).
    """
    squares = (promote(frames) - promote(mean)).detach().square().mean(dim=-3, keepdim=True)
    return (squares / squares.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-12)).clamp(least, most)


def likelihood_floor(sigma: float, values: int) -> float:
    """Return the negative log-likelihood, in nats, of `values` pixel values that are predicted without error.

    No loss goes below it: 6,909 for 64 x 64 x 3 values at sigma = 0.7.
    """
    return values * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def promote(x: Tensor) -> Tensor:
    """Return x in float32 where it is of lower precision, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def annealed(step: float, start: float, end: float, steps: int) -> float:
    """Return a value that goes linearly from `start` at step 0 to `end` at `steps` (supplementary section 4.1)."""
    return end if step >= steps else start + (end - start) * step / steps


def averaging_decay(step: int, decay: float) -> float:
    """Return the decay of the EMA at a step: small in the first steps, so that the average forgets the start."""
    return min(decay, (1 + step) / (10 + step))
