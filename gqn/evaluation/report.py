"""The test pipeline: a trained network's knowledge of a held-out split, in figures and pictures, by one call.

Each section is a function of a `Subject`. Its work is shared out over the processes by scene, and all of them get the
same result.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gqn.core.checked import checked
from gqn.core.distributed import Processes, processes
from gqn.core.errors import Error
from gqn.core.extras import extra
from gqn.core.figure import save_png
from gqn.core.files import whole_file, write_json
from gqn.core.noise import seed_noise
from gqn.core.progress import Progress
from gqn.core.provenance import provenance, public
from gqn.core.views import Batch, Views
from gqn.data.batches import FRAMES, Asked, check_data
from gqn.data.labelled_scenes import LabelledScenes
from gqn.evaluation.likelihood import (
    Draws,
    bits_per_dimension,
    fitted_sigma,
    floor,
    importance_bound,
    log_probability_of_level,
    negative_elbo,
    posterior_draws,
    sigma_of_others,
)
from gqn.evaluation.mental_rotation import hidden_parts, mental_rotation, scene_behind_a_view
from gqn.evaluation.metrics import (
    PREDICTIONS,
    calibration,
    calibration_in_figures,
    in_figures,
    mean_with_interval,
    measures,
    predictions,
)
from gqn.evaluation.pixel_scale import scale_by_others
from gqn.evaluation.probes import neighbours, probes, scene_algebra
from gqn.evaluation.stimuli import NoTrial
from gqn.evaluation.subject import Findings, Options, Picture, Subject
from gqn.figures import curves as charts
from gqn.figures import predictions as plots
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.models.nodes import data_of, listed
from gqn.scenes import family_of
from gqn.training import checkpoint
from gqn.training.config import from_dict
from gqn.training.logs import Logs
from gqn.training.setup import check_pixels, computes_in_bfloat16, splits
from gqn.training.validation import mean_image, scalars

RESULTS = "evaluation.json"
LIBRARIES = ("scipy", "sklearn", "torchmetrics")  # that some section needs
FLIGHT_FRAMES = 36


@checked
def assess(
    directory: str | Path, dataset: str | Path, output: str | Path, options: Options, device: str = "auto"
) -> Path:
    """Examine the network of a run on the test split of a dataset, and write the findings to a folder.

    The folder gets evaluation.json, anew after each section, and at last pictures as PNG and GIF, and TensorBoard logs.

    Args:
        directory: a run's folder, a checkpoint, or the name of weights that come with the library.
        dataset: folder of converted scenes, DATA_DIR/DATASET.
        output: the folder to write.
        options: how thorough the evaluation is.
        device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Returns:
        The folder.

    Raises:
        Error: with one line for the user: a checkpoint or a dataset that can't be read, or a network without a task
            that renders.
        MissingExtra: where the libraries of the extra `evaluate` are not installed.
    """
    for library in LIBRARIES:
        extra(library)  # now rather than after an hour
    with processes(device) as group:
        subject, about = prepare(Path(directory), Path(dataset), options, group)
        Path(output).mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {**about, "seconds": {}}
        drawings: dict[str, Picture] = {}
        sections: list[Callable[[Subject], Findings]] = [
            likelihood_and_prediction,
            order_of_context,
            pictures,
            scene_behind_a_view,
            mental_rotation,
            hidden_parts,
            probes,
            neighbours,
            scene_algebra,
        ]
        for section in Progress(sections, "evaluation", unit="sections", shown=group.leads):
            begun = time.monotonic()
            with torch.autocast(group.device.type, torch.bfloat16, enabled=about["precision"] == "bfloat16"):
                try:
                    found, drawn = section(subject)
                except NoTrial as reason:
                    found, drawn = {section.__name__: {"left_out": str(reason)}}, {}
            report |= found
            drawings |= drawn
            report["seconds"][section.__name__] = round(time.monotonic() - begun, 1)
            if group.leads:
                write_json(Path(output) / RESULTS, plain(report))
        if group.leads:
            write(Path(output), report, drawings, about["step"])
    return Path(output)


def prepare(run: Path, dataset: Path, options: Options, group: Processes) -> tuple[Subject, dict[str, Any]]:
    saved = checkpoint.read(run)
    config = from_dict(saved["config"])
    network = checkpoint.trained(saved).to(group.device)
    asked = asked_of(network, run)
    # A few genuine scenes may be all of one split: then they are the test, and the mean image is theirs.
    training, scenes = splits(dataset, config.size)
    check_pixels(network, scenes, str(run))
    held_out = LabelledScenes(scenes)
    check_data(held_out, asked, options.most_context, 1, "--most-context")
    torch.manual_seed(options.seed)
    untrained = RecursiveGQN.from_dict(saved["graph"]).to(memory_format=torch.channels_last).to(group.device).eval()
    family = family_of(dataset)
    (task,) = asked.tasks
    subject = Subject(
        network,
        untrained,
        asked,
        held_out,
        mean_image(LabelledScenes(training)),
        cast(Render, network.nodes[task]).sigma.item(),
        options,
        group,
        dataset=dataset,
        family=family and replace(family, size=scenes.pixels),
    )
    about = {
        **provenance(group),
        "precision": "bfloat16" if computes_in_bfloat16(config.precision, group.device) else "float32",
        "step": saved["step"],
        "training_seconds": round(saved["seconds"], 1),
        "trained_with_context_views": list(config.training.context_views),
        "parameters": sum(p.numel() for p in network.parameters()),
        "dataset": {"name": scenes.name, "pixels": scenes.pixels, "split": scenes.folder.name, "scenes": subject.total},
        "options": asdict(options),
    }
    about["command"] = public(about["command"])
    return subject, about


def asked_of(network: RecursiveGQN, run: Path) -> Asked:
    """Return the sense and the task of a network that can be examined. Raises Error for another."""
    spec = network.spec
    senses = [name for name, node in spec.items() if node.kind == "sense"]
    tasks = [name for name, node in spec.items() if node.network == "render" and node.inputs == tuple(senses)]
    if len(senses) != 1 or len(tasks) != 1 or data_of(senses[0], spec[senses[0]]) != FRAMES:
        raise Error(
            f"{run}: an evaluation examines a sense of frames and one task that renders them from it, not this graph "
            f"of {listed(spec)}: name the run of such a network; metrics.json has the figures of every graph's tasks"
        )
    return Asked({senses[0]: FRAMES}, {tasks[0]: FRAMES})


def write(folder: Path, report: dict[str, Any], drawings: dict[str, Picture], step: int) -> None:
    with Logs(folder) as writer:
        for name, value in scalars(report):
            writer.scalar(f"evaluation/{name}", value, step)
        for name, picture in drawings.items():
            if isinstance(picture, Tensor):
                with whole_file(folder / f"{name}.gif") as file:
                    file.write(plots.animation(picture))
                continue
            path = folder / f"{name}.png"
            save_png(picture, path)
            writer.picture(f"evaluation/{name}", path, step)


def plain(value: Any) -> Any:
    """Return values with numbers to six digits, and None where there is no number."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def likelihood_and_prediction(subject: Subject) -> Findings:
    """Measure likelihood, errors and uncertainty for 0 to most_context views of the same scenes, and calibration."""
    options, seed = subject.options, subject.options.seed
    counts = range(options.most_context + 1)
    draws = [drawn(subject, context) for context in counts]
    likelihoods = [{"context": m, **likelihood(subject, draws[m])} for m in counts]
    sigmas = sigma_of_others(draws[options.context].squares.mean(dim=1), draws[0].values)
    rows = [predicted(subject, m, sigmas if m == options.context else None) for m in counts]
    errors = [
        {
            "context": m,
            **{name: in_figures(rows[m][name], seed) for name in PREDICTIONS},
            "spread_of_samples_255": mean_with_interval(255 * rows[m]["spread"].sqrt(), seed),
            "context_gain_db": mean_with_interval(
                rows[m]["prior_sample"][:, 1] - rows[m]["shuffled_sample"][:, 1], seed
            ),
        }
        for m in counts
    ]
    # No context frame is near where there is none, and a single scene has no other's context.
    errors[0]["nearest_context_view"] = None
    for row in errors if subject.total == 1 else []:
        row |= {"shuffled_sample": None, "shuffled_mean": None, "context_gain_db": None}
    at_training = {name.removeprefix("training_"): v for name, v in rows[options.context].items()}
    found = {
        "likelihood": likelihoods,
        "prediction": errors,
        "calibration": {
            "context": options.context,
            "samples": options.samples,
            "fitted_sigma": calibration_in_figures(rows[options.context], seed),
            "training_sigma": calibration_in_figures(at_training, seed),
            "pixel_scale": scaled_by_pixel(subject, rows[options.context], sigmas),
        },
    }
    return found, {"against-context": charts.against_context(found), "calibration": charts.calibration(found)}


def drawn(subject: Subject, context: int) -> Draws:
    """Return posterior draws of all scenes' query views from `context` views."""
    options = subject.options
    count = options.draws if context == options.context else options.fewer_draws

    def work(numbers: range) -> dict[str, Tensor]:
        batch = subject.batch(numbers).batch.shown(context)
        r = subject.network.encode(batch.context)
        draws = posterior_draws(
            subject.generator, r, batch.query, count, informed=subject.informed(batch.context, batch.query)
        )
        return {"squares": draws.squares, "ratio": draws.ratio, "kl": draws.kl}

    with torch.no_grad():
        rows = subject.over_scenes(work, f"likelihood, {context} context views")
    return Draws(**{name: value.double() for name, value in rows.items()}, values=subject.baseline.numel())


def likelihood(subject: Subject, draws: Draws) -> dict[str, Any]:
    """Return the likelihood of all scenes in figures: nats of a frame unless they are named otherwise."""
    seed = subject.options.seed
    count, squares = draws.squares.shape[1], draws.squares.mean(dim=1)
    sigmas = {
        "training_sigma": torch.full_like(squares, subject.sigma),
        "fitted_sigma": sigma_of_others(squares, draws.values),
    }
    found: dict[str, Any] = {
        "kl": mean_with_interval(draws.kl.sum(dim=1), seed),
        "kl_by_step": draws.kl.mean(dim=0).tolist(),
    }
    for name, sigma in sigmas.items():
        elbo, least = negative_elbo(draws, sigma), floor(draws, sigma)
        bounds = {str(k): -importance_bound(draws, sigma, k) for k in subject.options.importance if count % k == 0}
        best = min(value.mean().item() for value in (elbo, *bounds.values()))
        found[name] = {
            "sigma": sigma.mean().item(),
            "draws": count,
            "negative_elbo": mean_with_interval(elbo, seed),
            "floor": least.mean().item(),
            "negative_elbo_above_floor": mean_with_interval(elbo - least, seed),
            "negative_importance_bound": {k: mean_with_interval(value, seed) for k, value in bounds.items()},
            "nats_per_dimension": best / draws.values,
            "bits_per_dimension_of_8_bit_pixels": bits_per_dimension(best, draws.values),
        }
    found["sigma_fitted_to_all"] = fitted_sigma(squares, draws.values)
    return found


def predicted(subject: Subject, context: int, sigmas: Tensor | None) -> dict[str, Tensor]:
    """Return rows of errors of all scenes; with sigmas, the calibration at them and at the training's, and frames."""
    device = subject.processes.device

    def work(numbers: range) -> dict[str, Tensor]:
        item = subject.batch(numbers)
        truth = item.batch.query.frames[:, 0]
        frames, samples = predictions(subject.network, item, subject.baseline, subject.options.samples, context)
        rows = {name: measures(frame, truth) for name, frame in frames.items()}
        if sigmas is None:
            return {**rows, "spread": samples.var(dim=0).mean(dim=(1, 2, 3))}
        fitted = sigmas[numbers.start : numbers.stop].to(device)
        rows |= calibration(samples, truth, fitted)
        rows |= {"mean": samples.mean(dim=0), "deviation": samples.std(dim=0), "truth": truth}
        trained = calibration(samples, truth, torch.full_like(fitted, subject.sigma))
        return rows | {f"training_{name}": value for name, value in trained.items()}

    return subject.over_scenes(work, f"predictions, {context} context views")


def scaled_by_pixel(subject: Subject, rows: dict[str, Tensor], sigmas: Tensor) -> dict[str, Any]:
    """Return the calibration of the samples' mean with a scale for each pixel, and what that is worth in bits.

    rows: `mean`, `deviation` and `truth` of all scenes; sigmas: one for all pixels of a scene, fitted to the others.
    """
    seed = subject.options.seed
    mean, deviation, truth = (rows[name] for name in ("mean", "deviation", "truth"))
    scale = scale_by_others(mean, deviation, truth, seed)
    usual = subject.baseline.to(mean).expand_as(mean)
    scales = {
        "bits_per_dimension": (mean, scale),
        "one_sigma_bits_per_dimension": (mean, sigmas.to(mean)[:, None, None, None]),
        "mean_image_bits_per_dimension": (usual, scale_by_others(usual, torch.zeros_like(usual), truth, seed)),
    }
    bits = {
        name: -log_probability_of_level(truth, middle, around).mean(dim=(1, 2, 3)) / math.log(2)
        for name, (middle, around) in scales.items()
    }
    seed_noise(seed, 0)  # all processes do the same
    calibrated = calibration(mean[None], truth, scale)
    return {
        **{name: mean_with_interval(values.double(), seed) for name, values in bits.items()},
        **calibration_in_figures(calibrated, seed),
    }


@torch.no_grad()
def order_of_context(subject: Subject) -> Findings:
    """Measure how much r changes when the context views change places, relative to its size."""

    def work(numbers: range) -> dict[str, Tensor]:
        context = subject.batch(numbers).batch.context
        r = subject.network.encode(context)
        turned = subject.network.encode(Views(context.frames.flip(1), context.cameras.flip(1)))
        return {"change": (turned - r).flatten(1).norm(dim=1) / r.flatten(1).norm(dim=1)}

    change = subject.over_scenes(work, "order of context views")["change"]
    return {"order_of_context": {"largest_relative_change_of_r": change.max().item()}}, {}


def pictures(subject: Subject) -> Findings:
    """Draw predictions of the first scenes, the canvas after each step, and a flight round the first scene."""
    options = subject.options
    item = subject.batch(range(min(8, subject.total))).shown(options.context)
    (task,) = subject.asked.tasks
    context, query = item.batch.context, item.batch.query
    few = Batch({name: views[:4] for name, views in item.batch.senses.items()}, {task: query[:4]})
    around = plots.flight_cameras(subject.scenes.scenes.scene(0)[1], FLIGHT_FRAMES)
    mean, spread = plots.flight(
        subject.network, context[:1], around, task=task, samples=options.samples, seed=options.seed
    )
    rows = {
        "context": context.frames[0],
        "mean of samples": mean[:: FLIGHT_FRAMES // 12],
        f"deviation × {plots.SPREAD}": spread[:: FLIGHT_FRAMES // 12],
    }
    return {}, {
        "predictions": plots.predictions(
            subject.network, item.batch, item.shuffled, samples=options.samples, seed=options.seed
        ),
        "canvas": plots.canvases(subject.network, few, seed=options.seed),
        "flight-strip": plots.strip(rows),
        "flight": torch.cat([mean, spread], dim=3),
    }
