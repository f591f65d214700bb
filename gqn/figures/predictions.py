"""Pictures of predictions."""

from base64 import b64encode
from io import BytesIO
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from gqn.core.camera import axes, camera_vector, orbit
from gqn.core.checked import checked
from gqn.core.errors import Error
from gqn.core.figure import Figure
from gqn.core.modes import evaluating
from gqn.core.views import Batch, Views, tensor_of
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render

SPREAD = 2  # by which standard deviations are multiplied to be seen


class Column(NamedTuple):
    title: str
    frames: Tensor  # (b, c, h, w)


@torch.no_grad()
@checked
def predictions(
    network: RecursiveGQN, batch: Batch, shuffled: Batch, *, samples: int = 8, shown: int = 3, seed: int = 0
) -> Figure:
    """Draw one row a scene: context frames, the truth, prior samples, their mean, and apart from them a reconstruction.

    The last column shows the mean under a shuffled context: a network that uses its context differs there; for a single
    scene, which has no other, it is left out.

    Args:
        batch: observations, and queries of one task that renders frames.
        shuffled: the same queries under other scenes' observations.
        samples: prior samples of the mean.
        shown: how many of them are drawn.
        seed: of the latents.

    Returns:
        A matplotlib figure.

    Raises:
        GraphError: where the network does not fit the batch.
    """
    torch.manual_seed(seed % 2**63)
    ((task, query),) = batch.tasks.items()
    with evaluating(network):
        imagined = network.sample(batch.senses, query.cameras, samples, task)[:, :, 0]
        others = network.sample(shuffled.senses, query.cameras, samples, task)[:, :, 0]
        reconstruction = network(batch)[task].mean[:, 0]
    pictured = [views.frames for views in batch.senses.values() if views.frames.shape[2:] == query.frames.shape[2:]]
    context = [frames[:, i] for frames in pictured for i in range(frames.shape[1])]
    groups = [
        [Column(f"context {i}", frames) for i, frames in enumerate(context, 1)],
        [Column("truth", query.frames[:, 0])],
        [Column(f"prior sample {i + 1}", imagined[i]) for i in range(min(shown, samples))]
        + [Column(f"mean of {samples}\nprior samples", imagined.mean(dim=0))]
        + ([Column(f"their standard\ndeviation × {SPREAD}", SPREAD * imagined.std(dim=0))] if samples > 1 else []),
        [Column("reconstruction\n(saw the truth)", reconstruction)],
    ]
    if len(query.cameras) > 1:
        groups.append([Column(f"mean of {samples}, shuffled\ncontext", others.mean(dim=0))])
    return grid([group for group in groups if group])


def grid(groups: list[list[Column]]) -> Figure:
    """Draw columns of frames under their titles, with a gap between groups."""
    rows = len(groups[0][0].frames)
    widths = [1.0 if column is not None else 0.25 for column in spaced(groups)]
    figure = Figure(figsize=(1.15 * sum(widths), 1.15 * rows + 0.45), dpi=110, layout="constrained")
    axes = figure.subplots(rows, len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for row in range(rows):
        for place, column in zip(axes[row], spaced(groups), strict=True):
            place.set_axis_off()
            if column is None:
                continue
            show(place, column.frames[row])
            if row == 0:
                place.set_title(column.title, fontsize=7)
    return figure


def show(place: Axes, frame: Tensor) -> None:
    place.imshow(frame.clamp(0, 1).permute(1, 2, 0).float().cpu().numpy(), interpolation="nearest")


def spaced(groups: list[list[Column]]) -> list[Column | None]:
    """Return the columns of all groups, None standing for the gap between two groups."""
    columns: list[Column | None] = []
    for group in groups:
        columns += [None, *group] if columns else group
    return columns


@torch.no_grad()
@checked
def canvases(network: RecursiveGQN, batch: Batch, *, seed: int = 0) -> Figure:
    """Draw the canvas after each step: of a reconstruction, whose latents saw the truth, and of a prior sample.

    Args:
        batch: observations, and queries of one task that renders frames.
        seed: of the latents.

    Returns:
        A matplotlib figure, one row a scene.
    """
    torch.manual_seed(seed % 2**63)
    ((task, query),) = batch.tasks.items()
    with evaluating(network):
        r = network.read(batch.senses, [task])[task]
        generator = cast(Render, network.nodes[task]).generator
        groups = [[Column("truth", query.frames[:, 0])]]
        for kind, target in (("reconstruction", query.frames[:, :1]), ("prior sample", None)):
            informed = None if target is None else network.informed(task, batch.senses, query.part(slice(1)))
            drawn, _ = generator.imagined(r, target, informed)
            steps = generator.steps(query.cameras[:, :1], drawn, target)
            groups.append(
                [Column(f"{kind}\nstep {number}", generator.paint(step)) for number, step in enumerate(steps, 1)]
            )
    return grid(groups)


@torch.no_grad()
@checked
def flight(
    network: RecursiveGQN,
    context: Views,
    recorded: Tensor | ArrayLike,
    *,
    task: str = "",
    samples: int = 8,
    seed: int = 0,
) -> Tensor:
    """Return mean and standard deviation, times SPREAD, of prior samples along a flight past one scene.

    Args:
        context: context views of the scene, (1, m, ...).
        recorded: cameras of the flight, (frames, 5), as `gqn.orbit` gives them; or their 7 numbers.
        task: the task that renders, where there are others.
        samples: prior samples at each camera, 2 or more.
        seed: of the latents.

    Returns:
        (2, frames, c, h, w).
    """
    torch.manual_seed(seed % 2**63)
    if samples < 2:
        raise Error(f"a flight of {samples} samples has no standard deviation: take 2 or more")
    cameras = camera_vector(recorded).to(context.cameras)[None]
    with evaluating(network):
        imagined = network.sample(context, cameras, samples, task)[:, 0]
    return torch.stack([imagined.mean(dim=0), SPREAD * imagined.std(dim=0)])


def flight_cameras(recorded: Tensor, count: int) -> Tensor:
    """Return a way round a scene, recorded cameras (count, 5), from its own recorded cameras (views, 5).

    Where they all look at the origin, a circle at their mean distance and height. Else a turn on the spot in the middle
    of them.
    """
    cameras = recorded.double().numpy()
    distance = np.linalg.norm(cameras[:, :3], axis=1, keepdims=True)
    if np.allclose(cameras[:, :3], -distance * axes(cameras)[0], atol=1e-2 * distance.max()):
        elevation = np.rad2deg(np.arcsin((cameras[:, 2:3] / distance).mean()))
        way: NDArray[np.float64] = orbit(float(distance.mean()), float(elevation), count)
    else:
        way = np.repeat(cameras.mean(axis=0, keepdims=True), count, axis=0)
        way[:, 3] = 2 * np.pi * np.arange(count) / count
    return torch.from_numpy(way).float()


def strip(rows: dict[str, Tensor]) -> Figure:
    """Draw frames (n, c, h, w) of each title in a row of their own, from left to right."""
    count = max(len(frames) for frames in rows.values())
    figure = Figure(figsize=(0.8 * count, 0.85 * len(rows) + 0.1), dpi=110, layout="constrained")
    axes = figure.subplots(len(rows), count, squeeze=False)
    for (title, frames), places in zip(rows.items(), axes, strict=True):
        for number, place in enumerate(places):
            place.set_xticks([])
            place.set_yticks([])
            place.set_frame_on(False)
            if number < len(frames):
                show(place, frames[number])
        places[0].set_ylabel(title, fontsize=7)
    return figure


class Animation(bytes):
    """A GIF's bytes, which a notebook shows as they are."""

    def _repr_html_(self) -> str:
        return f'<img src="data:image/gif;base64,{b64encode(self).decode()}">'


@checked
def animation(frames: Tensor | ArrayLike, *, enlarged: int = 4, milliseconds: int = 100) -> Animation:
    """Return frames as a GIF that runs for ever: a notebook shows it, and a file takes it by `write_bytes`.

    Args:
        frames: (n, 3, h, w), floating point of 0 to 1, such as a row of `flight`; or bytes of 0 to 255.
        enlarged: pixels to a side of the picture for each of the frames'.
        milliseconds: that a frame stays.

    Returns:
        The file's bytes.
    """
    frames = frames if isinstance(frames, Tensor) else tensor_of("frames", frames)
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames):
        raise Error(f"an animation of frames {tuple(frames.shape)}: (frames, 3, height, width) are wanted")
    if min(enlarged, milliseconds) < 1:
        raise Error(f"an animation enlarged {enlarged} times, {milliseconds} ms a frame: must be 1 or more")
    if frames.dtype != torch.uint8:
        frames = as_bytes(frames)
    pictures = frames.permute(0, 2, 3, 1).cpu().numpy()
    size = (enlarged * pictures.shape[2], enlarged * pictures.shape[1])
    images = [Image.fromarray(picture).resize(size, Image.Resampling.NEAREST) for picture in pictures]
    file = BytesIO()
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return Animation(file.getvalue())


def as_bytes(frames: Tensor) -> Tensor:
    """Return frames of 0 to 1 as bytes of 0 to 255; what lies beyond is clipped."""
    return (255 * frames.float().clamp(0, 1)).round().byte()


def curves(history: list[dict[str, Any]]) -> Figure:
    """Draw the loss of each task on held-out scenes against the step, beside the same under a shuffled context."""
    names = list(history[-1]["tasks"])
    figure = Figure(figsize=(2.6 * len(names), 2.3), dpi=110, layout="constrained")
    for place, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        known = [(report["step"], report["tasks"][name]) for report in history if report["tasks"].get(name)]
        steps = [step for step, _ in known]
        for key, label in (("negative_elbo", "own context"), ("shuffled_negative_elbo", "shuffled context")):
            place.plot(steps, [found[key] for _, found in known], marker=".", label=label)
        place.set_title(name, fontsize=8)
        place.set_xlabel("step", fontsize=7)
        place.tick_params(labelsize=6)
    first = figure.axes[0]
    first.set_ylabel("negative ELBO, nats", fontsize=7)
    first.legend(fontsize=6)
    return figure
