"""Every network on CUDA without a device: nothing lies elsewhere, and nothing makes the host wait."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import CUDA, WAITS, devices, fake_cuda, to_cuda
from graphs import CORES, flat, three_layers
from torch import Tensor

from gqn.core.views import Batch, Views
from gqn.models.fusion import ENCODERS
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import HEADS, Head, mean_loss
from gqn.models.losses import residual_weights
from gqn.models.rays import WeightedSum
from gqn.models.senses import SENSES
from gqn.models.volume import WeightedViews

FRAMES = (3, 16, 16)
VECTOR = {"target": (3,), "hidden": 8}
OPTIONS = {  # of senses and heads that take no frames
    "vector": {"frame": (5,), "pose": 2},
    "spectrogram": {"frame": (1, 16, 9), "pose": 2},
}
TASKS = {
    "render": {"target": FRAMES, "query": 7, **CORES},
    "vector": {"query": 2, **VECTOR},
    "classify": {"target": (2,), "classes": 4, "hidden": 8},
    "density": VECTOR,
    "place": {"target": (3,), "query": 0},
    "picture": {"target": FRAMES, "hidden": 8},
}


def of_sense(name: str, **options: object) -> RecursiveGQN:
    """A sense, which a vector task reads."""
    graph = RecursiveGQN()
    graph.add_sense("sense", name, channels=8, **{"frame": FRAMES, "pose": 7, **OPTIONS.get(name, {}), **options})
    graph.add_task("answer", "vector", ["sense"], **VECTOR)
    return graph


def of_head(name: str, representation: str = "tower", **options: object) -> RecursiveGQN:
    """A task, which reads frames."""
    graph = RecursiveGQN()
    graph.add_sense("sense", "volume" if name == "place" else representation, frame=FRAMES, channels=8)
    graph.add_task("answer", name, ["sense"], **{**TASKS[name], **options})
    return graph


def of_encoder(name: str) -> RecursiveGQN:
    """A representation of two senses."""
    graph = of_sense("tower")
    graph.add_sense("other", "vector", frame=(5,), pose=2, channels=8)
    graph.add_representation("both", ["sense", "other"], name, channels=8)
    graph.add_task("joint", "vector", ["both"], **VECTOR)
    return graph


CASES: dict[str, Callable[[], RecursiveGQN]] = {
    **{f"sense {name}": lambda name=name: of_sense(name) for name in SENSES},
    **{f"head {name}": lambda name=name: of_head(name) for name in HEADS},
    **{f"encoder {name}": lambda name=name: of_encoder(name) for name in ENCODERS},
    "mean of views, normalised": lambda: of_sense("pool", aggregate="mean", normalise=True),
    "a fixed deviation": lambda: of_head("vector", sigma=0.1),
    "a volume in two passes": lambda: of_sense("volume", passes=2),
    "the generator in a volume": lambda: of_head("render", "volume"),
    "the generator of one cell": lambda: of_head("render", "pyramid", shared_cores=False),
    "activations computed again": lambda: of_head("render", "volume", activation_checkpointing=True),
    "a flat network": flat,
    "three layers, a product of experts": lambda: three_layers(fusion="product", dropout=0.5),
    "three layers, a sum": lambda: three_layers(fusion="sum", dropout=0.5),
}


def batch_of(graph: RecursiveGQN, *, partly: bool) -> Batch:
    """A batch on the fake device for all senses and tasks; partly: only some views and answers are known."""

    def views(shape: tuple[int, ...], numbers: int, count: int) -> Views:
        present = torch.ones(2, count, dtype=torch.bool, device=CUDA) if partly else None
        frames = torch.rand(2, count, *shape, device=CUDA)
        return Views(frames, torch.randn(2, count, numbers, device=CUDA), present)

    nodes = graph.spec.items()
    return Batch(
        {n: views(node.options["frame"], node.options["pose"], 3) for n, node in nodes if node.kind == "sense"},
        {
            n: views(node.options["target"], node.options["query"], 2 if node.options["query"] else 1)
            for n, node in nodes
            if node.kind == "task"
        },
    )


@pytest.mark.parametrize("case", CASES)
def test_all_that_a_network_computes_stays_on_the_device(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """In training, where not all is known, in bfloat16; and in evaluation in float32."""
    graph = CASES[case]().to(memory_format=torch.channels_last)
    found: list[object] = []
    with fake_cuda(monkeypatch):
        to_cuda(graph)
        for training in (True, False):
            graph.train(training)
            batch = batch_of(graph, partly=training)
            with torch.autocast("cuda", torch.bfloat16, enabled=training):
                for name, answer in graph(batch).items():
                    head, asked = graph.nodes[name], batch.tasks[name]
                    assert isinstance(head, Head)
                    found += [answer, mean_loss(answer, asked), head.error(answer, asked.frames)]
                    if asked.frames.dim() == 5:
                        found.append(residual_weights(asked.frames, answer.mean))
        found += [graph.sample(batch.senses, asked.cameras, 1, name) for name, asked in batch.tasks.items()]
        graph.freeze()
        found += [graph.encode_views(batch.senses), graph(Batch({}, batch.tasks))]  # the latter of unseen scenes
    assert devices(*found) == {CUDA}


def test_gradients_that_are_written_by_hand_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch):
        columns, weights = torch.rand(4, 50, device=CUDA), torch.rand(5000, 6, device=CUDA)
        index = torch.randint(50, (5000, 6), device=CUDA)
        context = SimpleNamespace(saved_tensors=(columns, weights, index))
        of_columns, of_weights, _ = WeightedSum.backward(context, torch.rand(5000, 4, device=CUDA))
        assert (of_columns.shape, of_weights.shape) == (columns.shape, weights.shape)
        assert devices(of_columns, of_weights) == {CUDA}
        features, light = torch.rand(2, 3, 4, 2, 2, 2, device=CUDA), torch.rand(2, 3, 2, 2, 2, device=CUDA)
        context = SimpleNamespace(saved_tensors=(features, light))
        of_features, of_light = WeightedViews.backward(context, torch.rand(2, 4, 2, 2, 2, device=CUDA))
        assert (of_features.shape, of_light.shape) == (features.shape, light.shape)
        assert devices(of_features, of_light) == {CUDA}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.cpu(),
        lambda x: x.sum().cpu(),
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x if x.sum() > 0 else -x,
        lambda x: torch.equal(x, x),
        lambda x: x + torch.ones(3),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0], device=x.device),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: torch.where(x > 0, x, torch.tensor(0.0)),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.ones(3).copy_(x),
        lambda x: x.repeat_interleave(torch.tensor([1, 2, 1], device="cpu").to(x.device, non_blocking=True)),
    ],
)
def test_what_waits_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Tensor], object]) -> None:
    with fake_cuda(monkeypatch), pytest.raises(WAITS):
        wrong(torch.rand(3, device=CUDA))


def test_what_does_not_wait_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch):
        x = torch.rand(3, device=CUDA)
        assert devices(x / torch.tensor(2.0), torch.where(x > 0, x, 0), x.new_full((), 0.5)) == {CUDA}
        assert torch.rand(3).to(CUDA, non_blocking=True).device == CUDA
