"""The network as a whole: what it may depend on, and what it must not."""

import pytest
import torch

from gqn.core.views import Batch, Views
from gqn.models.encoders import REPRESENTATIONS
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.layers import constant_planes


def network(representation: str = "pool", *, pixels: int = 16, aggregate: str = "sum", normalise: bool = False):
    torch.manual_seed(0)
    return GenerativeQueryNetwork(
        pixels=pixels,
        representation=representation,
        representation_channels=8,
        aggregate=aggregate,
        normalise=normalise,
        hidden=8,
        canvas=8,
        latent=2,
        generation_steps=2,
        shared_cores=True,
        # Wide and large, so that cameras anywhere see some of it.
        volume={"field_of_view": 100.0, "radius": 2.0} if representation == "volume" else None,
    ).double()


def views(count: int, *, scenes: int = 2, pixels: int = 16, seed: int = 1) -> Views:
    generator = torch.Generator().manual_seed(seed)
    return Views(
        torch.rand(scenes, count, 3, pixels, pixels, generator=generator, dtype=torch.float64),
        torch.randn(scenes, count, 7, generator=generator, dtype=torch.float64),
    )


def split(whole: Views, context: int, queries: int) -> Batch:
    return Batch.of(whole.part(slice(context)), whole.part(slice(context, context + queries)))


@pytest.mark.parametrize(
    ("representation", "normalise"),
    [(name, normalise) for name in REPRESENTATIONS for normalise in {False, name != "volume"}],
)
def test_order_of_context_views_does_not_matter(representation: str, normalise: bool) -> None:
    net = network(representation, normalise=normalise)
    context = views(4)
    order = torch.tensor([2, 0, 3, 1])
    turned = Views(context.frames[:, order], context.cameras[:, order])
    torch.testing.assert_close(net.encode(context), net.encode(turned))


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_every_view_and_camera_counts(representation: str) -> None:
    net = network(representation)
    context = views(3)
    r = net.encode(context)
    for other in (
        Views(context.frames, context.cameras + 0.5),
        Views(1 - context.frames, context.cameras),
        Views(context.frames[:, :2], context.cameras[:, :2]),
    ):
        assert (net.encode(other) - r).abs().max() > 1e-4


def test_sum_and_mean_of_views() -> None:
    once = views(1)
    twice = Views(once.frames.repeat(1, 2, 1, 1, 1), once.cameras.repeat(1, 2, 1))
    torch.testing.assert_close(network().encode(twice), 2 * network().encode(once))
    torch.testing.assert_close(network(aggregate="mean").encode(twice), network(aggregate="mean").encode(once))


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("pixels", [32, 64, 84, 128])
def test_all_published_sizes(representation: str, pixels: int) -> None:
    net = network(representation, pixels=pixels).float()
    context, query = views(2, pixels=pixels), views(1, pixels=pixels, seed=2)
    batch = Batch.of(
        Views(context.frames.float(), context.cameras.float()), Views(query.frames.float(), query.cameras.float())
    )
    assert net(batch)["render"].mean.shape == batch.query.frames.shape


def test_camera_on_planes_equals_concatenation() -> None:
    """The tower's camera convolution is that of planes put beside the features, borders included."""
    tower = network("tower").nodes["vision"].encoder
    features = torch.rand(2, 8, 4, 4, dtype=torch.float64)
    cameras = torch.randn(2, 7, dtype=torch.float64)
    planes = cameras[:, :, None, None].expand(-1, -1, 4, 4)
    split = tower.narrow_2(features) + tower.camera_narrow(cameras, constant_planes(7, 4, 4, cameras))
    weight = torch.cat([tower.narrow_2.weight, tower.camera_narrow.conv.weight], dim=1)
    whole = torch.nn.functional.conv2d(torch.cat([features, planes], 1), weight, tower.narrow_2.bias, padding=1)
    torch.testing.assert_close(split, whole)


def test_prior_samples_do_not_see_the_query_frame() -> None:
    """The query stays out of the context: the third known mistake."""
    net = network()
    whole = views(4)
    batch = split(whole, context=2, queries=2)
    changed = Views(whole.frames.clone(), whole.cameras)
    changed.frames[:, 2:] = 0
    other = split(changed, context=2, queries=2)
    assert (batch.query.frames - other.query.frames).abs().max() > 0.1
    torch.testing.assert_close(net.encode(batch.context), net.encode(other.context), rtol=0, atol=0)
    sampled = []
    for item in (batch, other):
        torch.manual_seed(3)
        sampled.append(net.sample(item.context, item.query.cameras, samples=2))
    torch.testing.assert_close(sampled[0], sampled[1], rtol=0, atol=0)


def test_samples_differ_by_their_latents() -> None:
    net = network()
    batch = split(views(3), context=2, queries=1)
    samples = net.sample(batch.context, batch.query.cameras, samples=3)
    assert samples.shape == (3, *batch.query.frames.shape)
    assert (samples[0] - samples[1]).abs().max() > 1e-6
    assert not samples.requires_grad
