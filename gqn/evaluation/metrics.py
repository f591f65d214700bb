"""Errors of predictions beside their baselines, their intervals over scenes, and the calibration."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.core.extras import extra
from gqn.data.batches import EvaluationBatch
from gqn.evaluation.likelihood import level_edges
from gqn.models.graph import RecursiveGQN
from gqn.training.validation import image_errors, image_predictions

MEASURES = ("mse", "psnr_db", "mae", "ssim")
PREDICTIONS = (
    "reconstruction",
    "prior_sample",
    "prior_mean",
    "prior_best",
    "nearest_context_view",
    "shuffled_sample",
    "shuffled_mean",
    "mean_image",
)
LEVELS = (0.5, 0.8, 0.9, 0.95)  # of central intervals
QUARTERS = 4

Array = NDArray[np.float64]


@torch.no_grad()
def predictions(
    network: RecursiveGQN, item: EvaluationBatch, baseline: Tensor, samples: int, context: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return predictions of each scene's query view from its first `context` views, by the names of PREDICTIONS.

    All but the reconstruction have not seen the view. prior_best is the sample with the least squared error of all
    `samples`; nearest_context_view the context frame whose camera, as 7 numbers, is nearest the query's, black without
    a context; those under a shuffled context see another scene's views, cameras and all. Also returns the prior
    samples (samples, b, c, h, w).
    """
    item = item.shown(context)
    ((task, query),) = item.batch.tasks.items()
    own, truth = item.batch.context, query.frames[:, 0]
    frames, imagined = image_predictions(network, task, item, network(item.batch)[task], baseline, samples)
    predicted, imagined = {name: frame[:, 0] for name, frame in frames.items()}, imagined[:, :, 0]
    scenes = torch.arange(len(truth), device=truth.device)
    best = (imagined.clamp(0, 1) - truth).square().mean(dim=(2, 3, 4)).argmin(dim=0)
    nearest = torch.zeros_like(truth)
    if context:
        nearest = own.frames[scenes, (own.cameras - query.cameras).square().sum(dim=2).argmin(dim=1)]
    predicted |= {"prior_best": imagined[best, scenes], "nearest_context_view": nearest}
    return {name: predicted[name] for name in PREDICTIONS}, imagined


def shares(distances: Tensor) -> Tensor:
    """Return the choice of the nearest answer, (..., k) -> (..., k) that sum to 1: those that tie share it evenly."""
    nearest = distances == distances.amin(dim=-1, keepdim=True)
    return nearest.double() / nearest.sum(dim=-1, keepdim=True)


def measures(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return MEASURES (n, 4) of images (n, c, h, w) for pixel values of 0 to 1, to which predictions are clipped.

    SSIM as published (Wang et al. 2004: a Gaussian window of 11 pixels, sigma 1.5), of frames of 11 pixels or more.
    """
    structural_similarity = extra("torchmetrics.functional.image").structural_similarity_index_measure
    with torch.autocast(truth.device.type, enabled=False):  # its convolutions would be of lower precision too
        similarity = structural_similarity(
            predicted.clamp(0, 1).float(), truth.float(), data_range=1.0, reduction="none"
        )
    return torch.cat([image_errors(predicted, truth), similarity.reshape(-1, 1)], dim=1)


def in_figures(errors: Tensor, seed: int) -> dict[str, Any]:
    """Return means over scenes of MEASURES (n, 4), with intervals; mean and root errors in units of 0 to 255.

    The literature takes the root mean square error of each image and then the mean over images; the root of the mean
    over all pixels of all images is larger.
    """
    squared, psnr, mae, ssim = errors.double().unbind(dim=1)
    whole = mean_with_interval(255**2 * squared, seed)
    root = {name: np.sqrt(whole[name]).tolist() for name in whole}
    return {
        "mae_255": mean_with_interval(255 * mae, seed),
        "rmse_255_mean_of_roots": mean_with_interval(255 * squared.sqrt(), seed),
        "rmse_255_root_of_mean": root,
        "psnr_db": mean_with_interval(psnr, seed),
        "ssim": mean_with_interval(ssim, seed),
    }


def bootstrap_interval(
    samples: Sequence[Array], statistic: Callable[..., Any], seed: int, *, resamples: int = 1000, **options: Any
) -> list[float]:
    """Return the percentile bootstrap interval of 95 % of a statistic; options: those of `scipy.stats.bootstrap`."""
    found = extra("scipy.stats").bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
        **options,
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def mean_with_interval(values: Tensor | Array, seed: int) -> dict[str, Any]:
    """Return the mean over scenes (n,) and its bootstrap interval, none for a single scene."""
    sample = np.asarray(values, np.float64)
    result: dict[str, Any] = {"mean": float(sample.mean())}
    if len(sample) > 1:
        result["interval_95"] = bootstrap_interval([sample], np.mean, seed, batch=100)
    return result


def rank_correlation(a: Tensor | Array, b: Tensor | Array) -> float:
    """Return Spearman's rank correlation of two samples (n,); not a number where one of them is constant."""
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(extra("scipy.stats").spearmanr(a, b).statistic)


def calibration(samples: Tensor, truth: Tensor, sigma: Tensor) -> dict[str, Tensor]:
    """Measure whether prior samples (s, b, c, h, w) are as uncertain of the truth (b, c, h, w) as they are wrong.

    The prediction of a value is the mixture of N(sample, sigma^2) over the samples, sigma (b,) or (b, c, h, w).
    Rows:
    spread (b,): variance of the samples and, where sigma differs from value to value, of these; mean over an image.
    error (b,): squared error of their mean.
    within (b,): Spearman's correlation of the two over the values of one image.
    coverage (b, levels): share of the values within the central intervals of LEVELS; coverage_uncertain: the same among
    the quarter of the values with the largest spread, so that a plain background does not count. Where in its 8-bit
    level a value lies is drawn at random (the randomised probability integral transform): else a level that is likelier
    than an interval's tails would always lie within.
    quarter_variance, quarter_error (b, 4): predicted variance, the noise and the mean's own variance included, and
    squared error in each quarter of the values by their spread: equal where the prediction is calibrated.
    """
    count = len(samples)
    mean, variance = samples.mean(dim=0).flatten(1), samples.var(dim=0, correction=min(1, count - 1)).flatten(1)
    error = (mean - truth.flatten(1)).square()
    noise = sigma.to(samples).reshape(len(truth), -1)
    predicted = variance * (1 + 1 / count) + noise**2
    # The mixture's distribution function at the edges of the truth's level.
    low = high = torch.zeros_like(mean)
    edges = level_edges(truth)
    for sample in samples:
        below, above = (torch.special.ndtr((edge - sample).flatten(1) / noise) / count for edge in edges)
        low, high = low + below, high + above
    place = low + (high - low) * torch.rand_like(low)
    levels = torch.tensor(LEVELS, device=samples.device)
    inside = (place[..., None] > (1 - levels) / 2) & (place[..., None] < (1 + levels) / 2)  # (b, values, levels)
    spread = variance if noise.shape[1] == 1 else predicted
    order = spread.argsort(dim=1)
    order = order[:, : order.shape[1] // QUARTERS * QUARTERS]

    def by_quarter(values: Tensor) -> Tensor:
        return values.gather(1, order).unflatten(1, (QUARTERS, -1)).mean(dim=2)

    uncertain = order.unflatten(1, (QUARTERS, -1))[:, -1, :, None].expand(-1, -1, len(levels))
    within = [rank_correlation(v, e) for v, e in zip(spread.cpu(), error.cpu(), strict=True)]
    return {
        "spread": spread.mean(dim=1),
        "error": error.mean(dim=1),
        "within": torch.tensor(within),
        "coverage": inside.float().mean(dim=1),
        "coverage_uncertain": inside.gather(1, uncertain).float().mean(dim=1),
        "quarter_variance": by_quarter(predicted),
        "quarter_error": by_quarter(error),
    }


def calibration_in_figures(rows: dict[str, Tensor], seed: int) -> dict[str, Any]:
    """Return the rows of `calibration` over all scenes, as plain values with intervals over scenes."""
    within = rows["within"][~rows["within"].isnan()]

    def by_level(values: Tensor) -> dict[str, Any]:
        return {f"{level:.0%}": mean_with_interval(values[:, i], seed) for i, level in enumerate(LEVELS)}

    return {
        "rank_correlation_between_scenes": correlation_with_interval(rows["spread"], rows["error"], seed),
        "rank_correlation_within_frames": mean_with_interval(within, seed) if len(within) else None,
        "coverage": by_level(rows["coverage"]),
        "coverage_most_uncertain_quarter": by_level(rows["coverage_uncertain"]),
        "predicted_rmse_255_by_quarter": (255 * rows["quarter_variance"].mean(dim=0).sqrt()).tolist(),
        "rmse_255_by_quarter": (255 * rows["quarter_error"].mean(dim=0).sqrt()).tolist(),
    }


def correlation_with_interval(a: Tensor, b: Tensor, seed: int) -> Any:
    """Return Spearman's correlation over scenes (n,) with its bootstrap interval; None where a sample is constant."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    value = rank_correlation(first, second)
    if np.isnan(value):
        return None

    def correlation(x: Array, y: Array) -> float:
        return np.nan_to_num(rank_correlation(x, y))  # a resample of equal scenes has none

    interval = bootstrap_interval([first, second], correlation, seed, paired=True, vectorized=False)
    return {"value": value, "interval_95": interval}
