"""A training step on CUDA without a device: it waits for nothing, and takes what the device is fast with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_cuda import CUDA, WAITS, devices, fake_cuda, faked, to_cuda
from graphs import World, three_layers
from torch import Tensor, nn

from gqn.core.distributed import Processes
from gqn.training.config import PRESETS, Config
from gqn.training.losses import Losses
from gqn.training.trainer import Trainer

ALONE = Processes(0, 1, torch.device("cpu"))


def tiny(preset: str, folder: Path, data: str = "", **training: object) -> Config:
    config = PRESETS[preset]
    return replace(
        config,
        data=data,
        runs=str(folder),
        device="cpu",
        precision="bfloat16",
        model=replace(
            config.model, representation_channels=8, hidden=8, canvas=8, side=8, latent=2, generation_steps=2
        ),
        training=replace(config.training, batch=4, steps=10, **training),
        evaluation=replace(config.evaluation, eval_context_views=3),
    )


def moved(run: Trainer) -> None:
    """Bring what a run learns to the fake device, as it would be there from its start."""
    learner = run.learner
    for network in (learner.losses, learner.ema):  # the losses hold the network
        to_cuda(network)
    learner.group = replace(learner.group, device=CUDA)
    (parameters,) = learner.optimizer.param_groups
    parameters["params"] = [weight for weight in run.network.parameters() if weight.requires_grad]


@pytest.fixture
def no_backward(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that get gradients of the right places and shapes by `backward`, which fake tensors can't take."""
    networks: list[nn.Module] = []

    def backward(loss: Tensor) -> None:
        assert loss.device == CUDA
        assert loss.requires_grad
        for network in networks:
            for weight in network.parameters():
                weight.grad = torch.empty_like(weight) if weight.requires_grad else None

    monkeypatch.setattr(Tensor, "backward", backward)
    return networks


def stepped(run: Trainer, networks: list[nn.Module], monkeypatch: pytest.MonkeyPatch, steps: int = 2) -> Tensor:
    """What so many steps of a run return, from the batches' way to the device to the sum of what is logged."""
    batches, learner = [run.batches[step] for step in range(steps)], run.learner
    networks.append(run.network)
    with fake_cuda(monkeypatch) as fake:
        moved(run)
        losses = Losses(learner.group, learner.names)
        for step, batch in enumerate(batches):
            losses.add(learner.step(faked(batch, fake).to(CUDA), step, step))
        learned = [*learner.ema.parameters(), *learner.ema.buffers()]
        assert devices(losses.sum, learner.optimizer.state, *learned) <= allowed(run)
        return losses.sum


def allowed(run: Trainer) -> set[torch.device]:
    """Muon keeps its count of steps on the host, a number that goes with a kernel's launch."""
    return {CUDA} if run.config.training.optimizer == "adam" else {CUDA, torch.device("cpu")}


@pytest.mark.parametrize(("preset", "parts"), [("quick", 1), ("paper", 2)])
def test_a_step_waits_for_nothing_and_leaves_nothing_elsewhere(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_backward: list[nn.Module], preset: str, parts: int
) -> None:
    """Batch, losses, clipping, the optimizer's step (Muon's, or Adam's by one kernel), EMA and what is logged."""
    config = tiny(preset, tmp_path, str(scenes), gradient_accumulation_steps=parts)
    run = Trainer(config, tmp_path / "run", ALONE)
    stepped(run, no_backward, monkeypatch)


def test_a_step_of_a_graph_of_which_not_all_is_known_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_backward: list[nn.Module]
) -> None:
    graph = three_layers(fusion="product", dropout=0.5)
    run = Trainer(tiny("quick", tmp_path), tmp_path / "run", ALONE, network=graph, scenes=World(20))
    stepped(run, no_backward, monkeypatch)


def test_reading_the_losses_waits_as_it_should(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_backward: list[nn.Module]
) -> None:
    """So a step that read them would be refused above."""
    run = Trainer(tiny("paper", tmp_path, str(scenes)), tmp_path / "run", ALONE)
    step = run.learner.step
    for wrong in (lambda values: values.tolist(), lambda values: values.cpu(), lambda values: values + torch.ones(4)):
        monkeypatch.setattr(run.learner, "step", lambda *given, wrong=wrong: wrong(step(*given)))
        with pytest.raises(WAITS):
            stepped(run, no_backward, monkeypatch, steps=1)


def test_a_run_takes_what_the_device_is_fast_with(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_backward: list[nn.Module]
) -> None:
    """One kernel for Adam, bfloat16, channels last, TF32 for what stays in float32."""
    run = Trainer(tiny("paper", tmp_path, str(scenes)), tmp_path / "run", ALONE)
    assert run.learner.optimizer.defaults["fused"]
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32
    kinds: list[tuple[torch.dtype, bool]] = []

    def seen(conv: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        kinds.append((out.dtype, conv.weight.is_contiguous(memory_format=torch.channels_last)))

    for module in run.network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(seen)
    stepped(run, no_backward, monkeypatch, steps=1)
    assert set(kinds) == {(torch.bfloat16, True)}
