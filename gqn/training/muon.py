"""Muon: gradients of matrices and kernels made orthogonal, Adam for everything else (Jordan et al. 2024)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink

MOMENTUM, DECAYS, EPSILON = 0.95, (0.9, 0.999), 1e-8
SCALE = 0.2  # of an update's root mean square, which is about Adam's: both take one learning rate (Liu et al. 2025)
# Coefficients of the quintic iteration: after a few steps all singular values are about 1.
QUINTIC, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# What is smaller is zero. The momentum of a weight without a gradient would fall on for ever, to numbers with which a
# CPU takes a hundred times as long.
SMALLEST = 1e-15


class Muon(torch.optim.Optimizer):
    """Muon for weights of two axes and more, of which the first is the output's; Adam for those of fewer.

    `torch.optim.Muon` takes matrices alone, and needs another optimizer beside it.

    Args:
        parameters: the weights that learn.
        lr: learning rate of both.
        weight_decay: decoupled, of both.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the weights that have a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                update = muon_update if weight.dim() > 1 else adam_update
                weight.add_(update(weight.grad, self.state[weight]), alpha=-group["lr"])


def muon_update(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the direction of a step, whose root mean square is about SCALE."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    state["momentum"].copy_(hardshrink(state["momentum"].lerp_(gradient, 1 - MOMENTUM), SMALLEST))
    matrix = hardshrink(gradient.lerp(state["momentum"], MOMENTUM), SMALLEST).flatten(1)
    return (SCALE * max(matrix.shape) ** 0.5 * orthogonal(matrix)).view_as(gradient)


def adam_update(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the direction of a step of Adam."""
    if not state:
        state |= {
            "step": torch.zeros((), dtype=torch.float64),  # on the host, and of no axes: it keeps the result's type
            "momentum": torch.zeros_like(gradient),
            "square": torch.zeros_like(gradient),
        }
    state["step"] += 1
    state["momentum"].lerp_(gradient, 1 - DECAYS[0])
    state["square"].lerp_(gradient.square(), 1 - DECAYS[1])
    mean, square = (1 - decay ** state["step"] for decay in DECAYS)
    return state["momentum"] / mean / ((state["square"] / square).sqrt() + EPSILON)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors whose singular values are all about 1 (0.7 to 1.2)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
