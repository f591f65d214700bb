"""The graph: what it computes, what an edit leaves alone, and what it refuses."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from graphs import CORES, flat, three_layers, world
from torch import Tensor, nn

from gqn.core.errors import Error
from gqn.core.views import Batch, EncodedViews, Views
from gqn.models.fusion import Standardise
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import mean_loss
from gqn.models.losses import log_likelihood
from gqn.models.nodes import GraphError
from gqn.models.outputs import Grid
from gqn.models.senses import SENSES, VectorEncoder

Weights = dict[str, Tensor]


def weights(graph: RecursiveGQN, *prefixes: str) -> Weights:
    return {k: v.clone() for k, v in graph.state_dict().items() if not prefixes or k.startswith(prefixes)}


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def losses(graph: RecursiveGQN, batch: Batch) -> dict[str, Tensor]:
    return {name: mean_loss(answer, batch.tasks[name]) for name, answer in graph(batch).items()}


def learn(graph: RecursiveGQN, steps: int, batches: Callable[[int], Batch], rate: float = 3e-3) -> None:
    """All that training is, for a test; the rate falls to nothing, since a learned deviation makes losses jump."""
    learning = [p for p in graph.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        sum(losses(graph, batches(step)).values()).backward()
        optimizer.step()


def test_the_flat_network_is_a_graph() -> None:
    """Built with the same seed they give the same numbers, by the same objective."""
    torch.manual_seed(0)
    sizes = {"representation": "tower", "representation_channels": 8, "aggregate": "mean", **CORES}
    network = GenerativeQueryNetwork(pixels=8, **sizes)
    torch.manual_seed(0)
    graph = flat()
    batch = world(3)
    views, query = batch.senses["vision"], batch.tasks["render"]
    network.nodes["render"].sigma.copy_(graph.nodes["render"].sigma)
    torch.manual_seed(1)
    answer = network(Batch.of(views, query))["render"]
    torch.manual_seed(1)
    r = graph.nodes["vision"](views)
    prediction = graph.nodes["render"].generator(query.cameras, r, query.frames)
    assert torch.equal(answer.mean, prediction.mean)
    assert torch.equal(answer.kl, prediction.kl)
    sigma = graph.nodes["render"].sigma
    expected = prediction.kl.sum(dim=-1).mean() - log_likelihood(query.frames, prediction.mean, sigma).mean()
    torch.testing.assert_close(mean_loss(answer, query), expected)
    assert torch.equal(graph.encode({"vision": views}, "vision"), network.encode(views))
    torch.manual_seed(2)
    sampled = network.sample(views, query.cameras, 2)
    torch.manual_seed(2)
    assert torch.equal(graph.sample({"vision": views}, query.cameras, 2, "render"), sampled)


def test_which_node_is_meant_must_be_said_where_there_are_several() -> None:
    graph, batch = three_layers(), world(2)
    with pytest.raises(GraphError, match="name one of the graph's senses: 'vision', 'touch'"):
        graph.encode(batch.senses["vision"])
    with pytest.raises(GraphError, match="name one of the graph's tasks: 'render', 'feel', 'reach', 'name'"):
        graph.sample(batch.senses, batch.tasks["render"].cameras)


def test_render_looks_through_whatever_volume_it_reads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = GenerativeQueryNetwork(
        pixels=8, representation="volume", representation_channels=4, volume={"radius": 0.5, "side": 8}, **CORES
    )
    network.to_file(tmp_path / "graph.yaml")
    again = RecursiveGQN.from_file(tmp_path / "graph.yaml")
    again.load_state_dict(network.state_dict())
    batch = world(3)
    views, query = batch.senses["vision"], batch.tasks["render"]
    sampled = []
    for made in (network, again):
        torch.manual_seed(2)
        sampled.append(made.sample(views, query.cameras, 2))
    assert torch.equal(*sampled)
    assert again.trials["vision"].output == again.nodes["render"].generator.look.volume
    assert again.trials["vision"].output.radius == 0.5
    with pytest.raises(GraphError, match="task 'other' .* takes the 7 numbers of a camera, not 5"):
        network.add_task("other", "render", ["vision"], target=[3, 8, 8], query=5, **CORES)
    with pytest.raises(GraphError, match="task 'render' was made for size .*radius=0.5.* would read .*radius=0.6"):
        network.replace("vision", radius=0.6)


class WithStatistics(VectorEncoder):
    """A sense with buffers that change in training, and noise."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.layers.append(nn.BatchNorm1d(self.layers[-1].out_features))
        self.layers.append(nn.Dropout(0.5))


def test_frozen_nodes_stay_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SENSES, "statistics", WithStatistics)
    graph = three_layers()
    graph.replace("touch", "statistics", channels=16, aggregate="mean")
    learn(graph, 2, world_batch)  # the statistics are no longer what they were at first
    graph.freeze("vision", "touch", "render", "feel")
    graph.train()
    before = weights(graph)
    learn(graph, 10, world_batch)
    frozen = tuple(f"nodes.{name}." for name in ("vision", "touch", "render", "feel"))
    assert same(weights(graph, *frozen), {key: value for key, value in before.items() if key.startswith(frozen)})
    for name in ("arm", "both", "reach", "name"):
        assert not same(weights(graph, f"nodes.{name}."), {k: v for k, v in before.items() if f"nodes.{name}." in k})
    assert not graph.encode(world(2).senses, "touch").requires_grad
    assert graph.encode(world(2).senses, "arm").requires_grad
    graph.unfreeze("touch")
    learn(graph, 1, world_batch)
    assert not same(weights(graph, "nodes.touch."), {k: v for k, v in before.items() if "nodes.touch." in k})


def world_batch(step: int) -> Batch:
    return world(8, seed=step + 1)


def test_a_frozen_head_still_teaches_what_it_reads() -> None:
    """A renderer may be kept and the sense before it learn anew."""
    graph = flat()
    graph.freeze("render")
    before = weights(graph)
    learn(graph, 2, lambda step: Batch({"vision": world(4).senses["vision"]}, {"render": world(4).tasks["render"]}))
    assert same(weights(graph, "nodes.render."), {k: v for k, v in before.items() if "nodes.render." in k})
    assert not same(weights(graph, "nodes.vision."), {k: v for k, v in before.items() if "nodes.vision." in k})


@pytest.mark.parametrize("fusion", ["sum", "product"])
def test_dropping_a_sense_is_never_giving_it(fusion: str) -> None:
    graph = three_layers(fusion=fusion)
    senses = world(3).senses
    vision, touch = senses["vision"], senses["touch"]
    nothing = replace(
        touch, frames=torch.full_like(touch.frames, torch.nan), present=torch.zeros(3, 3, dtype=torch.bool)
    )
    without = graph.encode({"vision": vision}, "both")
    assert torch.equal(graph.encode({"vision": vision, "touch": nothing}, "both"), without)
    no_views = Views(touch.frames[:, :0], touch.cameras[:, :0])
    assert torch.equal(graph.encode({"vision": vision, "touch": no_views}, "both"), without)
    assert not torch.equal(graph.encode(senses, "both"), without)
    # For some of the scenes alone.
    some = replace(touch, present=torch.tensor([True, False, True])[:, None].expand(3, 3))
    mixed = graph.encode({"vision": vision, "touch": some}, "both")
    whole = graph.encode(senses, "both")
    torch.testing.assert_close(mixed, torch.where(some.present[:, :1, None, None], whole, without), rtol=0, atol=1e-6)


def test_a_view_that_is_not_there_leaves_no_trace() -> None:
    """Neither in a value nor in a gradient, whatever stands in its place."""
    graph = three_layers()
    batch = world(2)
    vision = batch.senses["vision"]
    spoilt = vision.frames.clone()
    spoilt[:, 2] = torch.nan
    present = torch.tensor([[True, True, False]] * 2)
    masked = {**batch.senses, "vision": Views(spoilt, vision.cameras, present)}
    fewer = {**batch.senses, "vision": Views(vision.frames[:, :2], vision.cameras[:, :2])}
    torch.testing.assert_close(graph.encode(masked, "both"), graph.encode(fewer, "both"))
    reach = batch.tasks["reach"]
    unknown = Views(torch.where(torch.tensor([True, False])[:, None, None], reach.frames, torch.nan), reach.cameras)
    asked = replace(unknown, present=torch.tensor([[True], [False]]))
    loss = losses(graph, Batch(masked, {"reach": asked}))["reach"]
    first = {name: views[:1] for name, views in fewer.items()}
    torch.testing.assert_close(loss, losses(graph, Batch(first, {"reach": reach[:1]}))["reach"])
    loss.backward()
    assert all(p.grad.isfinite().all() for p in graph.parameters() if p.grad is not None)


@pytest.mark.parametrize("fusion", ["sum", "product"])
def test_order_of_views_and_of_senses_does_not_matter(fusion: str) -> None:
    graph = three_layers(fusion=fusion).double()
    senses = {name: Views(v.frames.double(), v.cameras.double()) for name, v in world(3).senses.items()}
    turned = {name: Views(v.frames[:, [2, 0, 1]], v.cameras[:, [2, 0, 1]]) for name, v in reversed(senses.items())}
    torch.testing.assert_close(graph.encode(turned, "both"), graph.encode(senses, "both"))
    # The order in which a representation names them: the same graph, its file turned round.
    plain = graph.to_dict()
    plain["representations"]["both"]["inputs"].reverse()
    other = RecursiveGQN.from_dict(plain).double()
    other.load_state_dict(graph.state_dict())
    torch.testing.assert_close(other.encode(senses, "both"), graph.encode(senses, "both"))


def test_a_cached_run_is_an_uncached_one() -> None:
    runs = []
    for cached in (True, False):
        torch.manual_seed(0)
        graph = three_layers()
        graph.freeze("vision", "render")
        kept = [graph.encode_views(world_batch(step).senses) for step in range(4)]
        assert all(isinstance(views["vision"], EncodedViews) for views in kept)
        assert not any(isinstance(views["touch"], EncodedViews) for views in kept)
        batches = [Batch(senses, world_batch(s).tasks) if cached else world_batch(s) for s, senses in enumerate(kept)]
        torch.manual_seed(1)
        learn(graph, 4, lambda step, batches=batches: batches[step])
        runs.append(weights(graph))
    for key, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][key], rtol=1e-4, atol=1e-5)


def test_tied_weights_are_shared_weights() -> None:
    torch.manual_seed(0)
    shared = RecursiveGQN()
    shared.add_sense("left", "vector", frame=(4,), pose=2, channels=8)
    shared.add_sense("right", tied_to="left")
    shared.add_representation("hands", ["left", "right"], channels=8)
    shared.add_task("reach", "vector", ["hands"], target=(2,), sigma=1.0)
    plain = shared.to_dict()
    assert plain["senses"]["right"] == {"tied_to": "left"}
    plain["senses"]["right"] = plain["senses"]["left"]
    tied = RecursiveGQN.from_dict(plain)
    tied.load_state_dict(shared.state_dict())
    assert sum(p.numel() for p in tied.parameters()) > sum(p.numel() for p in shared.parameters())
    batch = world(3)
    felt, reach = batch.senses["touch"], {"reach": batch.tasks["reach"]}
    both = {"left": felt, "right": Views(felt.frames.flip(0), felt.cameras)}
    for graph in (tied, shared):
        losses(graph, Batch(both, reach))["reach"].backward()
    torch.testing.assert_close(shared.encode(both, "hands"), tied.encode(both, "hands"))
    for name, parameter in shared.nodes["left"].named_parameters():
        left, right = (dict(tied.nodes[hand].named_parameters())[name].grad for hand in ("left", "right"))
        torch.testing.assert_close(parameter.grad, left + right)
    shared.freeze("right")
    assert shared.spec["left"].frozen
    shared.replace("left", channels=8, hidden=16)
    assert shared.nodes["right"] is shared.nodes["left"]
    assert shared.spec["right"].options["hidden"] == 16


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_alone_rebuilds_the_graph(tmp_path: Path, suffix: str) -> None:
    graph = three_layers(dropout=0.25)
    graph.add_task("blind", "classify", ["both"], target=(), classes=4, senses=["touch"], data="name", weight=0.5)
    graph.freeze("vision", "render")
    graph.to_file(tmp_path / f"graph.{suffix}")
    again = RecursiveGQN.from_file(tmp_path / f"graph.{suffix}")
    assert again.spec == graph.spec
    assert again.trials == graph.trials
    again.load_state_dict(graph.state_dict())
    assert same(weights(again), weights(graph))
    # In the same order too, by which an optimizer numbers them.
    learning = [[(name, p.requires_grad) for name, p in g.named_parameters()] for g in (graph, again)]
    assert learning[0] == learning[1]


def test_a_limited_task_reads_its_senses_alone() -> None:
    graph = three_layers()
    graph.add_task("blind", tied_to="name", inputs=["both"], senses=["touch"])
    batch = world(3)
    name = batch.tasks["name"]
    whole = graph(Batch(batch.senses, {"blind": name, "name": name}))
    felt = graph(Batch({"touch": batch.senses["touch"]}, {"name": name}))
    assert torch.equal(whole["blind"].mean, felt["name"].mean)
    assert not torch.equal(whole["name"].mean, felt["name"].mean)


def test_growing_keeps_what_is_there_to_the_bit() -> None:
    graph = flat()
    batch = world(2)
    before = weights(graph)
    seen = graph.encode({"vision": batch.senses["vision"]}, "vision")
    graph.add_sense("touch", "vector", frame=(4,), pose=2, channels=16)
    graph.add_representation("arm", ["vision"], channels=16)
    graph.add_task("reach", "vector", ["arm"], target=(2,))
    assert same(weights(graph, "nodes.vision.", "nodes.render."), before)
    before = weights(graph)
    graph.attach("arm", "touch")
    assert same({k: v for k, v in weights(graph).items() if ".encoders.touch." not in k}, before)
    assert any(".encoders.touch." in key for key in weights(graph))
    graph.attach("reach", "touch")
    assert same({k: v for k, v in weights(graph).items() if ".encoders.touch." not in k}, before)
    assert graph(Batch(batch.senses, {"reach": batch.tasks["reach"]}))["reach"].mean.shape == (2, 1, 2)
    graph.detach("reach", "arm")
    graph.detach("arm", "touch")
    assert same(weights(graph), before)
    assert torch.equal(graph.encode({"vision": batch.senses["vision"]}, "vision"), seen)


def test_rename_and_remove() -> None:
    graph = three_layers()
    graph.add_task("blind", tied_to="name", inputs=["both"], senses=["touch"])
    batch = world(2)
    before = graph.encode(batch.senses, "both")
    graph.rename("touch", "hand")
    assert graph.spec["both"].inputs == ("arm", "hand")
    assert graph.spec["blind"].senses == ("hand",)
    renamed = {"vision": batch.senses["vision"], "hand": batch.senses["touch"]}
    assert torch.equal(graph.encode(renamed, "both"), before)
    graph.rename("name", "tell")
    assert graph.spec["blind"].tied_to == "tell"
    assert RecursiveGQN.from_dict(graph.to_dict()).spec == graph.spec
    copy.deepcopy(graph).load_state_dict(graph.state_dict())
    graph.remove("blind", "tell", "both")
    assert list(graph.spec) == ["vision", "hand", "arm", "render", "feel", "reach"]
    graph.remove("reach")
    with pytest.raises(GraphError, match="^'arm' lead to no task"):
        graph.check_whole()


def test_replace_gives_new_weights_in_the_same_place() -> None:
    graph = three_layers()
    before = weights(graph)
    graph.freeze("arm")
    graph.replace("arm", hidden=64)
    assert graph.spec["arm"].options == {"channels": 16, "hidden": 64}
    assert not graph.spec["arm"].frozen
    graph.replace("name", "vector", target=(3,))
    assert graph.spec["name"].options == {"target": (3,), "query": 0}
    assert same(
        weights(graph, "nodes.vision.", "nodes.both."),
        {key: value for key, value in before.items() if key.startswith(("nodes.vision.", "nodes.both."))},
    )


def test_standardised_representations_have_no_mean_and_one_deviation() -> None:
    torch.manual_seed(0)
    node = Standardise(inputs=Grid(3, 2, 2), channels=3)
    r = 5 + 0.01 * torch.randn(200, 3, 2, 2)
    r[:, 0, 0, 0] = 7.0  # what never varies stays finite
    assert torch.equal(node(r), r)  # before it is fitted
    node.fit(r)
    standard = node(r)
    assert standard.mean(dim=0).abs().max() < 1e-3
    deviation = standard.std(dim=0, correction=0).flatten()
    torch.testing.assert_close(deviation[1:], torch.ones(11), atol=1e-3, rtol=0)
    assert deviation[0] == 0
    assert not list(node.parameters())
    with pytest.raises(ValueError, match="gives as many"):
        Standardise(inputs=Grid(3, 2, 2), channels=4)


def test_dropout_of_senses() -> None:
    """In training alone, each by itself, never the last one, and never a sense from the renderer of its own."""
    torch.manual_seed(0)
    graph = three_layers(fusion="sum", dropout=0.5)
    senses = world(400).senses
    alone = [graph.eval().encode({name: senses[name]}, "both") for name in senses]
    whole = graph.encode(senses, "both")
    graph.train()
    drawn = graph.encode(senses, "both")
    vision, touch, both = ((drawn - r).abs().amax(dim=(1, 2, 3)) < 1e-5 for r in (*alone, whole))
    assert (vision.int() + touch.int() + both.int() == 1).all()
    # Of the four equally likely outcomes, the one without both becomes either of the two with one.
    for outcome, share in ((vision, 0.375), (touch, 0.375), (both, 0.25)):
        assert outcome.float().mean().item() == pytest.approx(share, abs=0.08)
    torch.testing.assert_close(graph.encode({"touch": senses["touch"]}, "both"), alone[1])


ERRORS: dict[str, tuple[Callable[[RecursiveGQN], object], str]] = {
    "name taken": (lambda g: g.add_sense("arm", "vector", frame=(3,)), "there is a node 'arm' already: choose another"),
    "rename to taken": (lambda g: g.rename("arm", "both"), "there is a node 'both' already"),
    "name with a dot": (lambda g: g.add_sense("a.b", "vector", frame=(3,)), "no node can be named 'a.b'"),
    "name of PyTorch's": (lambda g: g.rename("arm", "train"), "no node can be named 'train'"),
    "unknown node": (lambda g: g.freeze("visoin"), "no node 'visoin'; there are 'vision', 'touch'"),
    "unknown input": (
        lambda g: g.add_representation("x", ["visoin"]),
        "'x' reads 'visoin', which is no node; there are",
    ),
    "unknown encoder": (
        lambda g: g.add_sense("x", "towr", frame=(3,)),
        "sense 'x': no encoder 'towr'; there are 'pyramid'",
    ),
    "unknown head": (
        lambda g: g.add_task("x", "rendr", ["arm"]),
        "task 'x': no head 'rendr'; there are 'render', 'vector'",
    ),
    "unknown option": (
        lambda g: g.add_task("x", "vector", ["arm"], traget=(3,), target=(3,)),
        r"task 'x' \(vector on 'arm' \(16, 1, 1\)\): got an unexpected keyword argument 'traget'",
    ),
    "missing option": (lambda g: g.add_sense("x", "vector"), r"sense 'x' \(vector\): missing 1 required.*'frame'"),
    "bad option": (
        lambda g: g.replace("both", fusion="add"),
        r"'both' \(mlp on 'arm'.*fusion 'add': use sum or product",
    ),
    "bad flag": (lambda g: g.add_sense("x", "vector", frame=(3,), frozen="no"), "sense 'x': .*\"frozen\".*bool"),
    "bad inputs": (lambda g: g.add_representation("x", 5), "representation 'x': .*"),
    "no inputs": (lambda g: g.add_task("x", "vector", [], target=(3,)), "task 'x' reads nothing: name its inputs"),
    "last input": (lambda g: g.detach("arm", "vision"), "representation 'arm' reads nothing"),
    "a sense reads": (lambda g: g.attach("touch", "vision"), "sense 'touch' is a sense and reads no other node"),
    "reads a task": (lambda g: g.attach("both", "reach"), "'both' reads 'reach', which is a task: read what that task"),
    "cycle": (lambda g: g.attach("arm", "both"), "cycle: 'arm' reads 'both' reads 'arm'"),
    "own cycle": (lambda g: g.attach("arm", "arm"), "cycle: 'arm' reads 'arm'"),
    "a word of PyTorch's": (lambda g: g.rename("arm", "training"), "no node can be named 'training'"),
    "reads twice": (
        lambda g: g.add_task("x", "vector", ["arm", "arm"], target=(2,)),
        "task 'x' reads a node twice: name each of its inputs once",
    ),
    "attached twice": (lambda g: g.attach("both", "touch"), "'both' reads 'touch' already"),
    "not attached": (lambda g: g.detach("both", "vision"), "'both' does not read 'vision'; it reads 'arm', 'touch'"),
    "sizes of inputs": (
        lambda g: g.add_task("x", "vector", ["vision", "arm"], target=(2,)),
        r"task 'x' reads 'vision' \(8, 2, 2\) and 'arm' \(16, 1, 1\), whose sizes differ: put a representation on them",
    ),
    "sizes downstream": (
        lambda g: g.replace("arm", channels=32),
        r"'both' was made for size \(16, 1, 1\) of 'arm' and would read \(32, 1, 1\): keep that size, or remove",
    ),
    "sizes of an input downstream": (
        lambda g: g.replace("touch", channels=32),
        r"representation 'both' was made for size \(16, 1, 1\) of 'touch' and would read \(32, 1, 1\)",
    ),
    "frames of another shape": (
        lambda g: g.add_sense("x", "tower", frame=(3, 8, 6)),
        "'x' .*vision takes .channels, pixels",
    ),
    "target of another shape": (lambda g: g.add_task("x", "render", ["arm"], target=(3, 8, 6)), "'x' .*a frame is"),
    "grids": (
        lambda g: g.add_task("x", "render", ["vision"], target=(3, 64, 64), query=7),
        r"task 'x' \(render on 'vision' \(8, 2, 2\)\): a representation on a grid of 2 x 2: "
        "the generator takes 1 x 1 or 16 x 16",
    ),
    "needed by others": (lambda g: g.remove("vision"), "'arm' needs 'vision': remove it too, or detach it first"),
    "sigma": (
        lambda g: g.add_task("x", "vector", ["arm"], target=(2,), sigma=-1),
        "task 'x': sigma is -1, must be more than 0",
    ),
    "limited to no sense": (
        lambda g: g.add_task("x", tied_to="name", inputs=["both"], senses=["arm"]),
        "can't be limited to 'arm': it reads the senses 'touch', 'vision'",
    ),
    "tied to another kind": (
        lambda g: g.add_sense("x", tied_to="arm"),
        "'x' can't be tied to 'arm': name another sense",
    ),
    "tied and has": (
        lambda g: g.add_sense("x", "vector", tied_to="touch"),
        "sense 'x' is tied to 'touch' and takes no 'encoder' of",
    ),
}


@pytest.mark.parametrize("mistake", ERRORS)
def test_a_mistake_is_named_and_changes_nothing(mistake: str) -> None:
    graph = three_layers()
    edit, message = ERRORS[mistake]
    if mistake == "sizes of an input downstream":
        graph.remove("feel")
        edit = lambda g: g.replace("touch", channels=32)  # noqa: E731
    spec, before = dict(graph.spec), weights(graph)
    with pytest.raises(GraphError, match=message) as error:
        edit(graph)
    assert "\n" not in str(error.value)
    assert graph.spec == spec
    assert same(weights(graph), before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("senses: [", "graph.yaml can't be read as a graph"),
        (
            "senses: {a: {encoder: vector}, a: {encoder: vector}}",
            "graph.yaml can't be read as a graph: 'a' stands there twice",
        ),
        ("sences: {}", "graph.yaml: a graph has 'senses', 'representations', 'tasks'.*sences"),
        ("[1, 2]", "graph.yaml: a graph has"),
        ("senses: [a]", "graph.yaml: 'senses' has nodes by name"),
        ("senses: {a: vector}", "graph.yaml: sense 'a': expected its encoder and options by name, found 'vector'"),
        ("senses: {a: {encoder: vector, frame: [3]}}\ntasks: {a: {head: vector}}", "'a' is the name of two nodes"),
        ("senses: {a.b: {encoder: vector, frame: [3]}}", "no node can be named 'a.b'"),
        (
            "senses: {a: {encoder: vector, frame: [3]}}\nrepresentations: {b: {inputs: [c]}, c: {inputs: [b]}}",
            "cycle: 'b' reads 'c' reads 'b'",
        ),
    ],
)
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(text)
    with pytest.raises(GraphError, match=message):
        RecursiveGQN.from_file(path)


def test_what_a_notebook_gives_is_refused_in_one_line() -> None:
    graph, batch = flat().eval(), world(2)
    views, query = batch.senses["vision"], batch.tasks["render"].cameras
    nan = query.clone()
    nan[0, 0, 0] = torch.nan
    for senses, asked, told in (
        (views, query[:1], "views of 2 scenes and queries of 1"),
        (views, nan, "queries are not finite"),
        (views, query[:, :0], "numbers are wanted"),
        (
            Views(views.frames.double(), views.cameras),
            query,
            "numbers of torch.float32, torch.float64, wanted are torch.float32",
        ),
        (Views(views.frames, views.cameras * torch.nan), query, "'vision' was given cameras that are not finite"),
    ):
        with pytest.raises(GraphError, match=told):
            graph.sample(senses, asked)
    absent = views.cameras.clone()
    absent[:, 0] = torch.nan  # anything may stand in the place of a view that is not there
    there = torch.ones(absent.shape[:2], dtype=torch.bool)
    there[:, 0] = False
    assert graph.sample(Views(views.frames, absent, there), query.double()).isfinite().all()
    for wrong in (there.float(), there[:, :1], [True, True]):
        with pytest.raises(Error, match="present: a tensor of truth values for each view"):
            Views(views.frames, views.cameras, wrong)


def test_data_that_do_not_fit_are_named() -> None:
    graph, batch = three_layers(), world(2)
    touch, reach = batch.senses["touch"], batch.tasks["reach"]
    for senses, tasks, message in (
        ({"tuoch": touch}, {"reach": reach}, "no node 'tuoch'; there are"),
        ({"arm": touch}, {"reach": reach}, "'arm' is a representation and no sense"),
        (
            {"vision": touch},
            {"reach": reach},
            r"sense 'vision' has frame \(3, 8, 8\) and pose 7, and was given \(4,\) and 2",
        ),
        ({"touch": touch}, {"feel": reach}, r"task 'feel' has target \(4,\) and query 2, and was given \(2,\) and 0"),
        ({"touch": touch}, {"touch": touch}, "'touch' is a sense and no task"),
    ):
        with pytest.raises(GraphError, match=message):
            graph(Batch(senses, tasks))
    with pytest.raises(GraphError, match="'reach' can't be encoded"):
        graph.encode(batch.senses, "reach")
    with pytest.raises(GraphError, match="the graph has no task"):
        RecursiveGQN().check_whole()


def test_three_layers_learn_every_task_from_its_own_scene() -> None:
    """End to end: with another scene's targets the same training learns nothing, and what was learned does not fit."""
    held_out, wrong = world(64, seed=1000), shuffled(world(64, seed=1000))
    learned = {}
    for name, change in (("true", lambda batch: batch), ("shuffled", shuffled)):
        torch.manual_seed(0)
        graph = three_layers(dropout=0.2)
        learn(graph, 250, lambda step, change=change: change(world(16, seed=step)), rate=5e-3)
        graph.eval()
        with torch.no_grad():
            learned[name] = {key: value.item() for key, value in losses(graph, held_out).items()}
            if name == "true":
                misfit = {key: value.item() for key, value in losses(graph, wrong).items()}
    for task in ("render", "feel", "reach", "name"):
        assert learned["true"][task] < learned["shuffled"][task] - 0.3
        assert learned["true"][task] < misfit[task] - 0.3


def shuffled(batch: Batch) -> Batch:
    """Every scene with the answers of another."""
    order = torch.randperm(len(batch.tasks["reach"].frames), generator=torch.Generator().manual_seed(5))
    return Batch(batch.senses, {name: Views(v.frames[order], v.cameras) for name, v in batch.tasks.items()})
