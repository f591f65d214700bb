"""Pictures of what a network predicts."""

from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gqn.batch import Batch, Views
from gqn.evaluation import evaluating
from gqn.gqn import GenerativeQueryNetwork


class Column(NamedTuple):
    title: str
    frames: Tensor  # (b, c, h, w)


@torch.no_grad()
def predictions(
    network: GenerativeQueryNetwork, batch: Batch, foreign: Views, *, samples: int = 8, shown: int = 3, seed: int = 0
) -> Figure:
    """One row a scene: its context, the truth, prior samples, their mean, and apart from them a reconstruction.

    The last column shows what the network imagines from another scene's context (`foreign`): a network that uses its
    context differs there; for a single scene, which has no other, it is left out.
    """
    torch.manual_seed(seed)
    with evaluating(network):
        imagined = network.sample(batch.context, batch.query.cameras, samples)[:, :, 0]
        shuffled = network.sample(foreign, batch.query.cameras, samples)[:, :, 0]
        reconstruction = network(batch).mean[:, 0]
    context = batch.context.frames
    groups = [
        [Column(f"context {i + 1}", context[:, i]) for i in range(context.shape[1])],
        [Column("truth", batch.query.frames[:, 0])],
        [Column(f"prior sample {i + 1}", imagined[i]) for i in range(min(shown, samples))]
        + [Column(f"mean of {samples}\nprior samples", imagined.mean(dim=0))],
        [Column("reconstruction\n(saw the truth)", reconstruction)],
    ]
    if len(context) > 1:
        groups.append([Column(f"mean of {samples}, another\nscene's context", shuffled.mean(dim=0))])
    return grid(groups)


def grid(groups: list[list[Column]]) -> Figure:
    """Columns of frames under their titles, with a gap between groups."""
    rows = len(groups[0][0].frames)
    widths = [1.0 if column is not None else 0.25 for column in spaced(groups)]
    figure = Figure(figsize=(1.15 * sum(widths), 1.15 * rows + 0.45), dpi=110, layout="constrained")
    axes = figure.subplots(rows, len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for row in range(rows):
        for place, column in zip(axes[row], spaced(groups), strict=True):
            place.set_axis_off()
            if column is None:
                continue
            place.imshow(column.frames[row].clamp(0, 1).permute(1, 2, 0).float().cpu().numpy(), interpolation="nearest")
            if row == 0:
                place.set_title(column.title, fontsize=7)
    return figure


def spaced(groups: list[list[Column]]) -> list[Column | None]:
    """The columns of all groups, None standing for the gap between two groups."""
    columns: list[Column | None] = []
    for group in groups:
        columns += [None, *group] if columns else group
    return columns


def curves(history: list[dict[str, Any]]) -> Figure:
    """A graph's tasks on held-out scenes against the step, each beside the same under another scene's observations."""
    names = list(history[-1]["tasks"])
    figure = Figure(figsize=(2.6 * len(names), 2.3), dpi=110, layout="constrained")
    for place, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        known = [(report["step"], report["tasks"][name]) for report in history if report["tasks"].get(name)]
        steps = [step for step, _ in known]
        for key, label in (("negative_elbo", "own scene"), ("shuffled_negative_elbo", "another scene's")):
            place.plot(steps, [found[key] for _, found in known], marker=".", label=label)
        place.set_title(name, fontsize=8)
        place.set_xlabel("step", fontsize=7)
        place.tick_params(labelsize=6)
    first = figure.axes[0]
    first.set_ylabel("negative ELBO, nats", fontsize=7)
    first.legend(fontsize=6)
    return figure
