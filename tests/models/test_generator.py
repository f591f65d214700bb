"""The fast generator equals the literal one, and keeps the order of a step that the paper gives."""

import pytest
import torch
from reference import literal_generator

from gqn.core.errors import Error
from gqn.models.generator import Generator
from gqn.models.outputs import Grid


def build(*, shared: bool, representation_grid: int = 1, steps: int = 3) -> Generator:
    torch.manual_seed(0)
    return Generator(
        pixels=16,
        inputs=Grid(6, representation_grid, representation_grid),
        hidden=8,
        canvas=5,
        latent=2,
        generation_steps=steps,
        shared_cores=shared,
    ).double()


def inputs(representation_grid: int = 1, queries: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    cameras = torch.randn(2, queries, 7, generator=generator, dtype=torch.float64)
    r = torch.randn(2, 6, representation_grid, representation_grid, generator=generator, dtype=torch.float64)
    target = torch.rand(2, queries, 3, 16, 16, generator=generator, dtype=torch.float64)
    return cameras, r, target


def step_noise(steps: int = 3) -> list[torch.Tensor]:
    """Return the generator's prediction after torch.manual_seed(5)."""
    torch.manual_seed(5)
    return [torch.randn(2, 2, 4, 4, dtype=torch.float64) for _ in range(steps)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("representation_grid", [1, 4])
@pytest.mark.parametrize("posterior", [True, False])
def test_equals_the_literal_reference(shared: bool, representation_grid: int, posterior: bool) -> None:
    net = build(shared=shared, representation_grid=representation_grid)
    cameras, r, target = inputs(representation_grid)
    r.requires_grad_()
    seen = target if posterior else None

    mean, kl = literal_generator(net, cameras[:, 0], r, None if seen is None else seen[:, 0], step_noise())
    objective = (mean - target[:, 0]).square().sum() + kl.sum()
    expected = torch.autograd.grad(objective, [r, *net.parameters()], allow_unused=True)

    torch.manual_seed(5)
    prediction = net(cameras, r, seen)
    objective = (prediction.mean - target).square().sum() + prediction.kl.sum()
    gradients = torch.autograd.grad(objective, [r, *net.parameters()], allow_unused=True)

    torch.testing.assert_close(prediction.mean[:, 0], mean)
    torch.testing.assert_close(prediction.kl[:, 0], kl)
    names = ["r", *(name for name, _ in net.named_parameters())]
    for name, gradient, wanted in zip(names, gradients, expected, strict=True):
        assert (gradient is None) == (wanted is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, wanted, msg=lambda text, name=name: f"{name}: {text}")
    assert not posterior or all(gradient is not None for gradient in gradients)


def test_several_queries_equal_one_at_a_time() -> None:
    net = build(shared=True)
    cameras, r, target = inputs(queries=3)
    # With a posterior of (almost) no width, z is its mean and the noise plays no part.
    with torch.no_grad():
        net.posterior.bias[2:] = -60
    together = net(cameras, r, target)
    for i in range(3):
        alone = net(cameras[:, i : i + 1], r, target[:, i : i + 1])
        torch.testing.assert_close(together.mean[:, i], alone.mean[:, 0])
        torch.testing.assert_close(together.kl[:, i], alone.kl[:, 0])


@pytest.mark.parametrize("shared", [True, False])
def test_divergence_is_zero_where_posterior_is_prior(shared: bool) -> None:
    net = build(shared=shared)
    cameras, r, target = inputs()
    with torch.no_grad():
        for conv in (net.prior, net.posterior):
            conv.weight.zero_()
            conv.bias.fill_(0.3)
    assert net(cameras, r, target).kl.abs().max() == 0
    with torch.no_grad():
        net.posterior.bias.fill_(0.4)
    assert net(cameras, r, target).kl.min() > 0


@pytest.mark.parametrize("shared", [True, False])
def test_the_prior_of_a_step_has_not_seen_its_latent(shared: bool) -> None:
    """The KL of a step depends on the latents before it, not on its own: the first known mistake."""
    net = build(shared=shared)
    cameras, r, target = inputs()
    divergences = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        divergences.append(net(cameras, r, target).kl)
    torch.testing.assert_close(divergences[0][..., 0], divergences[1][..., 0], rtol=0, atol=0)
    assert (divergences[0][..., 1] - divergences[1][..., 1]).abs().min() > 0


@pytest.mark.parametrize("shared", [True, False])
def test_the_posterior_of_a_step_has_read_the_frame(shared: bool) -> None:
    """Already the first step's posterior depends on the target: the second known mistake."""
    net = build(shared=shared)
    cameras, r, target = inputs()
    divergences = []
    for frames in (target, target.flip(-1)):
        torch.manual_seed(1)
        divergences.append(net(cameras, r, frames).kl)
    assert (divergences[0] - divergences[1]).abs().min() > 0


def test_samples_follow_the_representation_and_the_camera() -> None:
    net = build(shared=False)
    cameras, r, _ = inputs()

    def sample(cameras: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return net(cameras, r).mean

    plain = sample(cameras, r)
    torch.testing.assert_close(sample(cameras, r), plain, rtol=0, atol=0)
    assert (sample(cameras, r.flip(0)) - plain).abs().max() > 1e-6
    assert (sample(cameras.flip(0), r) - plain).abs().max() > 1e-6


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="18 pixels.*multiple of 4"):
        Generator(pixels=18)
    with pytest.raises(ValueError, match="grid of 3 x 3.*1 x 1 or 4 x 4"):
        Generator(pixels=16, inputs=Grid(6, 3, 3))


@pytest.mark.parametrize("shared", [False, True])
def test_computing_activations_again_gives_the_same_gradient_and_keeps_less(shared: bool) -> None:
    cameras, r, target = inputs(queries=2)
    kept, gradients = {}, {}
    for activation_checkpointing in (False, True):
        net = build(shared=shared, steps=4)
        net.activation_checkpointing = activation_checkpointing
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            prediction = net(cameras, r, target)
        (prediction.mean.square().sum() + prediction.kl.sum()).backward()
        kept[activation_checkpointing] = sum(storages.values())
        gradients[activation_checkpointing] = [weight.grad for weight in net.parameters()]
    torch.testing.assert_close(gradients[True], gradients[False], rtol=0, atol=0)
    assert kept[True] < 0.8 * kept[False]


@pytest.mark.parametrize("steps", [0, 10_000_000])
def test_as_many_steps_as_never_end_are_refused(steps: int) -> None:
    with pytest.raises(Error, match="generation steps: it is from 1 to 256"):
        Generator(pixels=16, generation_steps=steps)
