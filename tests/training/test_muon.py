"""Muon: orthogonal steps for matrices and kernels, Adam's for the rest, resumed to the bit."""

import copy

import pytest
import torch
from torch import nn

from gqn.training.muon import SCALE, Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_an_update_keeps_the_singular_vectors_and_makes_the_values_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ found @ right.T
    values = core.diagonal()
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(core, torch.diag(values))


def test_vectors_take_the_steps_of_adam() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    optimizers = Muon([ours], lr=0.01, weight_decay=0.1), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for number in range(5):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = (weight.detach() - number).sin()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_the_first_step_of_a_kernel_has_the_size_of_adams_whatever_the_gradients_size() -> None:
    for size in (1e-6, 1e3):
        weight = nn.Parameter(torch.zeros(8, 5, 3, 3))
        weight.grad = size * torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=0.1).step()
        assert weight.square().mean().sqrt().item() == pytest.approx(0.1 * SCALE, rel=0.3)


def test_a_resumed_run_takes_the_same_steps() -> None:
    def gradients(weights: list[nn.Parameter], step: int) -> None:
        for weight in weights:
            weight.grad = (weight.detach() + step).cos()

    weights = [nn.Parameter(torch.randn(4, 3, 2)), nn.Parameter(torch.randn(4))]
    optimizer = Muon(weights, lr=0.1)
    for step in range(3):
        gradients(weights, step)
        optimizer.step()
    others = copy.deepcopy(weights)
    resumed = Muon(others, lr=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for chosen, one in ((weights, optimizer), (others, resumed)):
        gradients(chosen, 3)
        one.step()
    for weight, other in zip(weights, others, strict=True):
        assert torch.equal(weight, other)


def test_a_weight_without_a_gradient_comes_to_rest() -> None:
    """Its momentum ends at zero, not among the smallest numbers, with which a step takes many times as long."""
    weight = nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([weight], lr=0.1)
    weight.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(1_200):
        optimizer.step()
        weight.grad = torch.zeros(4, 6)
        weight.grad[0] = 1e-3  # of another part of the same matrix it goes on
    momentum = optimizer.state[weight]["momentum"]
    assert not momentum[1:].any()
    assert momentum[0].all()
    assert torch.isfinite(weight).all()
