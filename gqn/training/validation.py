"""What a network knows of held-out scenes: likelihoods and image errors over a whole split, beside baselines."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from gqn.core.distributed import Processes
from gqn.core.modes import evaluating
from gqn.data.batches import Scenes, evaluation_batches
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.losses import likelihood_floor, log_likelihood

Piece = TypeVar("Piece")

PREDICTED = ("reconstruction", "prior_sample", "prior_mean", "shuffled_sample", "shuffled_mean", "mean_image")


def image_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error, PSNR in dB and mean absolute error of each image, for pixel values of 0 to 1.

    (..., c, h, w) twice -> (..., 3). Predictions are clipped to 0..1 first, as a picture of them would be.
    """
    difference = predicted.clamp(0, 1) - truth
    squared = difference.square().mean(dim=(-3, -2, -1))
    # 1e-10, or 100 dB, where the images are equal.
    psnr = -10 * squared.clamp(min=1e-10).log10()
    return torch.stack([squared, psnr, difference.abs().mean(dim=(-3, -2, -1))], dim=-1)


def mean_image(scenes: Scenes, limit: int = 500) -> Tensor:
    """The mean of all frames of up to `limit` scenes spread over the dataset, (3, h, w), pixel values of 0 to 1."""
    stride = max(1, -(-len(scenes) // limit))
    chosen = range(0, len(scenes), stride)
    total = torch.stack([scenes.scene(i)[0].float().mean(dim=0) for i in chosen])
    return total.mean(dim=0) / 255


@torch.no_grad()
def evaluate(
    network: GenerativeQueryNetwork,
    scenes: Scenes,
    baseline: Tensor,
    *,
    context: int,
    samples: int,
    sigma: float,
    seed: int,
    processes: Processes,
    limit: int | None = None,
    batch: int = 32,
) -> dict[str, Any]:
    """Likelihood and errors for one query view of each of the first `limit` scenes, shared out over the processes.

    baseline: the mean image of the training scenes, (3, h, w). sigma: of the pixels, in the likelihood.
    `prior_sample` is one sample, `prior_mean` the mean of `samples`; `shuffled_...` are the same when every scene is
    shown another scene's context: a network that gives no more for its own context does not use it. `context_gain_db`
    is the PSNR of prior samples minus that of shuffled ones; it and the shuffled errors are None for a single scene.
    """
    device = processes.device
    # One row of sums over scenes, of the same length on a process that gets no batch at all.
    sums = torch.zeros(3 + 3 * len(PREDICTED), dtype=torch.float64, device=device)
    batches = evaluation_batches(
        scenes,
        batch=batch,
        context=context,
        queries=1,
        seed=seed,
        limit=limit,
        rank=processes.rank,
        processes=processes.count,
    )
    with evaluating(network):
        for item in batches:
            torch.manual_seed(seed * 1_000_003 + item.first)
            own, foreign = item.batch.to(device), item.foreign.to(device)
            truth = own.query.frames[:, 0]
            prediction = network(own)
            imagined = network.sample(own.context, own.query.cameras, samples)[:, :, 0]
            shuffled = network.sample(foreign, own.query.cameras, samples)[:, :, 0]
            kl = prediction.kl.sum(dim=-1)[:, 0]
            likelihood = log_likelihood(truth, prediction.mean[:, 0], sigma)
            predicted = {
                "reconstruction": prediction.mean[:, 0],
                "prior_sample": imagined[0],
                "prior_mean": imagined.mean(dim=0),
                "shuffled_sample": shuffled[0],
                "shuffled_mean": shuffled.mean(dim=0),
                "mean_image": baseline.to(device).expand_as(truth),
            }
            columns = [torch.stack([torch.ones_like(kl), kl, likelihood], dim=-1)]
            columns += [image_errors(predicted[name], truth) for name in PREDICTED]
            sums += torch.cat(columns, dim=-1).double().sum(dim=0)
    count, kl, likelihood, *errors = processes.total(sums).tolist()
    floor = likelihood_floor(sigma, baseline.numel())
    negative_elbo = (kl - likelihood) / count
    report: dict[str, Any] = {
        "scenes": int(count),
        "sigma": sigma,
        "negative_elbo": negative_elbo,
        "negative_elbo_floor": floor,
        "negative_elbo_above_floor": negative_elbo - floor,
        "kl": kl / count,
    }
    for number, name in enumerate(PREDICTED):
        means = [error / count for error in errors[3 * number : 3 * number + 3]]
        report[name] = dict(zip(("mse", "psnr_db", "mae"), means, strict=True))
    report["context_gain_db"] = report["prior_sample"]["psnr_db"] - report["shuffled_sample"]["psnr_db"]
    if count == 1:
        report |= {"shuffled_sample": None, "shuffled_mean": None, "context_gain_db": None}
    return report


def shared_out(
    processes: Processes, pieces: Sequence[Piece], work: Callable[[Piece], dict[str, Tensor]], *, seed: int, title: str
) -> dict[str, Tensor]:
    """The rows that `work` gives of each piece, one after another, on the CPU; on all processes alike.

    The pieces are dealt to the processes. Noise follows from the seed and the piece's number alone, so that any number
    of processes gives the same rows. An exception of one process is raised on all.
    """
    mine: dict[int, dict[str, Tensor]] = {}
    failure: Exception | None = None
    numbers = range(processes.rank, len(pieces), processes.count)
    try:
        for number in tqdm(numbers, desc=title, disable=not processes.leads):
            torch.manual_seed(seed * 1_000_003 + number)
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
    """The numbers of an evaluation by their path; items of a list by their number."""
    for name, value in report.items():
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, float):
            yield prefix + name, value
