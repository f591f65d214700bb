"""Senses and fusion: what the encoders can tell apart, and what a product of experts is."""

import pytest
import torch

from gqn.batch import Views
from gqn.fusion import ENCODERS, Fusion, Value
from gqn.nodes import Node, build
from gqn.senses import SENSES

FRAMES = {"vector": (6,), "spectrogram": (1, 16, 20)}


def views(kind: str, count: int = 3, seed: int = 0) -> Views:
    random = torch.Generator().manual_seed(seed)
    frame = FRAMES.get(kind, (3, 16, 16))
    return Views(
        torch.rand(2, count, *frame, generator=random, dtype=torch.float64),
        torch.rand(2, count, 4, generator=random, dtype=torch.float64),
    )


def sense(kind: str, **options):
    torch.manual_seed(0)
    return build(
        Node("sense", kind, {"frame": FRAMES.get(kind, (3, 16, 16)), "pose": 4, "channels": 8, **options}), {}
    ).double()


@pytest.mark.parametrize("kind", SENSES)
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("normalise", [False, True])
def test_every_sense_sums_its_views(kind: str, aggregate: str, normalise: bool) -> None:
    """In any order; and each observation and each pose counts."""
    module, seen = sense(kind, aggregate=aggregate, normalise=normalise), views(kind)
    r = module(seen)
    assert r.shape[:2] == (2, 8)
    order = torch.tensor([1, 2, 0])
    torch.testing.assert_close(module(Views(seen.frames[:, order], seen.cameras[:, order])), r)
    for other in (Views(seen.frames.flip(-1), seen.cameras), Views(seen.frames, seen.cameras + 1)):
        if not (kind == "spectrogram" and other.cameras is seen.cameras):
            assert (module(other) - r).abs().max() > 1e-6
    masked = Views(seen.frames, seen.cameras, torch.tensor([[True, True, False]] * 2))
    torch.testing.assert_close(module(masked), module(Views(seen.frames[:, :2], seen.cameras[:, :2])))


def test_pitch_is_heard() -> None:
    seen = views("spectrogram")
    higher = Views(seen.frames.flip(-2), seen.cameras)
    assert (sense("spectrogram")(higher) - sense("spectrogram")(seen)).abs().max() > 1e-6


def fused(fusion: str, encoder: str = "mlp") -> tuple[Fusion, dict[str, Value]]:
    torch.manual_seed(0)
    shapes = {"a": (4, 2, 2), "b": (3, 1, 1), "c": (4, 2, 2)}
    module = Fusion(shapes, encoder=encoder, channels=5, hidden=8, fusion=fusion).double()
    values = {
        name: Value(torch.rand(4, *shape, dtype=torch.float64), torch.tensor([True, name != "b", name == "a", False]))
        for name, shape in shapes.items()
    }
    return module, values


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_product_of_experts_is_the_product_of_their_densities(encoder: str) -> None:
    """With a prior expert and without those that are absent, on a grid of points."""
    module, values = fused("product", encoder)
    result = module(values)
    assert result.present.tolist() == [True, True, True, False]
    points = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    for scene in range(4):
        log_density = -0.5 * points.square()
        for name, value in values.items():
            mean, log_precision = module.encoders[name](value.r[scene : scene + 1])[0, :, -1, -1].view(2, 5)
            if value.present[scene]:
                log_density = log_density - 0.5 * log_precision[2].exp() * (points - mean[2]).square()
        density = (log_density - log_density.max()).exp()
        expected = (points * density).sum() / density.sum()
        torch.testing.assert_close(result.r[scene, 2, -1, -1], expected, rtol=0, atol=1e-6)
    assert (result.r[3] == 0).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_sum_is_of_those_that_are_there(encoder: str) -> None:
    module, values = fused("sum", encoder)
    encoded = {name: module.encoders[name](value.r) for name, value in values.items()}
    r = module(values).r
    torch.testing.assert_close(r[0], (encoded["a"] + encoded["b"] + encoded["c"])[0])
    torch.testing.assert_close(r[1], (encoded["a"] + encoded["c"] + 0 * encoded["b"])[1])
    torch.testing.assert_close(r[2], encoded["a"][2])
    assert (r[3] == 0).all()
