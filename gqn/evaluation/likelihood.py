"""Likelihood of held-out frames under a network: the ELBO, tighter bounds, and the sigma that fits the pixels best.

All of them are functions of a few numbers a draw (`Draws`), so that one pass over the scenes serves every sigma and
every bound.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gqn.core.errors import Error
from gqn.core.views import Views
from gqn.models.generator import Generator
from gqn.models.losses import Gaussian, Latent, promote

LEVELS = 255  # steps between the darkest and the brightest 8-bit value
SCENES = 64  # most volumes that are drawn at a time, for want of memory, where each draw has its own
BEYOND = 100.0  # values of pixels, far from 0 to 1


@dataclass(frozen=True)
class Draws:
    """Statistics of K draws of the latents from the posterior for each of n frames."""

    squares: Tensor  # (n, K) squared error of the frame that the latents give, summed over its values
    ratio: Tensor  # (n, K) log q(z|x) - log p(z) of the latents as they were drawn
    kl: Tensor  # (n, L) KL of posterior to prior of each latent, mean over the draws
    values: int  # numbers of a frame, c h w


@torch.no_grad()
def posterior_draws(
    generator: Generator, r: Tensor, query: Views, count: int, *, informed: Tensor | None = None, rows: int = 512
) -> Draws:
    """Return `count` draws for the one query view of each of n scenes with representations r (n, c, h', w').

    informed: r of context and query view together, for a generator with a latent of the scene.
    rows: most frames that are drawn at a time, for want of memory.
    """
    n = len(r)
    squares, ratios, kls = [], [], []
    step = max(1, (rows if generator.scene is None else min(rows, SCENES)) // n)
    for first in range(0, count, step):
        k = min(step, count - first)
        # As many queries for the same frame: r is placed once for all of them.
        cameras, frames = query.cameras.repeat(1, k, 1), query.frames.repeat(1, k, 1, 1, 1)
        drawn = r
        latents: list[Latent] = []
        if generator.scene is not None:  # each draw has a scene of its own
            cameras, frames = cameras.flatten(0, 1)[:, None], frames.flatten(0, 1)[:, None]
            known = None if informed is None else informed.repeat_interleave(k, 0)
            drawn, latents = generator.imagined(r.repeat_interleave(k, 0), frames, known)
        for taken in generator.steps(cameras, drawn, frames):
            latents.append(taken.latent)
        error = (generator.paint(taken) - frames.flatten(0, 1)).unflatten(0, (n, k))
        squares.append(error.square().sum(dim=(2, 3, 4)))
        ratios.append(torch.stack([log_ratio(latent) for latent in latents]).sum(dim=0).unflatten(0, (n, k)))
        kls.append(torch.stack([latent.kl for latent in latents], dim=-1).unflatten(0, (n, k)).sum(dim=1))
    values = math.prod(query.frames.shape[-3:])
    return Draws(torch.cat(squares, dim=1), torch.cat(ratios, dim=1), torch.stack(kls).sum(dim=0) / count, values)


def log_ratio(latent: Latent) -> Tensor:
    """Return log q(z|x) - log p(z) of a latent that was drawn from a posterior, (n,)."""
    assert latent.posterior is not None
    return log_density(latent.value, latent.posterior) - log_density(latent.value, latent.prior)


def log_density(value: Tensor, gaussian: Gaussian) -> Tensor:
    """Return log N(value) in nats of each item of the first axis, summed over the others, in float32 or better."""
    value, mean, log_variance = (promote(t) for t in (value, *gaussian))
    squares = (value - mean).square() * (-log_variance).exp()
    return -0.5 * (squares + log_variance + math.log(2 * math.pi)).flatten(1).sum(dim=1)


def negative_elbo(draws: Draws, sigma: float | Tensor) -> Tensor:
    """Return KL - E_q[log p(x|z)] of each frame in nats, (n,); the mean over the draws stands for E_q.

    sigma: of the pixels, one for all frames or (n,) for each its own.
    """
    return draws.kl.sum(dim=1) + draws.squares.mean(dim=1) / (2 * sigma**2) + floor(draws, sigma)


def importance_bound(draws: Draws, sigma: float | Tensor, k: int) -> Tensor:
    """Return the bound E[log mean of k weights] on log p(x), in nats, (n,) (Burda et al. 2016, equation 8).

    The draws are taken in groups of k, and the mean over the groups stands for the expectation; so, over one set of
    draws, a k that is a multiple of another never gives less. Raises Error for k that does not divide the draws.
    """
    count = draws.squares.shape[1]
    if k < 1 or count % k:
        raise Error(f"groups of {k} importance samples do not divide {count} draws")
    sigma = torch.as_tensor(sigma, dtype=draws.squares.dtype, device=draws.squares.device).reshape(-1, 1)
    weights = -draws.squares / (2 * sigma**2) - draws.ratio
    bound: Tensor = (weights.unflatten(1, (-1, k)).logsumexp(dim=2) - math.log(k)).mean(dim=1)
    return bound - floor(draws, sigma[:, 0])


def floor(draws: Draws, sigma: float | Tensor) -> Tensor:
    """Return the negative log-likelihood of frames that are predicted without error, (n,) or of one number."""
    sigma = torch.as_tensor(sigma, dtype=draws.squares.dtype, device=draws.squares.device)
    return draws.values * (sigma.log() + 0.5 * math.log(2 * math.pi))


def fitted_sigma(squares: Tensor, values: int) -> float:
    """Return the sigma at which the ELBO is greatest while the latents stay as they are: the root mean square error.

    The KL does not depend on sigma, and KL + S / (2 sigma^2) + D log sigma is least at sigma^2 = S / D.
    """
    return math.sqrt(squares.mean().item() / values)


def sigma_of_others(squares: Tensor, values: int) -> Tensor:
    """Return for each scene the sigma that fits those of the other half best, (n,).

    So all scenes are evaluated, and none at a sigma that has seen it. One scene alone is fitted to itself.
    """
    n = len(squares)
    if n == 1:
        return torch.full((1,), fitted_sigma(squares, values), dtype=squares.dtype)
    half = torch.arange(n) % 2
    sigmas = [fitted_sigma(squares[half != number], values) for number in range(2)]
    return torch.tensor(sigmas, dtype=squares.dtype)[half]


def level_edges(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edges of the 8-bit levels in which values of 0 to 1 lie; those at the ends reach far beyond."""
    half = 0.5 / LEVELS
    return torch.where(frames <= half, -BEYOND, frames - half), torch.where(frames >= 1 - half, BEYOND, frames + half)


def log_probability_of_level(frames: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-probability, in nats, of the 8-bit level of each value under a normal distribution."""
    # In float64: the gradient far in a tail is wrong in float32, and at last no number.
    low, high = ((edge - mean.double()) / scale.double() for edge in level_edges(frames.double()))
    # By the lower tail, where small probabilities are exact; the distribution is even.
    upper = low + high > 0
    low, high = torch.where(upper, -high, low), torch.where(upper, -low, high)
    outer, inner = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return (inner + torch.log1p(-(outer - inner).exp())).to(frames.dtype)


def bits_per_dimension(nats: float, values: int) -> float:
    """Return the bits for each 8-bit value of a frame whose density, over values of 0 to 1, costs so many nats.

    The probability of a level is taken as the density there times the width of a level, 1/255: good while sigma is
    much wider than that.
    """
    return (nats / values + math.log(LEVELS)) / math.log(2)
