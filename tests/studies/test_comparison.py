"""Statistics of learning curves, against their definitions."""

import numpy as np
import pytest

from gqn.studies.comparison import (
    area,
    interquartile_mean,
    probability_of_improvement,
    ratio_of_steps,
    steps_to_threshold,
)

STEPS = [0, 10, 20, 40]


def test_a_threshold_is_reached_where_the_curve_first_crosses_it() -> None:
    errors = [1.0, 0.8, 0.4, 0.6]
    assert steps_to_threshold(STEPS, errors, 0.6) == pytest.approx(15)  # and not again at 40
    assert steps_to_threshold(STEPS, errors, 0.8) == pytest.approx(10)
    assert steps_to_threshold(STEPS, errors, 1.5) == 0
    assert steps_to_threshold(STEPS, errors, 0.39) == float("inf")


def test_a_harder_threshold_never_takes_fewer_steps() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        errors = random.random(len(STEPS)).tolist()
        reached = [steps_to_threshold(STEPS, errors, threshold) for threshold in np.linspace(1, 0, 21)]
        assert reached == sorted(reached)


def test_the_ratio_is_of_medians_and_says_what_was_cut() -> None:
    theirs = np.array([80.0, 100.0, 120.0, 400.0])
    quarter = ratio_of_steps(theirs / 4, theirs, 1000)
    assert quarter is not None
    assert (quarter.value, quarter.low, quarter.high, quarter.bound) == pytest.approx((0.25, 0.25, 0.25, ""))
    never = [np.inf] * 4
    most = ratio_of_steps(theirs, never, 1000)
    assert most is not None
    assert (most.value, most.bound) == (pytest.approx(0.11), "at most")
    least = ratio_of_steps(never, theirs, 1000)
    assert least is not None
    assert (least.value, least.bound) == (pytest.approx(1000 / 110), "at least")
    assert ratio_of_steps(never, never, 1000) is None
    # One run that never crosses moves no median to infinity, and is not dropped either.
    one = ratio_of_steps([50.0, 60.0, 70.0, np.inf], theirs, 1000)
    assert one is not None
    assert one.bound == ""
    assert one.value == pytest.approx(65 / 110)


def test_seeds_are_paired() -> None:
    """Resampling seeds leaves the ratio at one half if each seed's is, however much the seeds differ."""
    theirs = np.geomspace(10, 1000, 11)
    found = ratio_of_steps(theirs / 2, theirs, 1e6)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_the_interquartile_mean_leaves_out_both_quarters() -> None:
    scores = np.array([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])
    found = interquartile_mean([scores[:4], scores[4:]])
    assert found.value == pytest.approx(np.mean([2, 3, 4, 5]))
    assert found.low <= found.value <= found.high
    random = np.random.default_rng(0)
    few, many = (interquartile_mean([random.normal(size=count)]) for count in (8, 200))
    assert many.high - many.low < few.high - few.low
    assert many.low < 0.2 > -0.2 < many.high


def test_resampling_keeps_to_each_task() -> None:
    """Two tasks of constant scores have no spread, unless runs of one were drawn for the other."""
    found = interquartile_mean([np.zeros(5), np.ones(5)])
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_probability_of_improvement_is_that_of_all_pairs() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0.5, 1, (3, 6)), random.normal(0, 1, (3, 7))
    pairs = [[float(a > b) for a in x for b in y] for x, y in zip(ours, theirs, strict=True)]
    found = probability_of_improvement(list(ours), list(theirs))
    assert found.value == pytest.approx(np.mean([np.mean(task) for task in pairs]))
    assert found.low < found.value < found.high
    other_way = probability_of_improvement(list(theirs), list(ours))
    assert found.value + other_way.value == pytest.approx(1)
    assert probability_of_improvement([np.ones(4)], [np.ones(3)]).value == 0.5
    assert probability_of_improvement([np.ones(4)], [np.zeros(3)]).value == 1


def test_the_area_of_a_constant_is_the_constant() -> None:
    assert area(STEPS, [0.3] * 4) == pytest.approx(0.3)
    assert area([0, 10, 30], [0, 1, 1]) == pytest.approx(25 / 30)
