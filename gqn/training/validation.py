"""Evaluation of a network's tasks on held-out scenes while it trains: likelihoods and image errors beside baselines."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from gqn.core.checked import checked
from gqn.core.distributed import Processes
from gqn.core.errors import Error
from gqn.core.modes import evaluating
from gqn.core.noise import seed_noise
from gqn.core.progress import Progress
from gqn.data.batches import FRAMES, Asked, EvaluationBatch, Scenes, evaluation_batches
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Answer, Head, Render, negative_elbo
from gqn.models.nodes import below, data_of

Piece = TypeVar("Piece")

PREDICTED = ("reconstruction", "prior_sample", "prior_mean", "shuffled_sample", "shuffled_mean", "mean_image")
ERRORS = ("mse", "psnr_db", "mae")


def image_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return mean squared error, PSNR in dB and mean absolute error of each image, for pixel values of 0 to 1.

    (..., c, h, w) twice -> (..., 3). Predictions are clipped to 0..1 first, as a picture of them would be.
    """
    difference = predicted.clamp(0, 1) - truth
    squared = difference.square().mean(dim=(-3, -2, -1))
    # 1e-10, or 100 dB, where the images are equal.
    psnr = -10 * squared.clamp(min=1e-10).log10()
    return torch.stack([squared, psnr, difference.abs().mean(dim=(-3, -2, -1))], dim=-1)


@checked
def mean_image(scenes: Scenes, limit: int = 500) -> Tensor:
    """Return the mean of all frames of scenes spread over the dataset, (3, h, w), values of 0 to 1.

    Args:
        scenes: scenes with frames.
        limit: most scenes to take.

    Returns:
        (3, h, w).
    """
    stride = max(1, -(-len(scenes) // limit))
    seen = (scenes.observe(FRAMES, n, range(scenes.observations(FRAMES))) for n in range(0, len(scenes), stride))
    return torch.stack([frames.mean(dim=0) for frames, _ in filter(None, seen)]).mean(dim=0)


def head_of(network: RecursiveGQN, task: str) -> Head:
    """Return the head of a task."""
    return cast(Head, network.nodes[task])


def rendering(network: RecursiveGQN, asked: Asked) -> list[str]:
    """Return the tasks that render frames, whose errors are those of images."""
    return [name for name, data in asked.tasks.items() if data == FRAMES and isinstance(head_of(network, name), Render)]


def asked_by(network: RecursiveGQN, tasks: Sequence[str]) -> Asked:
    """Return the data of some tasks and of the senses that they read."""
    spec = network.spec
    read = set().union(*(below(spec, task) for task in tasks))
    return Asked(
        {name: data_of(name, node) for name, node in spec.items() if node.kind == "sense" and name in read},
        {name: data_of(name, spec[name]) for name in tasks},
    )


@checked
@torch.no_grad()
def evaluate(
    network: RecursiveGQN,
    scenes: Scenes,
    asked: Asked | None = None,
    baseline: Tensor | None = None,
    *,
    context: int = 3,
    samples: int = 8,
    seed: int = 0,
    processes: Processes | None = None,
    limit: int | None = None,
    batch: int = 32,
) -> dict[str, dict[str, Any] | None]:
    """Return the figures of the first `limit` scenes, by task; None for a task whose answers are unknown.

    The scenes are shared out over the processes. Of each task, means over its known answers: negative_elbo in nats,
    its KL, and how much it lies above its floor; shuffled_negative_elbo under a shuffled context, where every scene is
    shown another scene's observations, and gain_nats, how much worse that is: near zero, the task is answered without
    a look at the scene. Then the task's own error.

    Of a task that renders frames, the errors of the images of `PREDICTED` in their place: `prior_sample` is one
    sample, `prior_mean` the mean of `samples`, the shuffled ones come from a shuffled context. `context_gain_db` is
    the PSNR of prior samples minus that of shuffled ones. What needs another scene is None for a single scene. The
    trainer adds `objects`, see `gqn.training.objects`.

    Args:
        network: the network, put in evaluation mode meanwhile.
        scenes: held-out scenes.
        asked: the data of the network's senses and tasks; by default of all of them.
        baseline: mean image of the training scenes, (3, h, w), pixel values of 0 to 1; by default of `scenes`.
        context: context views of a scene.
        samples: prior samples of the mean.
        seed: of the views and the latents.
        processes: the group that shares the work (`gqn.core.distributed.processes`); by default this process alone,
            on the network's device.
        limit: most scenes; all by default.
        batch: scenes at a time.

    Returns:
        Plain values by task, the same on all processes; likelihoods in nats, PSNR in dB, other errors of pixel values
        of 0 to 1.

    Raises:
        Error: where the scenes lack data that the network reads, or have too few views.
    """
    if min(samples, batch, context) < 1 or (limit is not None and limit < 1):
        raise Error(f"{samples} samples, {context} context views, {batch} scenes at a time: must be 1 or more of each")
    if asked is None:
        asked = asked_by(network, [name for name, node in network.spec.items() if node.kind == "task"])
    if processes is None:
        processes = Processes(0, 1, next(network.parameters()).device)
    names, images = list(asked.tasks), rendering(network, asked)
    if images and baseline is None:
        baseline = mean_image(scenes)
    # One row of sums a task, of the same length on a process that gets no batch at all.
    sums = torch.zeros(len(names), 5 + len(ERRORS) * len(PREDICTED), dtype=torch.float64, device=processes.device)
    batches = evaluation_batches(
        scenes,
        asked,
        batch=batch,
        context=context,
        seed=seed,
        limit=limit,
        rank=processes.rank,
        processes=processes.count,
    )
    mine = -(-min(limit or len(scenes), len(scenes)) // (batch * processes.count))
    with evaluating(network):
        for item in Progress(batches, "evaluation", unit="batches", total=mine, shown=processes.leads, leave=False):
            seed_noise(seed, item.first)
            item = item.to(processes.device)
            answers = network(item.batch)
            predicted = {
                name: image_predictions(network, name, item, answers[name], baseline, samples)[0]
                for name in images
                if name in answers
            }
            shuffled = network(item.shuffled)
            for name, answer in answers.items():
                views = item.batch.tasks[name]
                target = views.known()
                loss, other = negative_elbo(answer, target), negative_elbo(shuffled[name], target)
                known = torch.ones_like(loss) if views.present is None else views.present.to(loss)
                own = torch.zeros_like(loss) if name in predicted else head_of(network, name).error(answer, target)
                columns = [known, loss, answer.kl.sum(dim=-1), other, own]
                for frames in predicted.get(name, {}).values():
                    columns += image_errors(frames, target).unbind(dim=-1)
                row = sums[names.index(name)]
                row[: len(columns)] += torch.stack([(column * known).sum() for column in columns]).double()
    alone = min(limit or len(scenes), len(scenes)) == 1
    return {
        name: task_report(head_of(network, name), row, alone=alone, image=name in images)
        for name, row in zip(names, processes.total(sums).tolist(), strict=True)
    }


def image_predictions(
    network: RecursiveGQN, task: str, item: EvaluationBatch, answer: Answer, baseline: Tensor | None, samples: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the frames of `PREDICTED`, (b, q, c, h, w) each, and all prior samples (samples, b, q, c, h, w)."""
    query = item.batch.tasks[task]
    imagined = network.sample(item.batch.senses, query.cameras, samples, task)
    shuffled = network.sample(item.shuffled.senses, query.cameras, samples, task)
    assert baseline is not None
    frames = {
        "reconstruction": answer.mean,
        "prior_sample": imagined[0],
        "prior_mean": imagined.mean(dim=0),
        "shuffled_sample": shuffled[0],
        "shuffled_mean": shuffled.mean(dim=0),
        "mean_image": baseline.to(answer.mean).expand_as(answer.mean),
    }
    return {name: frames[name] for name in PREDICTED}, imagined


def task_report(head: Head, sums: Sequence[float], *, alone: bool, image: bool) -> dict[str, Any] | None:
    """Return the means of a task as `evaluate` reports them; alone: there is one scene and no other to compare with."""
    known, loss, kl, other, own, *errors = sums
    if not known:
        return None
    report: dict[str, Any] = {
        "answers": int(known),
        "negative_elbo": loss / known,
        "negative_elbo_floor": head.floor(),
        "negative_elbo_above_floor": loss / known - head.floor(),
        "kl": kl / known,
        "shuffled_negative_elbo": None if alone else other / known,
        "gain_nats": None if alone else (other - loss) / known,
    }
    if not image:
        return {**report, head.measure: own / known}
    report["sigma"] = cast(Render, head).sigma.item()
    for number, name in enumerate(PREDICTED):
        means = [error / known for error in errors[len(ERRORS) * number : len(ERRORS) * (number + 1)]]
        report[name] = dict(zip(ERRORS, means, strict=True))
    report["context_gain_db"] = report["prior_sample"]["psnr_db"] - report["shuffled_sample"]["psnr_db"]
    if alone:
        report |= {"shuffled_sample": None, "shuffled_mean": None, "context_gain_db": None}
    return report


def shared_out(
    processes: Processes, pieces: Sequence[Piece], work: Callable[[Piece], dict[str, Tensor]], *, seed: int, title: str
) -> dict[str, Tensor]:
    """Return the rows that `work` gives for each piece, one after another, on the CPU; on all processes alike.

    The pieces are dealt to the processes. Noise follows from the seed and the piece's number alone, so that any number
    of processes gives the same rows. An exception of one process is raised on all.
    """
    mine: dict[int, dict[str, Tensor]] = {}
    failure: Exception | None = None
    numbers = range(processes.rank, len(pieces), processes.count)
    try:
        for number in Progress(numbers, title, unit="pieces", shown=processes.leads):
            seed_noise(seed, number)
            mine[number] = {name: value.cpu() for name, value in work(pieces[number]).items()}
    except Exception as error:
        failure = error  # the others wait for what this process has
    done: dict[int, dict[str, Tensor]] = {}
    for rows, failed in processes.gather((mine, failure)):
        if failed:
            raise failed
        done |= rows
    return {name: torch.cat([done[number][name] for number in range(len(pieces))]) for name in done[0]}


def scalars(report: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of an evaluation by their path; items of a list by their number."""
    for name, value in report.items():
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, float):
            yield prefix + name, value
