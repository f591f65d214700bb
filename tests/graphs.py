"""A small world of two senses and a graph of three layers over it, for several tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gqn.core.views import Batch, Views
from gqn.models.graph import RecursiveGQN

CORES = {"hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2, "shared_cores": True, "kernel": 3}


def flat(pixels: int = 8) -> RecursiveGQN:
    graph = RecursiveGQN()
    graph.add_sense("vision", "tower", frame=(3, pixels, pixels), channels=8, aggregate="mean")
    graph.add_task("render", "render", ["vision"], target=(3, pixels, pixels), query=7, sigma=0.3, **CORES)
    return graph


def three_layers(*, fusion: str = "product", dropout: float = 0.0) -> RecursiveGQN:
    """Vision and touch with a renderer each, a task on vision's second layer, a joint task on both."""
    graph = flat()
    graph.add_sense("touch", "vector", frame=(4,), pose=2, channels=16, aggregate="mean")
    graph.add_task("feel", "vector", ["touch"], target=(4,), query=2, hidden=32, data="touch")
    graph.add_representation("arm", ["vision"], "mlp", channels=16, hidden=32)
    graph.add_task("reach", "vector", ["arm"], target=(2,), hidden=32)
    graph.add_representation("both", ["arm", "touch"], channels=16, hidden=32, fusion=fusion, dropout=dropout)
    graph.add_task("name", "classify", ["both"], target=(), classes=4, hidden=32)
    return graph


class World:
    """The scenes of `world` as a dataset: ten views and ten touches each, and answers, of which some are not known."""

    def __init__(self, scenes: int, seed: int = 0) -> None:
        self.count = scenes
        self.batch = world(scenes, views=10, seed=seed)

    def __len__(self) -> int:
        return self.count

    def observations(self, data: str) -> int:
        if data not in ("frames", "touch", "reach", "name"):
            raise ValueError(f"no data '{data}'")
        return 10 if data in ("frames", "touch") else 0

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        if data == "touch" and scene % 5 == 0:
            return None
        views = self.batch.senses["vision" if data == "frames" else data]
        return views.frames[scene][list(chosen)], views.cameras[scene][list(chosen)]

    def answer(self, data: str, scene: int) -> Tensor | None:
        return None if data == "reach" and scene % 3 == 0 else self.batch.tasks[data].frames[scene, 0]


def world(scenes: int, *, views: int = 3, queries: int = 2, seed: int = 0) -> Batch:
    """Scenes of a hue, which is seen, and a hardness, which is felt; a joint class takes both to tell.

    A camera's first number brightens the frame and a probe's pose scales what it feels.
    """
    random = torch.Generator().manual_seed(seed)
    hue = torch.randint(2, (scenes,), generator=random)
    hardness = torch.randint(2, (scenes,), generator=random)

    def look(count: int) -> Views:
        cameras = torch.rand(scenes, count, 7, generator=random)
        colour = torch.stack([hue, 1 - hue, hue * 0], dim=1).float()[:, None, :, None, None]
        return Views((0.5 + 0.5 * cameras[:, :, :1, None, None]) * colour.expand(-1, count, -1, 8, 8), cameras)

    def feel(count: int) -> Views:
        poses = torch.rand(scenes, count, 2, generator=random)
        felt = (2 * hardness - 1)[:, None, None] * (0.5 + poses[:, :, :1]) * torch.tensor([1.0, -1.0, 0.5, 0.0])
        return Views(felt, poses)

    def asked(target: torch.Tensor) -> Views:
        return Views(target[:, None], torch.zeros(scenes, 1, 0))

    reach = torch.stack([2.0 * hue - 1, 1 - 2.0 * hue], dim=1)
    return Batch(
        {"vision": look(views), "touch": feel(views)},
        {"render": look(queries), "feel": feel(queries), "reach": asked(reach), "name": asked(2 * hue + hardness)},
    )
