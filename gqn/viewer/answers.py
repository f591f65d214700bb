"""Answers of a graph's tasks in words, and in space where an answer is a place or an arm's joints."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from gqn.core.errors import Error
from gqn.core.extras import MissingExtra
from gqn.models.heads import Answer, centre
from gqn.scenes.kinova import JOINTS, Arm, arm_spec

PLACES = ("position", "hand", "target")  # how data whose three numbers are a place in the world are called
ARM = "joints"  # how data whose nine numbers are the angles of an arm are called
MOST_NUMBERS = 9  # that are written out; more become bars
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Said:
    """An answer of a task to a scene in words, and the truth where it is known."""

    task: str
    text: str
    truth: str = ""
    place: tuple[float, float, float] | None = None  # world units
    true_place: tuple[float, float, float] | None = None
    bones: NDArray[np.float64] | None = None  # (n, 2, 3) lines along an arm, world units
    true_bones: NDArray[np.float64] | None = None


def say(task: str, data: str, answer: Answer, truth: Tensor | None) -> Said:
    """Return the answer to the first query of the first scene in words.

    Args:
        task: its name.
        data: what a dataset calls its answers; by it an answer is known to be a place, or an arm's joints.
        answer: of the task's head.
        truth: the true answer, of the target's shape; None where it is not known.
    """
    distribution = base(answer.distribution)
    if isinstance(distribution, Categorical):
        probable, classes = distribution.probs[0, 0].reshape(-1, distribution.probs.shape[-1]).max(dim=-1)
        text = ", ".join(f"{c} ({p:.0%})" for c, p in zip(classes.tolist(), probable.tolist(), strict=True))
        known = "" if truth is None else ", ".join(f"{c:g}" for c in truth.flatten().tolist())
        return Said(task, f"class {text}", known)
    value = centre(answer)[0, 0]
    text, known = numbers(value), "" if truth is None else numbers(truth)
    if value.numel() <= MOST_NUMBERS and (deviation := spread(answer.distribution)) is not None:
        text += f" ± {deviation[0, 0].mean():.2g}"
    if truth is not None:
        known += f", off by {(value - truth).norm():.2g}"
    named = data.split(".")[-1]
    if named == ARM:
        return Said(task, text, known, bones=bones(value), true_bones=None if truth is None else bones(truth))
    if tuple(value.shape) == (3,) and named in PLACES:
        return Said(task, text, known, place(value), None if truth is None else place(truth))
    return Said(task, text, known)


def base(distribution: Distribution) -> Distribution:
    """Return a distribution over each number of an answer apart."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


def spread(distribution: Distribution) -> Tensor | None:
    """Return the standard deviations, (b, q, ...); None for a distribution that tells none."""
    try:
        return distribution.stddev
    except (NotImplementedError, AttributeError, Error):
        return None


def numbers(values: Tensor) -> str:
    """Return numbers as text, or as bars from the least to the most where they are many."""
    flat = values.float().flatten()
    if len(flat) <= MOST_NUMBERS:
        return " ".join(f"{value:.2f}" for value in flat.tolist())
    low, high = flat.min(), flat.max()
    heights = (flat - low) / (high - low).clamp(min=1e-9) * (len(BARS) - 1)
    return f"{''.join(BARS[i] for i in heights.round().int().tolist()[:64])} ({low:.2f} to {high:.2f})"


def place(values: Tensor) -> tuple[float, float, float]:
    x, y, z = torch.as_tensor(values).tolist()
    return x, y, z


def bones(joints: Tensor) -> NDArray[np.float64] | None:
    """Return lines along the arm at angles in radians; None for other numbers of joints, or where it can't be posed."""
    arm = jaco()
    if arm is None or tuple(joints.shape) != (JOINTS,):
        return None
    arm.pose(joints.double().cpu().numpy())
    return arm.bones


@cache
def jaco() -> Arm | None:
    """Return the arm of the world `jaco`; None where what draws it is not installed."""
    try:
        return Arm(arm_spec(1.0).compile())
    except MissingExtra:
        return None
