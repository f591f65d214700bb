"""Linear probes: they read what a representation holds, and nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gqn.core.distributed import Processes
from gqn.core.views import Views
from gqn.data.truth import questions
from gqn.models.cube import cell_coordinates
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.outputs import Grid, Volume
from gqn.training.config import PRESETS
from gqn.training.probes import Probed, answers, by_figure, components, near, read_by_ridge, whole
from gqn.training.trainer import train

VOLUME = Volume(4, 8, 45.0, (0.0, 0.0, 0.0), 0.5)
CENTRES = torch.cartesian_prod(*cell_coordinates(VOLUME, torch.zeros(1)))  # of its cells, z fastest
TRAINING, TOTAL = 150, 30


class Numbered:
    """Scenes whose frames and cameras tell their number alone."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def observations(self, data: str) -> int:
        return 4

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        return torch.full((len(chosen), 3, 2, 2), float(self.first + scene)), torch.zeros(len(chosen), 7)

    def answer(self, data: str, scene: int) -> Tensor | None:
        raise AssertionError(data)


def labels() -> list[dict]:
    random = np.random.default_rng(0)
    kinds = ("box", "sphere")
    return [
        {
            "joints": random.uniform(-3, 3, 2),
            "hand": random.uniform(-0.4, 0.4, 3),
            "objects": [
                {"position": place, "colour": random.random(3), "shape": kinds[random.integers(2)], "size": 0.1}
                for place in random.permutation([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.1]])[: random.integers(1, 3)]
                + random.uniform(-0.1, 0.1, (1, 3))
            ],
        }
        for _ in range(TRAINING + TOTAL)
    ]


def figures(r: Callable[[Tensor], Tensor], output: Grid | Volume, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return what is read from the representation that `r` gives of scenes by their numbers (b,)."""

    def encode(views: Mapping[str, Views]) -> Tensor:
        return r(views["vision"].frames[:, 0, 0, 0, 0].long())

    known = labels()
    about = questions(known[:TRAINING])
    found = answers(
        {"r": Probed(encode, output)},
        about,
        known[:TRAINING],
        Numbered(0, TRAINING),
        Numbered(TRAINING, TOTAL),
        TOTAL,
        senses={"vision": "frames"},
        context=2,
        seed=seed,
        processes=Processes(0, 1, torch.device("cpu")),
    )
    return by_figure(about, found, known[TRAINING:], lambda figure: figure.value)


def test_a_representation_that_holds_the_truth_is_read_whole() -> None:
    known = labels()
    truth = np.concatenate([question.targets(known) for question in questions(known[:TRAINING]).values()], axis=1)
    # Of the truth's principal components, mixed: as many as training scenes tell apart.
    u, s, _ = np.linalg.svd(truth - truth.mean(axis=0), full_matrices=False)
    table = torch.from_numpy(u[:, :60] * s[:60] @ np.random.default_rng(1).normal(size=(60, 80))).float()
    found = figures(lambda numbers: table[numbers][:, :, None, None], Grid(80))
    assert found["joints_r2"]["r"] > 0.9
    assert found["count_r2"]["r"] > 0.9
    assert found["distance"]["r"] < 0.03 < 0.09 < found["distance"]["constant"]
    assert found["colour_r2"]["r"] > 0.7
    assert "r_cells" not in found["distance"]  # it has no places
    assert figures(lambda numbers: table[numbers][:, :, None, None], Grid(80), seed=1) == found  # from other views


def test_cells_that_hold_the_truth_are_read_where_they_are() -> None:
    known, centres = labels(), CENTRES.numpy()
    cells = []
    for scene in known:
        places = np.array([item["position"] for item in scene["objects"]])
        near_it = np.exp(-np.square(centres[:, None] - places).sum(axis=2) / (2 * 0.1**2))
        colours = np.array([item["colour"] for item in scene["objects"]])
        cells.append(np.concatenate([near_it.sum(axis=1, keepdims=True), near_it @ colours], axis=1))
    r = torch.tensor(np.array(cells)).float().unflatten(1, (8, 8, 8)).permute(0, 4, 1, 2, 3).flatten(1, 2)
    found = figures(lambda numbers: r[numbers], VOLUME)
    assert found["distance"]["r_cells"] < 0.05 < found["distance"]["constant"]
    assert found["place_r2"]["r_cells"] > 0.95
    assert found["colour_r2"]["r_cells"] > 0.8 > found["colour_r2"]["constant"]
    assert "r_cells" not in found["joints_r2"]  # which are nowhere


def test_nothing_is_read_from_noise() -> None:
    torch.manual_seed(0)
    noise = torch.randn(TRAINING + TOTAL, *VOLUME.shape)
    found = figures(lambda numbers: noise[numbers], VOLUME)
    for name, values in found.items():
        for source in ("r", "r_cells"):
            if source in values and name.endswith("_r2"):
                assert values[source] < max(0.0, values["constant"]) + 0.15, (name, source)
            if source in values and name.endswith("distance"):
                assert values[source] > 0.7 * values["constant"], (name, source)


def test_a_ridge_reads_a_sum_exactly_whatever_its_units() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(120, 3, generator=random, dtype=torch.float64)
    features = (truth @ torch.randn(3, 400, generator=random, dtype=torch.float64) + 5).float()
    for unit in (1.0, 1e-3, 1e3):
        x = components(unit * features[:100], unit * features[100:])
        np.testing.assert_allclose(read_by_ridge(*x, truth[:100], pooled=False), truth[100:].numpy(), atol=0.02)


def test_what_probes_read_does_not_depend_on_the_order_of_views() -> None:
    torch.manual_seed(0)
    volume = {"field_of_view": 45.0, "radius": 0.5, "side": 8}
    sizes = {"hidden": 4, "canvas": 4, "latent": 2, "generation_steps": 2}
    network = GenerativeQueryNetwork(
        pixels=16, representation="volume", representation_channels=4, volume=volume, **sizes
    ).eval()
    views = Views(torch.rand(2, 3, 3, 16, 16), torch.nn.functional.normalize(torch.randn(2, 3, 7), dim=-1))
    turned = Views(views.frames.flip(1), views.cameras.flip(1))
    output = network.trials["vision"].output
    assert isinstance(output, Volume)
    nodes = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    with torch.no_grad():
        one, other = network.encode(views), network.encode(turned)
        torch.testing.assert_close(whole(one, output), whole(other, output))
        usual = torch.zeros(20, 1)
        torch.testing.assert_close(near(one, output, nodes, usual), near(other, output, nodes, usual))


def test_a_probe_of_cells_reads_those_round_a_place() -> None:
    r = CENTRES.unflatten(0, (8, 8, 8)).permute(3, 0, 1, 2)  # (c, x, y, z)
    r = torch.cat([r, torch.full((1, 8, 8, 8), 10.0)]).flatten(0, 1)[None]  # dense
    chosen = torch.tensor([73, 200, 365])
    usual = torch.rand(3, 2)
    read = near(r, VOLUME, CENTRES[chosen].double().numpy(), usual)[0]
    torch.testing.assert_close(read[:, :2], usual)
    torch.testing.assert_close(read[:, 2:-1].unflatten(1, (4, 27))[:, :3, 13], CENTRES[chosen])
    outside = near(r, VOLUME, np.array([[9.0, 9.0, 9.0]]), usual[:1])  # reads the cube's corner
    assert outside.shape == (1, 1, 2 + 4 * 27 + 1)


def test_metrics_of_a_run_on_drawn_scenes_have_its_probes(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gqn.training.probes.LEARNED_FROM", (20, 1000))
    quick = PRESETS["quick"]
    config = replace(
        quick,
        data=str(scenes),
        runs=str(tmp_path),
        name="run",
        device="cpu",
        precision="float32",
        model=replace(quick.model, representation="pool", representation_channels=8, hidden=8, generation_steps=2),
        training=replace(quick.training, steps=2, batch=2, minutes=0.0),
        evaluation=replace(quick.evaluation, eval_every=1, eval_scenes=5, samples=2),
    )
    first, last = json.loads((train(config) / "metrics.json").read_text())["history"]
    assert "probes" not in first
    found = last["probes"]["vision"]
    assert (found.pop("training_scenes"), found.pop("scenes"), found.pop("context")) == (24, 5, 3)
    assert found.keys() == {"colours_r2", "layout_r2", "colours_in_place_r2"}
    assert found["layout_r2"].keys() == {"representation", "mean_of_frames", "constant"}
    assert all(isinstance(value, float) for values in found.values() for value in values.values())
