"""Learning curves compared: steps to a threshold where some runs never reach it, scores, and their intervals.

Interquartile mean, probability of improvement and the stratified bootstrap are those of Agarwal et al. 2021, "Deep
reinforcement learning at the edge of the statistical precipice" (rliable). Intervals are of 95 %, over seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gqn.core.extras import extra
from gqn.core.tables import NONE
from gqn.evaluation.metrics import bootstrap_interval

Array = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; bound says what censoring makes of it: "", "at most" or "at least"."""

    value: float
    low: float
    high: float
    bound: str = ""


def steps_to_threshold(steps: Sequence[float], errors: Sequence[float], threshold: float) -> float:
    """Return the steps until a curve, straight between its points, falls to a threshold; infinite for never."""
    errors = list(errors)
    for number, error in enumerate(errors):
        if error <= threshold:
            if number == 0:
                return float(steps[0])
            before, after = errors[number - 1], error
            return float(np.interp(before - threshold, [0, before - after], [steps[number - 1], steps[number]]))
    return float("inf")


def ratio_of_steps(ours: ArrayLike, theirs: ArrayLike, budget: float) -> Estimate | None:
    """Return our median steps to a threshold over theirs, of paired seeds (n,); infinite for runs cut at the budget.

    Where their median is cut, the ratio is at most ours over the budget; where ours is, at least the budget over
    theirs; None where both are. The interval takes cut runs at the budget.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    ours_cut, theirs_cut = (not np.isfinite(np.median(x)) for x in (ours, theirs))
    if ours_cut and theirs_cut:
        return None

    def ratio(a: Array, b: Array, axis: int = -1) -> Array:
        return np.median(a, axis=axis) / np.maximum(np.median(b, axis=axis), 1e-9)

    capped = np.minimum(ours, budget), np.minimum(theirs, budget)
    low, high = _interval(capped, ratio, paired=True)
    bound = "at most" if theirs_cut else "at least" if ours_cut else ""
    return Estimate(float(ratio(*capped)), low, high, bound)


def told_ratio(ours: ArrayLike, theirs: ArrayLike, budget: float) -> str:
    """Return `ratio_of_steps` as a table's cell shows it, and how many runs got there, of ours and of theirs."""
    found = ratio_of_steps(ours, theirs, budget)
    reached = ", ".join(f"{np.isfinite(runs).sum()}/{np.size(runs)}" for runs in (ours, theirs))
    return f"{shown(found, 2) if found else NONE}<br>{reached}"


def shown(estimate: Estimate, digits: int) -> str:
    """Return an estimate and its interval as a table shows them."""
    bound = {"": "", "at most": "≤ ", "at least": "≥ "}[estimate.bound]
    return f"{bound}{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def area(steps: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean of a score over the steps of a curve, straight between its points: its normalised area."""
    x = np.asarray(steps, float)
    return float(np.trapezoid(np.asarray(scores, float), x) / np.ptp(x))


def interquartile_mean(scores: Sequence[ArrayLike]) -> Estimate:
    """Return the mean of the middle half of all runs' scores, given for each task by seed and resampled within it."""
    samples = [np.asarray(task, float) for task in scores]

    def middle(*tasks: Array, axis: int = -1) -> Array:
        return extra("scipy.stats").trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)

    return Estimate(float(middle(*samples)), *_interval(samples, middle))


def probability_of_improvement(ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike]) -> Estimate:
    """Return the probability that our run scores higher than theirs, mean over tasks; ties count half."""
    samples = [np.asarray(task, float) for task in (*ours, *theirs)]

    def better(*tasks: Array, axis: int = -1) -> Array:
        pairs = zip(tasks[: len(ours)], tasks[len(ours) :], strict=True)
        wins = [np.heaviside(a[..., :, None] - b[..., None, :], 0.5).mean(axis=(axis - 1, axis)) for a, b in pairs]
        return np.mean(wins, axis=0)

    return Estimate(float(better(*samples)), *_interval(samples, better))


def spread(values: Sequence[float], form: str = ".2f", middle: Callable[[Sequence[float]], float] = fmean) -> str:
    """Return the mean, or another middle, and the lowest and highest of values, as a table shows them."""
    shown, low, high = (
        format(v, form) if np.isfinite(v) else "never" for v in (middle(values), min(values), max(values))
    )
    return shown if len(values) == 1 else f"{shown} ({low} to {high})"


def _interval(samples: Sequence[Array], statistic: Callable[..., Any], *, paired: bool = False) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic along an axis; each is resampled by itself unless paired."""
    if min(map(len, samples)) == 1:  # nothing to resample: no interval yet
        value = float(statistic(*samples))
        return value, value
    low, high = bootstrap_interval(samples, statistic, 0, resamples=RESAMPLES, paired=paired, vectorized=True)
    return low, high
