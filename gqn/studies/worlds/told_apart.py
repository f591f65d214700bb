"""Classifier of genuine and drawn frames from the same cameras: how often it tells them apart, and by what."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.core.extras import extra
from gqn.data.tfrecord import decode_jpeg, encode_jpeg
from gqn.studies.worlds.fit import Fit, Frames

Array = NDArray[np.float64]

BINS = (0, 2, 4, 8, 16, 32, 64, 256)  # of 255, of differences between neighbours


def features(frames: Frames) -> tuple[Array, list[str]]:
    """Return plain figures of frames (n, h, w, 3), (n, features), and their names: colour, edges and fine grain."""
    pixels = frames.astype(float)
    found: dict[str, Array] = {}
    for number, colour in enumerate(("red", "green", "blue")):
        found[f"mean of {colour}"] = pixels[..., number].mean(axis=(1, 2))
        found[f"spread of {colour}"] = pixels[..., number].std(axis=(1, 2))
    grey = pixels.mean(axis=-1)
    for way, axis in (("across", 2), ("down", 1)):
        steps = np.abs(np.diff(grey, axis=axis)).reshape(len(frames), -1)
        for low, high in pairwise(BINS):
            found[f"steps {way} of {low} to {high}"] = ((steps >= low) & (steps < high)).mean(axis=1)
    for scale in (1, 2, 4):
        side = grey.shape[1] // scale * scale
        wide = grey.shape[2] // scale * scale
        coarse = (
            grey[:, :side, :wide].reshape(len(frames), side // scale, scale, wide // scale, scale).mean(axis=(2, 4))
        )
        grain = (
            coarse[:, 1:-1, 1:-1]
            - (coarse[:, :-2, 1:-1] + coarse[:, 2:, 1:-1] + coarse[:, 1:-1, :-2] + coarse[:, 1:-1, 2:]) / 4
        )
        found[f"grain at {scale} pixels"] = np.abs(grain).mean(axis=(1, 2))
        found[f"typical grain at {scale} pixels"] = np.median(np.abs(grain), axis=(1, 2))
    return np.stack(list(found.values()), axis=1), list(found)


def told_apart(fits: list[Fit]) -> dict[str, Any]:
    """Return how often a logistic regression tells genuine from drawn on scenes that it has not seen; 0.5 is chance.

    Drawn frames go through the JPEG of the datasets; of what a display covers nothing is shown.

    Args:
        fits: scenes, each held out in turn, genuine and drawn frames alike.
    """
    linear, scaling, chain = (extra(f"sklearn.{name}") for name in ("linear_model", "preprocessing", "pipeline"))
    data, truth, scene = [], [], []
    for number, fit in enumerate(fits):
        rows = fit.counted.all(axis=1)
        for genuine, frames in ((1, fit.genuine), (0, compressed(fit.drawn))):
            values, names = features(frames[:, rows])
            data.append(values)
            truth += [genuine] * len(frames)
            scene += [number] * len(frames)
    table, answers, groups = np.concatenate(data), np.array(truth), np.array(scene)
    right, weights = [], []
    for number in range(len(fits)):
        model = chain.make_pipeline(scaling.StandardScaler(), linear.LogisticRegression(C=0.1, max_iter=2000))
        model.fit(table[groups != number], answers[groups != number])
        right.append(model.score(table[groups == number], answers[groups == number]))
        weights.append(model[-1].coef_[0])
    weight = np.mean(weights, axis=0)
    strongest = np.argsort(-np.abs(weight))[:6]
    return {
        "accuracy": round(float(np.mean(right)), 3),
        "by_scene": [round(float(value), 3) for value in right],
        "frames": len(answers),
        "gives_ours_away": {names[number]: round(float(weight[number]), 2) for number in strongest},
    }


def compressed(frames: Frames) -> Frames:
    """Return frames (n, h, w, 3) as the JPEGs of the datasets give them back."""
    return np.stack([decode_jpeg(encode_jpeg(frame)).transpose(1, 2, 0) for frame in frames])
