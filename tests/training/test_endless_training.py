"""A run on a world without end: its held-out scenes lie in its folder, and it stops and goes on like any other."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from test_training import history, tiny, weights

from gqn.core.distributed import processes
from gqn.data import endless
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.generate import generate
from gqn.training.config import Config
from gqn.training.folder import TrainingError
from gqn.training.trainer import Trainer, train
from gqn.viewer.opening import opened


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few small scenes, drawn by this process."""
    small = partial(generate, workers=1, size=16, views=8, progress=False)
    monkeypatch.setattr(endless, "BEFOREHAND", 24)
    monkeypatch.setattr(endless, "generate", small)
    monkeypatch.setattr(endless, "convert", partial(endless.convert, workers=1, progress=False))
    monkeypatch.setattr("gqn.training.probes.LEARNED_FROM", (20, 1000))


def test_a_world_by_its_name_draws_its_held_out_scenes_and_goes_on_to_the_same_bits(few: None, tmp_path: Path) -> None:
    schedule = {"learning_rate_steps": 6, "sigma_steps": 6}
    data, world = Path("rooms_ring_camera:endless"), "scenes/rooms_ring_camera"
    whole = train(tiny(data, tmp_path, name="whole", **schedule))
    report = history(whole)[-1]
    assert report["scenes"] == len(SceneDataset(whole / world, "test")) == 5
    assert report["tasks"]["render"]["objects"]["scenes"] > 0  # by twins
    assert report["probes"]["vision"]["training_scenes"] == 24
    about = json.loads((whole / "metrics.json").read_text())["dataset"]
    assert about == {"name": "rooms_ring_camera", "training_scenes": "endless", "pixels": 16}
    assert len(opened(whole, None, print)[1]) == 5  # as the viewer finds them

    train(tiny(data, tmp_path, name="parts", steps=3, **schedule))
    before = (tmp_path / "parts" / world / "test/1-of-1.tfrecord").stat().st_mtime_ns
    (tmp_path / "parts" / "metrics.json").unlink()  # as if it had been killed before the evaluation of step 3
    goes_on = tiny(tmp_path / "parts" / f"{world}:endless", tmp_path, name="parts", **schedule)
    parts = train(replace(goes_on, workers=2), resume=True)  # drawn by others, to the same bits
    assert (parts / world / "test/1-of-1.tfrecord").stat().st_mtime_ns == before
    assert history(parts) == history(whole)
    assert all(torch.equal(value, weights(parts)[name]) for name, value in weights(whole).items())


def test_a_seed_has_a_world_of_its_own(few: None, tmp_path: Path) -> None:
    def first(config: Config) -> torch.Tensor:
        with processes("cpu") as group:
            return Trainer(config, tmp_path / config.name, group).batches.scenes.observe("frames", 0, [0])[0]

    frames = [
        first(tiny(Path("shepard_metzler_5_parts:endless"), tmp_path, name=str(seed), seed=seed)) for seed in (0, 1)
    ]
    assert not torch.equal(*frames)


def test_what_an_endless_world_has_not_is_told(scenes: Path, tmp_path: Path) -> None:
    config = tiny(Path(f"{scenes}:endless"), tmp_path)
    with pytest.raises(TrainingError, match=r"^--fraction: an endless world has no part, leave it out$"):
        train(replace(config, fraction=0.5))
    with pytest.raises(DatasetError, match=r"^nowhere:endless: nowhere is no folder of a drawn dataset and no world"):
        train(replace(config, data="nowhere:endless"))
    assert not list(tmp_path.iterdir())
