"""Probes, retrieval and choices where the answer is known."""

import numpy as np
import pytest
import torch

from gqn.evaluation.mental_rotation import separation
from gqn.evaluation.probes import r_squared, reduced, retrieval


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_probe_reads_what_is_there_and_nothing_else(kind: str) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(600, 2))
    features = truth @ random.normal(size=(2, 20)) + 0.1 * random.normal(size=(600, 20))
    noise = random.normal(size=(600, 20))
    for r, low, high in ((features, 0.9, 1.0), (noise, -0.3, 0.1)):
        found = r_squared(kind, reduced(r[:400], r[400:], 0), truth[:400], truth[400:], 0)
        assert low < found["value"] < high
        assert found["interval_95"][0] <= found["value"] <= found["interval_95"][1]


def test_only_a_nonlinear_probe_reads_a_product() -> None:
    random = np.random.default_rng(0)
    r = random.normal(size=(3000, 2))
    truth = r.prod(axis=1, keepdims=True)
    linear, mlp = (
        r_squared(k, (r[:2500], r[2500:]), truth[:2500], truth[2500:], 0)["value"] for k in ("linear", "mlp")
    )
    assert linear < 0.1 < 0.6 < mlp


def test_retrieval_ranks_the_right_answer() -> None:
    torch.manual_seed(0)
    d, others = torch.randn(30, 2, 4), torch.randn(50, 2, 4)
    abc = torch.randn(30, 3, 2, 4)
    exact = retrieval(d + 0.01 * torch.randn_like(d), d, abc, others, 0, own=False)
    assert exact["nearest"]["mean"] == 1
    assert exact["median_rank"] == 1
    wrong = retrieval(torch.randn(30, 2, 4), d, abc, others, 0, own=False)
    assert wrong["nearest"]["mean"] < 0.2
    assert 20 < wrong["median_rank"] < 65
    # The guess that is C itself would always find C first.
    c = abc[:, 2]
    assert retrieval(c, c.roll(1, 0), abc, others, 0, own=False)["median_rank"] > 1
    near = retrieval(c, c + 0.01, abc, others, 0, own=True)
    assert near["nearest"]["mean"] == 1


def test_a_representation_that_is_always_the_same_finds_by_chance() -> None:
    r = torch.randn(1, 2, 4).repeat(50, 1, 1)
    found = retrieval(r[:30], r[:30], r[:30, None].repeat(1, 3, 1, 1), r[:47], 0, own=False)
    assert found["nearest"]["mean"] == pytest.approx(1 / 80)
    assert found["among_5_nearest"]["mean"] == pytest.approx(5 / 80)
    assert found["median_rank"] == 40.5  # of 30 + 47 + 3 candidates


def test_separation_of_same_and_mirrored() -> None:
    scores = torch.tensor([0.0, 1, 2, 3])
    assert separation(scores + 10, scores) == 1
    assert separation(scores, scores) == 0.5
    assert separation(torch.tensor([1.0, 3]), torch.tensor([0.0, 2])) == 0.75
