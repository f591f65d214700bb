"""What only a device can show: the same numbers as on the CPU, and a step that waits for nothing.

The CPU takes the same tests, so that they are known to run where there is no device.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gqn.core.distributed import processes
from gqn.core.views import Views
from gqn.models.outputs import Volume
from gqn.models.rays import LookThrough
from gqn.models.senses import Sense
from gqn.models.volume import VolumeEncoder
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config
from gqn.training.history import read_history
from gqn.training.losses import Losses
from gqn.training.trainer import Trainer, train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def exact() -> Iterator[None]:
    """Products in float32 and not in TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def tiny(preset: str, scenes: Path, runs: Path, device: str, steps: int) -> Config:
    config = PRESETS[preset]
    return dataclasses.replace(
        config,
        data=str(scenes),
        runs=str(runs),
        name="run",
        device=device,
        workers=1,
        model=dataclasses.replace(
            config.model, representation_channels=8, hidden=8, canvas=8, side=8, generation_steps=2
        ),
        training=dataclasses.replace(config.training, steps=steps, batch=4, minutes=0.0),
        evaluation=dataclasses.replace(config.evaluation, eval_scenes=5, samples=2),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_a_run_learns_and_goes_on(scenes: Path, tmp_path: Path, preset: str, device: str) -> None:
    folder = train(tiny(preset, scenes, tmp_path, device, 3))
    train(tiny(preset, scenes, tmp_path, device, 6), resume=True)
    assert checkpoint.read(folder)["step"] == 6
    first, last = (report["tasks"]["render"]["negative_elbo_above_floor"] for report in read_history(folder))
    assert 0 < last < 2 * first


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_a_step_with_its_backward_pass_waits_for_nothing(
    scenes: Path, tmp_path: Path, preset: str, device: str
) -> None:
    with processes(device) as group:
        run = Trainer(tiny(preset, scenes, tmp_path, device, 3), tmp_path / "run", group)
        learner, losses = run.learner, Losses(group, run.learner.names)
        pinned = device == "cuda"
        batches = [run.batches[step].pin_memory() if pinned else run.batches[step] for step in range(3)]
        losses.add(learner.step(batches[0].to(group.device), 0, 0))
        if pinned:
            torch.cuda.set_sync_debug_mode("error")
        try:
            for step, batch in enumerate(batches[1:], start=1):
                losses.add(learner.step(batch.to(group.device), step, step))
        finally:
            if pinned:
                torch.cuda.set_sync_debug_mode("default")
        assert all(value == value for value in losses.means(3, tmp_path).values())


@pytest.mark.parametrize("device", DEVICES)
def test_a_volume_and_its_gradients_are_those_of_the_cpu(exact: None, device: str) -> None:
    torch.manual_seed(0)
    sense = Sense(VolumeEncoder(pixels=16, side=8, passes=2))
    assert isinstance(sense.output, Volume)
    look = LookThrough(sense.output, pixels=16, out_channels=8, grid=4).eval()
    views = Views(torch.rand(3, 2, 3, 16, 16), torch.randn(3, 2, 7))

    def results(place: torch.device) -> list[Tensor]:
        networks = nn.ModuleList([sense, look]).to(place)
        networks.zero_grad()
        summary, pictures = look(sense(views.to(place)), views.cameras.to(place))
        (summary.square().mean() + pictures.square().mean()).backward()
        return [t.detach().cpu().clone() for t in (summary, pictures, *(p.grad for p in networks.parameters()))]

    torch.testing.assert_close(results(torch.device(device)), results(torch.device("cpu")), rtol=2e-3, atol=2e-4)
