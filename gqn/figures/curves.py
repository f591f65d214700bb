"""Curves of an evaluation's figures."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from gqn.core.figure import Figure

TITLES = {
    "reconstruction": "reconstruction (saw the truth)",
    "prior_best": "best prior sample",
    "prior_mean": "mean of prior samples",
    "prior_sample": "one prior sample",
    "nearest_context_view": "nearest context view",
    "shuffled_mean": "mean, shuffled context",
    "shuffled_sample": "sample, shuffled context",
    "mean_image": "mean image of training scenes",
}
SCALES = {"fitted_sigma": "o-", "training_sigma": "s--", "pixel_scale": "^-"}  # of a calibration, and their marks


def against_context(report: dict[str, Any]) -> Figure:
    """Draw errors, likelihood and uncertainty against the number of context views."""
    figure, (errors, likelihood, spread) = panels(3)
    rows = report["prediction"]
    for name, title in TITLES.items():
        known = [row for row in rows if row[name]]
        line(errors, [row["context"] for row in known], [row[name]["psnr_db"] for row in known], title)
    label(errors, "context views", "PSNR (dB)")
    errors.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    known = report["likelihood"]
    counts = [row["context"] for row in known]
    for name, title in (("training_sigma", "training sigma"), ("fitted_sigma", "fitted sigma")):
        values = [row[name]["negative_elbo_above_floor"] for row in known]
        line(likelihood, counts, values, f"negative ELBO above its floor,\n{title}")
    line(likelihood, counts, [row["kl"] for row in known], "KL of posterior to prior")
    label(likelihood, "context views", "nats a frame")
    likelihood.set_ylim(bottom=0)
    likelihood.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    line(spread, counts, [row["spread_of_samples_255"] for row in rows], "standard deviation of prior samples")
    label(spread, "context views", "of 255")
    spread.set_ylim(bottom=0)
    spread.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def calibration(report: dict[str, Any]) -> Figure:
    """Draw the coverage of central intervals, and predicted against real error."""
    figure, (coverage, error) = panels(2)
    found = report["calibration"]
    for sigma, mark in SCALES.items():
        for values, title in (
            ("coverage", "all values"),
            ("coverage_most_uncertain_quarter", "most uncertain quarter"),
        ):
            levels = found[sigma][values]
            nominal = [float(level.rstrip("%")) for level in levels]
            real = [100 * value["mean"] for value in levels.values()]
            coverage.plot(nominal, real, mark, markersize=3, label=f"{title}, {sigma.replace('_', ' ')}")
    coverage.plot([50, 100], [50, 100], "k:", linewidth=1, label="calibrated")
    label(coverage, "central interval (%)", "values within it (%)")
    coverage.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    for sigma, mark in SCALES.items():
        predicted, real = found[sigma]["predicted_rmse_255_by_quarter"], found[sigma]["rmse_255_by_quarter"]
        error.plot(predicted, real, mark, markersize=3, label=f"quarters of the values, {sigma.replace('_', ' ')}")
    top = max(error.get_xlim()[1], error.get_ylim()[1])
    error.plot([0, top], [0, top], "k:", linewidth=1, label="calibrated")
    label(error, "predicted error (of 255)", "root mean square error (of 255)")
    error.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def rotation(found: dict[str, Any]) -> Figure:
    """Draw the accuracy of telling an object from its mirror image against the angle of rotation."""
    figure, (accuracy, separation) = panels(2)
    for name, title in (
        ("likelihood", "log p(view | context)"),
        ("representation", "distance of r"),
        ("pixels", "pixels"),
    ):
        scores = found[f"by_{name}"]
        line(accuracy, found["angles"], scores["accuracy"], f"by {title}")
        separation.plot(found["angles"], scores["separation"], "o-", markersize=3, linewidth=1, label=f"by {title}")
    for place, title in (
        (accuracy, "which of two is it (accuracy)"),
        (separation, "same or mirrored (area under ROC)"),
    ):
        place.axhline(0.5, color="k", linestyle=":", linewidth=1, label="chance")
        label(place, "angle of rotation (degrees)", title)
        place.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def embedding(points: Any, scenes: Any) -> Figure:
    """Draw points (n, 2) of representations, coloured by their scene (n,)."""
    figure, (place,) = panels(1)
    place.scatter(points[:, 0], points[:, 1], c=scenes, cmap="tab20", s=12, linewidths=0)
    place.set_xticks([])
    place.set_yticks([])
    place.set_title("t-SNE of r, one colour a scene", fontsize=8)
    return figure


def learning_curves(curves: dict[str, dict[str, list[tuple[float, float, float, float]]]], across: str) -> Figure:
    """Draw errors against what `across` names, a panel a task: points (x, error, low, high) by condition."""
    figure, places = panels(len(curves))
    every = list(dict.fromkeys(name for conditions in curves.values() for name in conditions))
    lines = {}
    for place, (task, conditions) in zip(places, curves.items(), strict=True):
        for name, points in conditions.items():
            x, errors, low, high = zip(*points, strict=True)
            colour = f"C{every.index(name)}"  # the same in all panels
            (lines[name],) = place.plot(x, errors, "o-", markersize=2, linewidth=1, label=name, color=colour)
            place.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        place.axhline(1, color="k", linestyle=":", linewidth=1)
        place.set_title(task, fontsize=9)
        place.set_xscale("symlog", linthresh=50)
        place.set_xlim(left=0)
        label(place, across, "error, of a constant answer's" if place is places[0] else "")
        place.set_ylim(0, 1.3)
    places[0].legend(handles=[lines[name] for name in every], fontsize=6)  # a condition may lack the first task
    return figure


def recipes(histories: dict[str, list[list[dict[str, float]]]]) -> Figure:
    """Draw PSNR and context gain over the minutes of training, a line for each run and a colour for each recipe."""
    figure, places = panels(2)
    colours = colormaps["turbo"](np.linspace(0, 1, len(histories)))
    for (name, runs), colour in zip(histories.items(), colours, strict=True):
        for seed, run in enumerate(runs):
            minutes = [report["minutes"] for report in run]
            for place, key in zip(places, ("prior_sample", "context_gain_db"), strict=True):
                values = [report[key] for report in run]
                title = None if seed else name
                place.plot(minutes, values, "o-", color=colour, markersize=2, linewidth=1, label=title)
    if histories:
        (run, *_), *_ = histories.values()
        places[0].axhline(run[-1]["mean_image"], color="k", linestyle=":", linewidth=1, label="mean image")
    places[1].axhline(0, color="k", linestyle=":", linewidth=1)
    label(places[0], "minutes of training", "PSNR of prior samples (dB)")
    label(places[1], "minutes of training", "context gain (dB)")
    places[0].legend(fontsize=6)
    return figure


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels side by side."""
    figure = Figure(figsize=(3.6 * count, 3.6), dpi=110, layout="constrained")
    return figure, [*figure.subplots(1, count, squeeze=False)[0]]


def line(place: Axes, x: list[float], values: list[dict[str, Any]], title: str) -> None:
    """Draw means, with their intervals as a band; nothing where nothing is known."""
    if not values:
        return
    (drawn,) = place.plot(x, [value["mean"] for value in values], "o-", markersize=3, linewidth=1, label=title)
    if all("interval_95" in value for value in values):
        low, high = zip(*(value["interval_95"] for value in values), strict=True)
        place.fill_between(x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)


def label(place: Axes, x: str, y: str) -> None:
    """Label the axes of a panel."""
    place.set_xlabel(x, fontsize=8)
    place.set_ylabel(y, fontsize=8)
    place.tick_params(labelsize=7)
