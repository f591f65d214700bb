"""Content of a representation: probes for the scene's ground truth, neighbours, and the algebra of scenes."""

import warnings
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gqn.core.extras import extra
from gqn.core.views import Views
from gqn.data.batches import FRAMES, Scenes, context_views, pieces
from gqn.data.dataset import DatasetError
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.truth import Array, Figure, Labels, Question, explained, questions
from gqn.evaluation.cell_probe import read_by_network
from gqn.evaluation.metrics import bootstrap_interval, mean_with_interval, measures, shares
from gqn.evaluation.stimuli import ExchangeTrial, exchange_trial
from gqn.evaluation.subject import NO_OBJECTS, Findings, Subject
from gqn.figures import curves as charts
from gqn.figures import predictions as plots
from gqn.models.outputs import Output, Volume
from gqn.training.probes import (
    CELLS,
    FEWEST,
    Probed,
    answers,
    by_figure,
    labels_of,
    read_by_ridge,
    whole,
)
from gqn.training.setup import splits
from gqn.training.validation import shared_out

COMPONENTS = 128  # principal components of r that nonlinear probes read
NEIGHBOUR_SCENES, NEIGHBOUR_VIEWS = 12, 16


@torch.no_grad()
def probes(subject: Subject) -> Findings:
    """Measure what probes read of the ground truth from r on held-out scenes, from 1 to most_context views.

    The linear probes are those of `gqn.training.probes`. Small nonlinear ones read principal components of r too, and
    of what has a place, the cells of a volume. They learn from training scenes. Controls: the same network before it
    learned anything, the mean of the context frames, and the best answer without a look. What is the same in all
    scenes can't be probed.
    """
    options = subject.options
    seen, tested = splits(subject.dataset, subject.scenes.scenes.pixels)
    if seen.folder == tested.folder:
        return {"probes": {"left_out": "one split alone: there are no scenes to learn from"}}, {}
    training = LabelledScenes(seen)
    chosen = min(options.probe_scenes, len(training))
    try:
        learned, held_out = (labels_of(scenes, subject.dataset) for scenes in (training, subject.scenes))
    except DatasetError as error:
        return {"probes": {"left_out": str(error).rpartition(": ")[2]}}, {}
    if chosen < FEWEST or subject.total < 2:
        have = f"{chosen} to learn from and {subject.total} to be tested on"
        return {"probes": {"left_out": f"{have}; a probe needs {FEWEST} scenes and 2"}}, {}
    learned, held_out = learned[:chosen], held_out[: subject.total]
    asked = questions(learned)
    networks = {"representation": subject.network, "untrained_network": subject.untrained}
    linear: list[dict[str, Any]] = []
    for context in range(1, options.most_context + 1):
        said = answers(
            {name: Probed(network.encode, output(subject)) for name, network in networks.items()},
            asked,
            learned,
            training,
            subject.scenes,
            subject.total,
            senses=subject.asked.senses,
            context=context,
            seed=options.seed,
            processes=subject.processes,
            batch=options.batch,
        )
        figures = by_figure(asked, said, held_out, lambda figure: with_interval(figure, options.seed))
        linear.append({"context": context, **figures})
    features = [
        representations(subject, scenes, total)
        for scenes, total in ((training, chosen), (subject.scenes, subject.total))
    ]
    mlp: dict[str, Any] = {"context": options.context}
    if subject.processes.leads:
        mlp |= nonlinear(features, output(subject), asked, (learned, held_out), options.seed)
    return {"probes": {"training_scenes": chosen, "linear": linear, "mlp": mlp}}, {}


def nonlinear(
    features: list[dict[str, Tensor]],
    kind: Output,
    asked: dict[str, Question],
    labels: tuple[Labels, Labels],
    seed: int,
) -> dict[str, Any]:
    """Return figures of nonlinear probes by name and source.

    Args:
        features: `representations` of the scenes to learn from, and of the held-out ones.
        kind: of r.
        asked: the questions, by name.
        labels: of these scenes.
        seed: of the probes and of the intervals.
    """
    found: dict[str, Any] = {}
    truth = {name: question.targets(labels[0]) for name, question in asked.items()}
    for source, train in features[0].items():
        test = features[1][source]
        if isinstance(kind, Volume) and source.endswith(CELLS):
            said = {
                name: read_by_network((train, test), kind, question.nodes, torch.from_numpy(truth[name]), seed)
                for name, question in asked.items()
                if question.nodes is not None
            }
            figures = by_figure(asked, {source: said}, labels[1], lambda figure: with_interval(figure, seed))
            for figure, value in figures.items():
                found.setdefault(figure, {}).update(value)
            continue
        readable = reduced(train.numpy(), test.numpy(), seed)
        for name, question in asked.items():
            if question.nodes is None:
                found.setdefault(f"{name}_r2", {})[source] = r_squared(
                    "mlp", readable, truth[name], question.targets(labels[1]), seed
                )
    return found


def with_interval(figure: Figure, seed: int) -> dict[str, Any]:
    """Return the value of a figure and its bootstrap interval over scenes."""
    interval = bootstrap_interval(figure.rows, figure.statistic, seed, paired=True, vectorized=False)
    return {"value": figure.value, "interval_95": interval}


def output(subject: Subject) -> Output:
    """Return of which kind the representation is."""
    (sense,) = subject.asked.senses
    return cast(Output, subject.network.trials[sense].output)


def representations(subject: Subject, scenes: Scenes, total: int) -> dict[str, Tensor]:
    """Return what nonlinear probes read of the first scenes from as many context views as the options say.

    By source: features (total, k), and of a volume its coarse cells (total, c, s, s, s), in bfloat16.
    """
    options, kind = subject.options, output(subject)

    def work(numbers: range) -> dict[str, Tensor]:
        context = context_views(scenes, numbers, options.context, seed=options.seed).to(subject.processes.device)
        rows = {"mean_of_frames": context.frames.mean(dim=1).flatten(1)}
        for name, network in (("representation", subject.network), ("untrained_network", subject.untrained)):
            r = network.encode(context).float()
            rows[name] = whole(r, kind)
            if isinstance(kind, Volume):
                rows[f"{name}_{CELLS}"] = kind.coarse(r).bfloat16()
        return rows

    return shared_out(subject.processes, pieces(total, options.batch), work, seed=options.seed, title="probes")


def reduced(train: Array, test: Array, seed: int, components: int = COMPONENTS) -> tuple[Array, Array]:
    """Return the principal components of the training features, of unit variance each."""
    # Fewer components than scenes: with as many, all scenes are equally far apart, and every penalty is as good.
    count = min(components, len(train) // 2, train.shape[1])
    analysis = extra("sklearn.decomposition").PCA(count, whiten=True, svd_solver="randomized", random_state=seed)
    return analysis.fit_transform(train), analysis.transform(test)


def r_squared(kind: str, features: tuple[Array, Array], train: Array, test: Array, seed: int) -> dict[str, Any]:
    """Return the share of the variance of the targets (n, k), mean over k, that a probe explains on the test scenes.

    1 - (mean square error) / (mean square distance from the training scenes' mean), with an interval over scenes.
    """
    spread = train.std(axis=0)
    varies = spread > 0
    middle, scale = train.mean(axis=0)[varies], spread[varies]
    train, test = (train[:, varies] - middle) / scale, (test[:, varies] - middle) / scale
    if kind == "linear":
        predicted = read_by_ridge(*map(torch.from_numpy, (*features, train)), pooled=False)
    else:
        probe = extra("sklearn.neural_network").MLPRegressor(
            hidden_layer_sizes=(128,), alpha=1.0, early_stopping=True, max_iter=200, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that so few steps may not converge: the held-out part says when to stop
            predicted = probe.fit(features[0], train).predict(features[1]).reshape(test.shape)
    return with_interval(
        Figure(explained, (np.square(test - predicted).mean(axis=1), np.square(test).mean(axis=1))), seed
    )


@torch.no_grad()
def neighbours(subject: Subject) -> Findings:
    """Measure whether representations of one scene from different views lie together: t-SNE, nearest neighbour.

    Each of a few scenes is encoded from each of several views by itself. Accuracy: how often the nearest other
    representation is of the same scene; as a control, the nearest other frame.
    """
    options, scenes = subject.options, subject.scenes
    total, each = min(NEIGHBOUR_SCENES, subject.total), min(NEIGHBOUR_VIEWS, scenes.observations(FRAMES))

    def work(numbers: range) -> dict[str, Tensor]:
        drawn = context_views(scenes, numbers, each, seed=options.seed)
        alone = Views(drawn.frames.flatten(0, 1)[:, None], drawn.cameras.flatten(0, 1)[:, None])
        alone = alone.to(subject.processes.device)
        return {
            "representation": subject.network.encode(alone).flatten(1).float(),
            "pixels": alone.frames.flatten(1),
        }

    rows = shared_out(subject.processes, pieces(total, 1), work, seed=options.seed, title="neighbours")
    scene = torch.arange(total).repeat_interleave(each)
    found: dict[str, Any] = {
        "scenes": total,
        "representations_of_each": each,
        "context": 1,
        "chance": (each - 1) / (len(scene) - 1),
    }
    for name, r in rows.items():
        right = (shares(apart(r, r).fill_diagonal_(float("inf"))) * (scene == scene[:, None])).sum(dim=1)
        found[f"accuracy_by_{name}"] = mean_with_interval(right.unflatten(0, (total, each)).mean(dim=1), options.seed)
    r = rows["representation"]
    # sklearn crashes where all points are one.
    if not subject.processes.leads or (r == r[0]).all():
        return {"neighbours": found}, {}
    tsne = extra("sklearn.manifold").TSNE(perplexity=min(each, len(scene) - 1), random_state=options.seed)
    points = tsne.fit_transform(r.numpy())
    return {"neighbours": found}, {"t-sne": charts.embedding(points, scene.numpy())}


@torch.no_grad()
def scene_algebra(subject: Subject) -> Findings:
    """Ask whether r(A) - r(B) + r(C) is D's r, for A shape 1 in colour 1, B in colour 2, C shape 2 in colour 2.

    D, shape 2 in colour 1, is sought by the distance of representations among A, B, C and D themselves, the other
    trials' D and the held-out scenes; and the sum is rendered from a camera that was not shown, beside D's own r.
    Controls: A, B and C of other trials at random; and r(C) as it is.
    """
    family = subject.objects
    if family is None:
        return {"scene_algebra": NO_OBJECTS}, {}
    options, device = subject.options, subject.processes.device
    trials: list[ExchangeTrial] = [
        exchange_trial(family, np.random.default_rng([options.seed, number]), options.context)
        for number in range(options.trials)
    ]

    def encode(number: int) -> dict[str, Tensor]:
        return {"r": subject.network.encode(trials[number].contexts.to(device)).float()[None]}

    def held_out(numbers: range) -> dict[str, Tensor]:
        context = subject.batch(numbers).batch.context.part(slice(options.context))
        return {"r": subject.network.encode(context).float()}

    r = shared_out(subject.processes, range(len(trials)), encode, seed=options.seed, title="scene algebra")["r"]
    others = subject.over_scenes(held_out, "held-out scenes")["r"]
    a, b, c, d = r.unbind(dim=1)
    random = np.random.default_rng(options.seed)
    picked = [values[torch.from_numpy(random.permutation(len(values)))] for values in (a, b, c)]
    sums = {
        "algebra": a - b + c,
        "random_triple": picked[0] - picked[1] + picked[2],
        "c_alone": c,
        "d_itself": d,
    }
    found: dict[str, Any] = {"trials": len(trials), "candidates": len(others) + len(trials) + 3}
    for name in ("algebra", "random_triple", "c_alone"):
        found[name] = retrieval(
            sums[name], d, torch.stack([a, b, c], dim=1), others, options.seed, own=name == "c_alone"
        )

    def render(numbers: range) -> dict[str, Tensor]:
        cameras = torch.cat([trials[n].query.cameras for n in numbers]).to(device)
        truth = torch.cat([trials[n].query.frames for n in numbers]).to(device)[:, 0]
        rows = {"truth": truth}
        for name, values in sums.items():
            chosen = values[numbers.start : numbers.stop].to(device)
            drawn = [subject.generator(cameras, chosen).mean[:, 0] for _ in range(options.samples)]
            rows[name] = torch.stack(drawn).mean(dim=0)
        return rows

    groups = pieces(len(trials), max(1, options.batch // 4))
    frames = shared_out(subject.processes, groups, render, seed=options.seed, title="scene algebra, rendered")
    for name in sums:
        psnr = measures(frames[name], frames["truth"])[:, 1]
        found.setdefault(name, {})["psnr_db_of_its_rendering"] = mean_with_interval(psnr, options.seed)
    return {"scene_algebra": found}, {"scene-algebra": algebra_picture(trials, frames)}


def retrieval(guess: Tensor, d: Tensor, abc: Tensor, others: Tensor, seed: int, *, own: bool) -> dict[str, Any]:
    """Return the rank of each trial's D among the candidates by its distance from the guess, 1 for the nearest.

    own: the guess is one of A, B, C itself, which then is no candidate.
    """
    flat = guess.flatten(1)
    to_d = apart(flat, d.flatten(1))  # (trials, trials)
    to_others = apart(flat, others.flatten(1))
    to_own = (abc.flatten(2) - flat[:, None]).norm(dim=2)
    if own:
        to_own = to_own[:, :2]
    candidates, right = torch.cat([to_d, to_others, to_own], dim=1), to_d.diagonal()[:, None]
    nearer = (candidates < right).sum(dim=1).double()
    tied = (candidates == right).sum(dim=1) - 1  # other than D itself

    def among(first: int) -> dict[str, Any]:
        """Return how often D is among the first, were those that tie in random order."""
        return mean_with_interval(((first - nearer) / (1 + tied)).clamp(0, 1), seed)

    return {
        "nearest": among(1),
        "among_5_nearest": among(5),
        "median_rank": float((1 + nearer + tied / 2).median()),
    }


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances (n, m) of all pairs of rows, of (n, k) and (m, k)."""
    # Not by a matrix product, torch's way for many rows: its rounding puts equal rows at unequal distances.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def algebra_picture(trials: list[ExchangeTrial], frames: dict[str, Tensor], shown: int = 6) -> Any:
    """Draw a view of A, B and C, and D's query: the truth, and frames from the sum, from D's r and from others."""
    few = trials[:shown]

    def first(which: int) -> Tensor:
        return torch.stack([trial.contexts.frames[which, 0] for trial in few])

    titles = {"algebra": "A - B + C", "d_itself": "r(D)", "random_triple": "random\ntriple", "c_alone": "r(C)"}
    return plots.grid(
        [
            [plots.Column(f"{name}, a\ncontext view", first(i)) for i, name in enumerate("ABC")],
            [plots.Column("D, truth", frames["truth"][:shown])],
            [plots.Column(f"from\n{title}", frames[name][:shown]) for name, title in titles.items()],
        ]
    )
