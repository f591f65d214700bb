"""Batches: a function of seed and step alone, the query never among its context, every scene once an epoch."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gqn.core.views import Batch
from gqn.data.batches import TrainingBatches, evaluation_batches
from gqn.data.loading import loading


class Numbered:
    """Scenes whose every view can be told by its camera's x (the scene) and y (the view)."""

    def __init__(self, scenes: int = 10, views: int = 6) -> None:
        self.scenes, self.views, self.pixels = scenes, views, 4

    def __len__(self) -> int:
        return self.scenes

    def observations(self, data: str) -> int:
        return self.views

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        cameras = torch.zeros(self.views, 7)
        cameras[:, 0], cameras[:, 1] = scene, torch.arange(self.views)
        frames = (torch.arange(self.views) + 10 * scene)[:, None, None, None] / 255
        return frames.expand(-1, 3, 4, 4)[list(chosen)], cameras[list(chosen)]

    def answer(self, data: str, scene: int) -> Tensor | None:
        raise AssertionError(data)


def batches(**changes) -> TrainingBatches:
    arguments = {"batch": 4, "context_views": (1, 4), "queries": 2, "seed": 3} | changes
    return TrainingBatches(Numbered(), **arguments)


def numbers(batch: Batch) -> Tensor:
    """Scene and view of each camera, (b, m + q, 2)."""
    return torch.cat([batch.context.cameras, batch.query.cameras], dim=1)[..., :2]


def test_same_step_same_batch_another_step_another() -> None:
    assert torch.equal(numbers(batches()[7]), numbers(batches()[7]))
    assert not torch.equal(batches()[7].query.cameras, batches()[8].query.cameras)
    assert not torch.equal(batches()[7].query.cameras, batches(seed=4)[7].query.cameras)


@pytest.mark.parametrize("step", range(5))
def test_query_never_lies_among_its_context(step: int) -> None:
    for scene in numbers(batches()[step]):
        assert len(scene[:, 0].unique()) == 1
        assert len(scene[:, 1].unique()) == len(scene)


def test_frames_belong_to_their_cameras() -> None:
    batch = batches()[0]
    for views in (batch.context, batch.query):
        brightness = (255 * views.frames[:, :, 0, 0, 0]).round()
        assert torch.equal(brightness, views.cameras[..., 1] + 10 * views.cameras[..., 0])


def test_every_context_size_comes_up() -> None:
    sizes = {batches()[step].context.cameras.shape[1] for step in range(40)}
    assert sizes == {1, 2, 3, 4}


def test_an_epoch_has_every_scene_once() -> None:
    seen = torch.cat([numbers(batches()[step])[:, 0, 0] for step in range(5)])  # 2 epochs of 10 scenes
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_processes_share_a_batch() -> None:
    whole = numbers(batches()[6])
    parts = [numbers(batches(rank=rank, processes=2)[6]) for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)
    with pytest.raises(ValueError, match="4 scenes does not divide by 3 processes"):
        batches(processes=3)


def received(steps: range, *, workers: int, pin_memory: bool = False) -> list[Batch]:
    with loading(batches(), steps, workers=workers, pin_memory=pin_memory) as loaded:
        return list(loaded)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_goes_on_where_it_is_told(workers: int) -> None:
    loaded: Sequence[Batch] = received(range(5, 9), workers=workers)
    assert len(loaded) == 4
    for step, batch in zip(range(5, 9), loaded, strict=True):
        assert torch.equal(numbers(batch), numbers(batches()[step]))


def test_too_few_views_are_named() -> None:
    with pytest.raises(
        ValueError, match="needs 7 observations of 'frames' a scene; the dataset has 6: lower --context-views"
    ):
        batches(context_views=(1, 5))


def test_evaluation_covers_the_split_with_its_short_end() -> None:
    items = list(evaluation_batches(Numbered(), batch=4, context=3, seed=0))
    assert [item.first for item in items] == [0, 4, 8]
    scenes = torch.cat([numbers(item.batch)[:, 0, 0] for item in items])
    assert scenes.tolist() == list(range(10))
    shuffled = torch.cat([item.shuffled.context.cameras[:, 0, 0] for item in items])
    assert shuffled.tolist() == [*range(1, 10), 0]


def test_evaluation_views_do_not_depend_on_the_batch_size() -> None:
    whole, halves = (
        torch.cat([numbers(i.batch) for i in evaluation_batches(Numbered(), batch=b, context=3, seed=0)])
        for b in (10, 5)
    )
    assert torch.equal(whole, halves)


@pytest.mark.cuda
def test_batches_reach_the_device_from_pinned_memory() -> None:
    (batch,) = received(range(5, 6), workers=2, pin_memory=True)
    assert batch.context.frames.is_pinned()
    assert batch.query.cameras.is_pinned()
    on_device = batch.to(torch.device("cuda"))
    torch.cuda.synchronize()
    assert torch.equal(on_device.query.frames.cpu(), batches()[5].query.frames)
