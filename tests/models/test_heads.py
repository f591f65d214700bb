"""Heads: what each one's loss is, and that it can say what its kind of task asks for."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal

import gqn
from gqn.core.errors import Error
from gqn.core.views import Views
from gqn.models.cube import cell_axis, in_world
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import (
    HEADS,
    Classify,
    Density,
    Head,
    Picture,
    Place,
    Vector,
    mean_loss,
    negative_elbo,
)
from gqn.models.outputs import Grid, Volume

INPUTS = Grid(4, 2, 2)
PAGE = Path(__file__).resolve().parents[2] / "docs/own-heads-and-senses.md"


def asked(queries: int = 3, scenes: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(scenes, queries, 5), torch.rand(scenes, *INPUTS.shape)


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize("target", [(), (3,), (2, 3)])
def test_vector_is_a_gaussian(sigma: float | None, target: tuple[int, ...]) -> None:
    query, r = asked()
    head = Vector(inputs=INPUTS, query=5, target=target, sigma=sigma)
    answer = head(query, r)
    truth = torch.randn(2, 3, *target)
    spread = answer.distribution.stddev.square()
    squares = (truth - answer.mean).square() / spread + (2 * math.pi * spread).log()
    torch.testing.assert_close(negative_elbo(answer, truth), 0.5 * squares.reshape(2, 3, -1).sum(dim=-1))
    assert answer.kl.sum() == 0
    assert head.sample(query, r).shape == truth.shape
    if sigma:
        torch.testing.assert_close(spread, torch.full_like(spread, 0.25))


def test_a_picture_gives_frames_back_and_asks_no_query() -> None:
    """On a grid of a quarter of the frame an autoencoder's head fits the one frame that it is shown."""
    torch.manual_seed(0)
    head, r, frame = (
        Picture(inputs=INPUTS, query=0, target=(3, 8, 8), sigma=0.1),
        torch.rand(1, *INPUTS.shape),
        torch.rand(3, 8, 8),
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(300):
        loss = negative_elbo(head(torch.zeros(1, 1, 0), r), frame[None, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss - head.floor() < 1  # a nat above what no prediction betters
    for query, target in ((5, (3, 8, 8)), (0, (3, 16, 16))):
        with pytest.raises(ValueError, match="takes no query and is four times its grid"):
            Picture(inputs=INPUTS, query=query, target=target)


@pytest.mark.parametrize("target", [(), (3,)])
def test_classify_is_a_categorical(target: tuple[int, ...]) -> None:
    query, r = asked()
    head = Classify(inputs=INPUTS, query=5, target=target, classes=4)
    answer = head(query, r)
    truth = torch.randint(4, (2, 3, *target))
    expected = Categorical(answer.mean).log_prob(truth)
    torch.testing.assert_close(negative_elbo(answer, truth), -expected.reshape(2, 3, -1).sum(dim=-1))
    sample = head.sample(query, r)
    assert sample.shape == truth.shape
    assert 0 <= sample.min() <= sample.max() < 4


def test_density_is_a_mixture() -> None:
    query, r = asked()
    head = Density(inputs=INPUTS, query=5, target=(2,), components=3)
    answer = head(query, r)
    truth = torch.randn(2, 3, 2)
    parts = answer.distribution.component_distribution
    each = MultivariateNormal(parts.mean, torch.diag_embed(parts.variance)).log_prob(truth[:, :, None])
    weighted = each + answer.distribution.mixture_distribution.probs.log()
    torch.testing.assert_close(negative_elbo(answer, truth), -weighted.logsumexp(dim=-1))
    assert head.sample(query, r).shape == truth.shape


def learned(head: Head, targets: Tensor, steps: int = 150) -> float:
    """The mean loss after training on `targets` (n, ...), each asked of the same scene."""
    r, query = torch.ones(1, *INPUTS.shape), torch.zeros(1, len(targets), 0)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mean_loss(head(query, r), Views(targets[None], query))
        loss.backward()
        optimizer.step()
    return loss.item()


def test_only_a_density_holds_two_answers() -> None:
    torch.manual_seed(0)
    targets = torch.where(torch.rand(64, 1) < 0.5, -1.0, 1.0) + 0.1 * torch.randn(64, 1)
    single = learned(Vector(inputs=INPUTS, query=0, target=(1,)), targets)
    head = Density(inputs=INPUTS, query=0, target=(1,), components=4)
    several = learned(head, targets)
    # The entropies of one Gaussian over both answers, and of a narrow one at each.
    assert single == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.1)
    assert several == pytest.approx(math.log(0.1) + 0.5 * math.log(2 * math.pi * math.e) + math.log(2), abs=0.15)
    samples = head.sample(torch.zeros(1, 200, 0), torch.ones(1, *INPUTS.shape))
    assert (samples.abs() > 0.5).float().mean() > 0.9
    assert 0.2 < (samples > 0).float().mean() < 0.8


CELLS = Volume(5, 8, 20.0, (0.5, 0.0, -0.5), 1.0, 0.5)


def with_a_red_cell(numbers: Tensor) -> Tensor:
    """Return volumes that are empty but for a red cell (n, 3) and a green one elsewhere in each."""
    r = torch.zeros(len(numbers), 5, 8, 8, 8)
    r[:, 4] = -2
    for number, (volume, (x, y, z)) in enumerate(zip(r, numbers.tolist(), strict=True)):
        volume[0, x, y, z], volume[4, x, y, z] = 0.5, 2
        volume[1, -x, y, number % 8], volume[4, -x, y, number % 8] = 0.5, 2
    return r.flatten(1, 2)


def test_a_place_is_a_mixture_over_cells() -> None:
    torch.manual_seed(0)
    r, truth = with_a_red_cell(torch.tensor([[4, 1, 5], [0, 0, 0]])), torch.randn(2, 3, 3)
    head = Place(inputs=CELLS, query=0, target=(3,))
    answer = head(torch.zeros(2, 3, 0), r)
    parts, weights = answer.distribution.component_distribution, answer.distribution.mixture_distribution.probs
    each = MultivariateNormal(parts.mean, torch.diag_embed(parts.variance)).log_prob(truth[:, :, None])
    torch.testing.assert_close(negative_elbo(answer, truth), -(each + weights.log()).logsumexp(dim=-1))
    likeliest = parts.mean.gather(2, weights.argmax(dim=2)[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
    torch.testing.assert_close(answer.mean, likeliest)
    # The same place by another origin and in other units.
    moved = Place(inputs=CELLS, query=0, target=(3,), origin=(1.0, 2.0, 3.0), unit=(0.5, 1.0, 2.0))
    moved.load_state_dict(head.state_dict())
    torch.testing.assert_close(moved(torch.zeros(2, 3, 0), r).mean * moved.unit + moved.origin, answer.mean)


def test_a_place_is_found_where_no_scene_showed_it() -> None:
    """The thing is learned in one half of the world, and found in the other."""
    torch.manual_seed(0)
    cells = torch.randint(1, 7, (200, 3))
    places = in_world(CELLS, cell_axis(8, torch.zeros(1))[cells])
    seen, query = cells[:, 0] < 4, torch.zeros(200, 1, 0)
    head = Place(inputs=CELLS, query=0, target=(3,), hidden=8)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = negative_elbo(head(query[seen], with_a_red_cell(cells[seen])), places[seen][:, None]).mean()
        loss.backward()
        optimizer.step()
    found = head(query[~seen], with_a_red_cell(cells[~seen])).mean[:, 0]
    constant = places[seen].mean(dim=0)
    assert (found - places[~seen]).norm(dim=1).mean() < 0.06 < 0.06 * (constant - places[~seen]).norm(dim=1).mean()


def test_a_place_is_read_from_a_volume_alone_and_without_a_query() -> None:
    for inputs, query, target in ((INPUTS, 0, (3,)), (CELLS, 5, (3,)), (CELLS, 0, (2,))):
        with pytest.raises(Error, match="a place is three numbers, read from a volume without a query"):
            Place(inputs=inputs, query=query, target=target)


def test_a_query_counts_and_queries_do_not_meet() -> None:
    query, r = asked()
    for name, options in (("vector", {"target": (2,)}), ("render", {"target": (3, 8, 8), "hidden": 4, "canvas": 4})):
        head = HEADS[name](inputs=INPUTS, query=5, **options).double()
        torch.manual_seed(1)
        both = head.sample(query.double(), r.double())
        other = query.double()
        other[:, 1:] += 1
        torch.manual_seed(1)
        changed = head.sample(other, r.double())
        distance = (both - changed).abs().flatten(2).amax(dim=-1)
        if name == "vector":
            answer, moved = head(query.double(), r.double()).mean, head(other, r.double()).mean
            distance = (answer - moved).abs().amax(dim=-1)
        assert distance[:, 0].max() < 1e-12
        assert distance[:, 1:].min() > 1e-6


def test_a_head_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of the docs: an angle with a von Mises distribution."""
    monkeypatch.setitem(HEADS, "heading", None)  # leaves with the test
    block = next(b for b in PAGE.read_text().split("```python\n") if "class Heading" in b).partition("```")[0]
    exec(block, {"gqn": gqn, "torch": torch})
    graph = RecursiveGQN()
    graph.add_sense("touch", "vector", frame=(4,), pose=2, channels=8)
    graph.add_task("heading", "heading", ["touch"], target=(), hidden=16)
    assert RecursiveGQN.from_dict(graph.to_dict()).spec == graph.spec
    head = graph.nodes["heading"]
    r = torch.ones(1, 8, 1, 1)
    assert head.sample(torch.zeros(1, 7, 0), r).shape == (1, 7)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    angles = 3.0 + 0.1 * torch.randn(1, 50)
    for _ in range(100):
        optimizer.zero_grad()
        mean_loss(head(torch.zeros(1, 50, 0), r), Views(angles, torch.zeros(1, 50, 0))).backward()
        optimizer.step()
    assert (head(torch.zeros(1, 1, 0), r).mean - 3.0).abs().item() < 0.1


@pytest.mark.parametrize("wrong", [3.0, -1.0, 1.7])
def test_a_class_that_there_is_not_is_refused(wrong: float) -> None:
    graph = RecursiveGQN()
    graph.add_sense("touch", "vector", frame=(4,), pose=2, channels=8)
    graph.add_task("kind", "classify", ["touch"], target=(), classes=3)
    head, r = graph.nodes["kind"], torch.ones(1, 8, 1, 1)
    head(torch.zeros(1, 2, 0), r, torch.tensor([[0.0, 2.0]]))
    with pytest.raises(Error, match=f"class {wrong:g}: 3 classes are numbered from 0"):
        head(torch.zeros(1, 2, 0), r, torch.tensor([[0.0, wrong]]))


@pytest.mark.parametrize(("option", "value"), [("weight", -1.0), ("weight", float("nan")), ("sigma", 0.0)])
def test_a_number_that_nothing_could_learn_by_is_refused(option: str, value: float) -> None:
    graph = RecursiveGQN()
    graph.add_sense("touch", "vector", frame=(4,), pose=2, channels=8)
    with pytest.raises(Error, match=f"{option} is {value}"):
        graph.add_task("where", "vector", ["touch"], target=(3,), **{option: value})
