"""Linear probes of representations: what of the scenes' ground truth weighted sums of r's numbers say.

Two kinds of probe, both of them ridge regressions that learn from training scenes:

- of the whole r: a weight for each of its numbers. A volume is averaged over blocks first, BLOCKS a side, since a scene
  has many more numbers than there are scenes to learn from.
- of cells, where r is a volume and the question is about places: at each place, the numbers of its cell and of the 26
  round it, and the mean answer there, with the same weights everywhere. It says more, since each scene is an example at
  hundreds of places, and nothing of what only the whole tells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gqn.core.distributed import Processes
from gqn.core.views import Views
from gqn.data.batches import FRAMES, Asked, Scenes, gather, pieces
from gqn.data.dataset import DatasetError
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.data.truth import Array, Figure, Labels, Question, questions
from gqn.models.cube import centre_of, contract, half_edges
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import below
from gqn.models.outputs import FINEST, Output, Volume
from gqn.training.validation import shared_out

BLOCKS = 8  # along an edge of a volume, over which a probe of the whole averages
FEWEST = 20  # scenes to learn from, of which a tenth is kept to choose the penalty by
LEARNED_FROM = (100, 1000)  # fewest and most training scenes from which the probes of a run learn
PENALTIES = torch.logspace(-5, 4, 10, dtype=torch.float64)  # in parts of the mean variance of the numbers that are read
CELLS, CONTROL, CONSTANT = "cells", "mean_of_frames", "constant"


@dataclass(frozen=True)
class Probed:
    """A representation to probe: how scenes are encoded, and of which kind r is."""

    encode: Callable[[Mapping[str, Views]], Tensor]
    output: Output


class Sums(NamedTuple):
    """Sums over rows of read numbers x (k,), the last of which is 1, and targets y (m,): all that a ridge needs."""

    xx: Tensor  # (k, k)
    xy: Tensor  # (k, m)
    yy: Tensor  # (m,)

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Sums":
        """Return the sums of rows (n, k) and (n, m)."""
        return cls(x.T @ x, x.T @ y, y.square().sum(dim=0))

    def plus(self, other: "Sums") -> "Sums":
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


def ridge(learned: Sums, kept: Sums, *, pooled: bool) -> Tensor:
    """Return the weights (k, m) of a linear probe, the last row for the number that is 1, which has no penalty.

    Args:
        learned: of the scenes to learn from.
        kept: of the scenes by whose error the penalty is chosen; then the probe learns from both.
        pooled: one penalty for all targets, else one for each.
    """
    errors = []
    solve = solver(learned)
    for penalty in PENALTIES:
        weights = solve(penalty.expand(learned.xy.shape[1]))
        error = kept.yy - 2 * (weights * kept.xy).sum(dim=0) + (weights * (kept.xx @ weights)).sum(dim=0)
        errors.append(error.mean(dim=0, keepdim=True).expand_as(error) if pooled else error)
    best = PENALTIES[torch.stack(errors).argmin(dim=0)]
    return solver(learned.plus(kept))(best)


def solver(sums: Sums) -> Callable[[Tensor], Tensor]:
    """Return what gives the weights (k, m) for penalties (m,)."""
    count = sums.xx[-1, -1]
    mean_x, mean_y = sums.xx[-1, :-1] / count, sums.xy[-1] / count
    spread = sums.xx[:-1, :-1] - count * torch.outer(mean_x, mean_x)
    values, vectors = torch.linalg.eigh(spread)
    values = values.clamp(min=0)
    along = vectors.T @ (sums.xy[:-1] - count * torch.outer(mean_x, mean_y))
    unit = values.mean().clamp(min=torch.finfo(values.dtype).tiny)

    def solve(penalties: Tensor) -> Tensor:
        weights = vectors @ (along / (values[:, None] + unit * penalties))
        return torch.cat([weights, (mean_y - mean_x @ weights)[None]])

    return solve


def whole(r: Tensor, output: Output) -> Tensor:
    """Return the numbers of r (b, c, h, w) that a probe of the whole reads, (b, k)."""
    if not isinstance(output, Volume):
        return r.flatten(1)
    return output.coarse(r, BLOCKS).flatten(1)


def near(r: Tensor, volume: Volume, nodes: Array, usual: Tensor) -> Tensor:
    """Return what a probe of cells reads at each node (nodes, 3) of r: (b, nodes, t + 27 c + 1).

    usual: the mean answers there, (nodes, t), which come first; then the cells' numbers, and 1.
    """
    places = torch.as_tensor(nodes, dtype=r.dtype, device=r.device)
    read = volume.coarse(r).flatten(2)[:, :, cells_near(volume, places)].transpose(1, 2).flatten(2)
    return F.pad(torch.cat([usual.to(read).expand(len(r), -1, -1), read], dim=2), (0, 1), value=1.0)


def cells_near(volume: Volume, places: Tensor) -> Tensor:
    """Return the numbers of the 27 cells of `Volume.coarse` round each of places (n, 3), (n, 27), z fastest."""
    side = min(FINEST, volume.side)
    places = (places - centre_of(volume, places)) / half_edges(volume, places)
    cell = ((contract(volume, places) + 1) * (side / 2)).floor().long()
    steps = torch.tensor(list(product((-1, 0, 1), repeat=3)), device=places.device)
    x, y, z = (cell[:, None] + steps).clamp(0, side - 1).unbind(dim=-1)  # (n, 27) each
    return (x * side + y) * side + z


@torch.no_grad()
def answers(
    probed: Mapping[str, Probed],
    asked: Mapping[str, Question],
    labels: Labels,
    training: Scenes,
    tested: Scenes,
    total: int,
    *,
    senses: Mapping[str, str],
    context: int,
    seed: int,
    processes: Processes,
    batch: int = 32,
) -> dict[str, dict[str, Array]]:
    """Return what probes of each source answer about held-out scenes, by question: source -> question -> (total, k).

    Beside the representations' names, and `NAME_cells` for probes of their cells, the sources are `mean_of_frames`, the
    mean of the context frames, and `constant`, the best answer without a look: the training scenes' mean.

    Args:
        probed: the representations, by name.
        asked: the questions, by name.
        labels: of the training scenes to learn from, from the first on.
        training, tested: scenes; those to learn from, and those of which the first `total` are asked about.
        total: held-out scenes.
        senses: data of each sense.
        context: observations of each sense.
        seed: of the choice of observations.
        processes: the group that shares the work.
        batch: scenes at a time.
    """
    device, count = processes.device, len(labels)
    targets = {name: torch.from_numpy(question.targets(labels)).float() for name, question in asked.items()}
    mean = {name: values.mean(dim=0) for name, values in targets.items()}
    keys = {
        f"{name} {title}": (name, one.output, title, question.nodes)
        for name, one in probed.items()
        for title, question in asked.items()
        if isinstance(one.output, Volume) and question.nodes is not None
    }

    def encoded(scenes: Scenes, numbers: range) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return r by name, and what the probes of the whole read."""
        drawn = [(number, [seed, number]) for number in numbers]
        views = gather(scenes, Asked(senses, {}), drawn, dict.fromkeys(senses.values(), context), 0, {}).senses
        views = {name: seen.to(device) for name, seen in views.items()}
        r = {name: one.encode(views).float() for name, one in probed.items()}
        rows = {name: whole(r[name], one.output) for name, one in probed.items()}
        for name, data in senses.items():
            if data == FRAMES and name in views:
                rows[CONTROL] = views[name].frames.mean(dim=1).flatten(1)
        return r, rows

    def learned_from(numbers: range) -> dict[str, Tensor]:
        r, rows = encoded(training, numbers)
        with torch.autocast(device.type, enabled=False):
            for key, (name, volume, title, nodes) in keys.items():
                read = near(r[name], volume, nodes, mean[title].unflatten(0, (len(nodes), -1))).flatten(0, 1)
                right = targets[title][numbers.start : numbers.stop].to(device)
                found = Sums.of(read, right.reshape(len(read), -1))
                rows |= {f"{key} {part}": value[None].double() for part, value in found._asdict().items()}
        return rows

    # At least ten pieces, of which the last tenth chooses the penalty of the probes of cells.
    shares = pieces(count, max(1, min(batch, count // 10)))
    rows = shared_out(processes, shares, learned_from, seed=seed, title="probes learn")
    weights = {}
    held = max(1, len(shares) // 10)
    for key, (_, _, title, _) in keys.items():
        parts = [rows.pop(f"{key} {part}") for part in Sums._fields]
        learned, kept = (
            Sums(*(part[chosen].sum(dim=0) for part in parts)) for chosen in (np.s_[:-held], np.s_[-held:])
        )
        weights[key] = ridge(learned, kept, pooled=asked[title].pooled).float().to(device)

    def asked_about(numbers: range) -> dict[str, Tensor]:
        r, rows = encoded(tested, numbers)
        with torch.autocast(device.type, enabled=False):
            for key, (name, volume, title, nodes) in keys.items():
                read = near(r[name], volume, nodes, mean[title].unflatten(0, (len(nodes), -1)))
                rows[key] = (read @ weights[key]).flatten(1)
        return rows

    held_out = shared_out(processes, pieces(total, batch), asked_about, seed=seed, title="probes answer")
    found: dict[str, dict[str, Array]] = {}
    for source in rows:
        readable = components(rows[source], held_out[source])
        found[source] = {
            name: read_by_ridge(*readable, targets[name], pooled=question.pooled) for name, question in asked.items()
        }
    for key, (name, _, title, _) in keys.items():
        found.setdefault(f"{name}_{CELLS}", {})[title] = held_out[key].double().numpy()
    found[CONSTANT] = {name: value.double().expand(total, -1).numpy() for name, value in mean.items()}
    return found


def components(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal components of features (n, k) and (t, k), as many as there are: what a ridge sees of them.

    Each feature is brought to about unit variance first; a feature that hardly varies is not blown up.
    """
    spread = train.std(dim=0)
    scale = spread + 0.1 * spread.mean() + 1e-12
    middle = train.mean(dim=0)
    with torch.autocast("cpu", enabled=False):
        train, test = ((part - middle) / scale for part in (train, test))
        values, vectors = torch.linalg.eigh((train @ train.T).double())
        known = values > 1e-6 * values[-1]
        values, vectors = values[known], vectors[:, known]
        return vectors * values.sqrt(), (test @ train.T).double() @ (vectors / values.sqrt())


def read_by_ridge(train: Tensor, test: Tensor, targets: Tensor, *, pooled: bool) -> Array:
    """Return the answers (t, m) about scenes of features (t, k), of a ridge on features (n, k) and targets (n, m)."""
    kept = max(1, len(train) // 10)
    x, y = F.pad(train.double(), (0, 1), value=1.0), targets.double()
    weights = ridge(Sums.of(x[:-kept], y[:-kept]), Sums.of(x[-kept:], y[-kept:]), pooled=pooled)
    return (F.pad(test.double(), (0, 1), value=1.0) @ weights).numpy()


def by_figure(
    asked: Mapping[str, Question],
    found: Mapping[str, Mapping[str, Array]],
    labels: Labels,
    value: Callable[[Figure], Any],
) -> dict[str, dict[str, Any]]:
    """Return `value` of each figure of the answers, by the figure's name and then by the source.

    Args:
        asked: the questions, by name.
        found: what `answers` gives.
        labels: of the held-out scenes.
        value: what to say of a figure.
    """
    table: dict[str, dict[str, Any]] = {}
    for source, given in found.items():
        for name, said in given.items():
            for figure, measured in asked[name].figures(said, labels).items():
                table.setdefault(figure, {})[source] = value(measured)
    return table


@torch.no_grad()
def probe_representations(
    network: RecursiveGQN,
    asked: Asked,
    scenes: tuple[LabelledScenes, LabelledScenes],
    dataset: Path,
    *,
    context: int,
    seed: int,
    processes: Processes,
    limit: int,
) -> dict[str, Any]:
    """Return what probes read from each representation that a task reads and frames lead to, on held-out scenes.

    Args:
        network: in evaluation mode.
        asked: the data of its senses and tasks.
        scenes: those to learn from, of which probes take the first, and held-out ones; drawn by `gqn.data.generate`.
        dataset: the folder, of whose scenes the labels are.
        context: context views of a scene.
        seed: of the choice of views.
        processes: the group that shares the work.
        limit: most held-out scenes.

    Returns:
        By representation `training_scenes`, `scenes`, `context`, and each figure by source as `answers` names them;
        nothing where there are no labels, or fewer training scenes than LEARNED_FROM says.
    """
    training, tested = scenes
    count, total = min(LEARNED_FROM[1], len(training)), min(limit, len(tested))
    if count < LEARNED_FROM[0]:
        return {}
    try:
        labels = [labels_of(part, dataset)[:most] for part, most in ((training, count), (tested, total))]
    except DatasetError:
        return {}
    about = questions(labels[0])
    names = sorted({name for task in asked.tasks for name in network.spec[task].inputs})
    read: dict[str, Any] = {}
    for name in names:
        if FRAMES not in {asked.senses.get(sense) for sense in below(network.spec, name)}:
            continue
        probed = {
            "representation": Probed(partial(network.encode, name=name), cast(Output, network.trials[name].output))
        }
        found = answers(
            probed,
            about,
            labels[0],
            training,
            tested,
            total,
            senses=asked.senses,
            context=context,
            seed=seed,
            processes=processes,
        )
        figures = by_figure(about, found, labels[1], lambda figure: figure.value)
        read[name] = {"training_scenes": count, "scenes": total, "context": context, **figures}
    return read


def labels_of(scenes: LabelledScenes, dataset: Path) -> list[dict[str, Any]]:
    """Return the ground truth of scenes that may be a fraction of a split. Raises DatasetError where there is none."""
    split = scenes.scenes
    labels = scene_labels(dataset, split.folder.name)
    return [labels[number] for number in split.numbers]
