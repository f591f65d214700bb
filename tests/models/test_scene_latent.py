"""A latent of the scene: one draw for all queries, and a posterior that knows the query views."""

import pytest
import torch
from torch import nn

from gqn.core.views import Batch, EncodedViews, Views
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.graph import RecursiveGQN
from gqn.models.losses import Gaussian, gaussian_kl
from gqn.models.nodes import GraphError
from gqn.models.outputs import averaged_by_opacity
from gqn.models.scene_latent import CELLS, ORDER, SceneLatent, held
from gqn.training.objective import Objective


def network(**options: object) -> GenerativeQueryNetwork:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2, "shared_cores": True, "scene_latent": True}
    net = GenerativeQueryNetwork(
        pixels=16,
        representation="volume",
        representation_channels=8,
        aggregate="mean",
        volume={"field_of_view": 100.0, "radius": 2.0, "side": 8},
        **{**sizes, **options},  # type: ignore[arg-type]
    )
    return net.double().eval()


def views(count: int, *, scenes: int = 2, seed: int = 1) -> Views:
    generator = torch.Generator().manual_seed(seed)
    return Views(
        torch.rand(scenes, count, 3, 16, 16, generator=generator, dtype=torch.float64),
        torch.randn(scenes, count, 7, generator=generator, dtype=torch.float64),
    )


def scene_of(net: RecursiveGQN) -> SceneLatent:
    scene = net.nodes["render"].generator.scene
    assert isinstance(scene, SceneLatent)
    nn.init.normal_(scene.last.weight)  # so that a draw shows
    return scene


def test_all_queries_of_a_sample_see_one_draw_and_another_sample_another() -> None:
    net = network()
    scene_of(net)
    prior = net.generator.prior
    nn.init.zeros_(prior.weight)
    with torch.no_grad():  # the latents of each query alone are still
        prior.bias.copy_(torch.tensor([0.0, 0.0, -80.0, -80.0]))
    camera = views(1).cameras.expand(-1, 3, -1)
    samples = net.sample(views(3), camera, 2)
    for other in (1, 2):
        torch.testing.assert_close(samples[:, :, 0], samples[:, :, other])
    assert (samples[0] - samples[1]).abs().max() > 1e-3


def test_where_it_changes_nothing_the_network_is_the_one_without() -> None:
    net, plain = network(), network(scene_latent=False)
    nn.init.zeros_(scene_of(net).last.weight)
    plain.load_state_dict({name: net.state_dict()[name] for name in plain.state_dict()})
    r = net.encode(views(3))
    drawn, latents = net.generator.imagined(r)
    torch.testing.assert_close(drawn, r)
    assert len(latents) == len(ORDER)
    assert plain.generator.imagined(r) == (r, [])


def test_a_posterior_that_is_its_prior_costs_nothing() -> None:
    scene = scene_of(network())
    r = 0.3 * torch.randn(2, *scene.volume.shape, dtype=torch.float64)
    nn.init.zeros_(scene.prior.weight)
    with torch.no_grad():
        mean, log_variance = scene.prior.bias.chunk(2)
        mean.zero_()
        log_variance.copy_(scene.log_noise.flatten())
    assert all((latent.kl == 0).all() for latent in scene(r, r)[1])
    assert all((latent.kl > 0).any() for latent in scene(r, r.flip(0))[1])


def test_each_cell_is_drawn_once_and_told_what_the_views_say_of_it() -> None:
    scene = scene_of(network())
    r, informed = 0.3 * torch.randn(2, 2, *scene.volume.shape, dtype=torch.float64)
    told = held(averaged_by_opacity(scene.volume.cells(informed), scene.side).transpose(1, 2))
    _, latents = scene(r, informed)
    times = torch.zeros_like(told)
    for latent in latents:
        assert latent.posterior is not None
        now = (latent.posterior.mean - latent.prior.mean).abs() > 0
        assert (now == now[:, :, :1]).all()  # all of a cell or nothing
        torch.testing.assert_close(latent.posterior.mean[now], told[now])
        expected = gaussian_kl(Gaussian(told, scene.log_noise.expand_as(told)), latent.prior)
        torch.testing.assert_close(latent.kl, (expected * now).flatten(1).sum(dim=1))
        times += now
    assert (times == 1).all()


def test_a_cell_knows_what_was_drawn_beside_it_before_and_not_what_is_drawn_after() -> None:
    scene = scene_of(network())
    nn.init.normal_(scene.prior.weight)
    r, informed = 0.3 * torch.randn(2, 2, *scene.volume.shape, dtype=torch.float64)
    first = scene.volume.cells(informed.clone())
    first[:, :, :CELLS, :CELLS, :CELLS] += 0.5  # the latent's first cell
    priors = []
    for told in (informed, first.flatten(1, 2)):
        torch.manual_seed(0)
        priors.append([latent.prior.mean for latent in scene(r, told)[1]])
    assert torch.equal(priors[0][0], priors[1][0])
    assert all((one != other).any() for one, other in zip(priors[0][1:], priors[1][1:], strict=True))


def test_a_draw_from_the_prior_does_not_run_away() -> None:
    """Each eighth knows those before it, and makes of a large change one that is larger still."""
    scene = scene_of(network())
    nn.init.normal_(scene.prior.weight, std=1e60)
    r, latents = scene(0.3 * torch.randn(2, *scene.volume.shape, dtype=torch.float64))
    assert r.isfinite().all()
    assert all(latent.prior.log_variance.abs().max() <= 6 for latent in latents)


def test_a_scene_pays_once_for_all_its_queries() -> None:
    net = network()
    batch = Batch.of(views(3), views(3, seed=2))
    torch.manual_seed(3)
    paid = net(batch)["render"].kl[..., : len(ORDER)].sum(dim=1)
    torch.manual_seed(3)
    informed = net.informed("render", batch.senses, batch.query)
    _, latents = net.generator.imagined(net.encode(batch.context), batch.query.frames, informed)
    torch.testing.assert_close(paid, torch.stack([latent.kl for latent in latents], dim=1))


def test_the_posterior_knows_what_the_senses_say_of_context_and_queries_together() -> None:
    net = network()
    context, query = views(3), views(2, seed=2)
    together = Views(*(torch.cat([getattr(v, n) for v in (query, context)], dim=1) for n in ("frames", "cameras")))
    informed = net.train().informed("render", {"vision": context}, query)
    assert informed is not None
    assert not informed.requires_grad
    torch.testing.assert_close(informed, net.eval().encode(together))
    torch.testing.assert_close(net.informed("render", {}, query), net.encode(query))
    there = torch.tensor([[True, False], [True, True]])
    some = net.informed("render", {"vision": context}, Views(query.frames, query.cameras, there))
    assert some is not None
    torch.testing.assert_close(some[1], informed[1])
    torch.testing.assert_close(some[:1], net.encode(context[:1].and_views(query[:1].part(slice(1)))))
    assert network(scene_latent=False).informed("render", {"vision": context}, query) is None


def test_it_learns_by_every_weight() -> None:
    net = network().train()
    objective = Objective(net)
    found, _ = objective(Batch.of(views(3), views(2, seed=2)))
    found["render"][0].backward()
    scene = net.nodes["render"].generator.scene
    assert scene is not None
    assert all(weight.grad is not None and weight.grad.any() for weight in scene.parameters())


def test_what_it_cannot_read_is_told() -> None:
    with pytest.raises(GraphError, match="a volume, and there is none"):
        RecursiveGQN.from_dict(
            {
                "senses": {"vision": {"encoder": "pool", "frame": [3, 16, 16], "channels": 8}},
                "tasks": {
                    "render": {
                        "head": "render",
                        "inputs": ["vision"],
                        "target": [3, 16, 16],
                        "query": 7,
                        "scene_latent": True,
                    }
                },
            }
        )
    net = network()
    encoded = EncodedViews(net.encode(views(3))[:, None], views(1).cameras)
    with pytest.raises(GraphError, match="give them unencoded"):
        net(Batch.of(encoded, views(2, seed=2)))
    other = network().to_dict()
    other["senses"]["vision"]["data"] = "other"
    with pytest.raises(GraphError, match="no sense that observes what it answers"):
        RecursiveGQN.from_dict(other).double()(Batch.of(views(3), views(2, seed=2)))
