"""Questions with known answers: mirror images, the scene behind a view, and parts that no view shows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.extras import extra
from gqn.core.views import Views
from gqn.evaluation.likelihood import importance_bound, posterior_draws
from gqn.evaluation.metrics import mean_with_interval, shares
from gqn.evaluation.stimuli import HiddenTrial, MirrorTrial, hidden_trial, mirror_trial
from gqn.evaluation.subject import NO_OBJECTS, Findings, Subject
from gqn.figures import curves as charts
from gqn.figures import predictions as plots

ANGLES = tuple(range(0, 181, 18))  # degrees between the two views of a mirror trial
IMPORTANCE = 10  # samples of the bound by which a view's likelihood is compared
WAYS = 10  # scenes among which the one behind a view is sought
PLACES_SHOWN = 3


def log_likelihoods(subject: Subject, r: Tensor, context: Views, query: Views) -> Tensor:
    """Return a bound on log p of the one query view of each of n scenes, of contexts' r, at training's sigma."""
    draws = posterior_draws(subject.generator, r, query, IMPORTANCE, informed=subject.informed(context, query))
    return importance_bound(draws, subject.sigma, IMPORTANCE)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the Euclidean distance of representations or frames, by the first axis."""
    return (a.float() - b.float()).flatten(1).norm(dim=1)


@torch.no_grad()
def mental_rotation(subject: Subject) -> Findings:
    """Ask which of two pictures shows the object of the context view and which its mirror image, against the angle.

    The picture is chosen whose likelihood is greater given the context, or whose own representation is nearer; as a
    control, the one whose pixels are nearer. `separation` is the area under the curve of telling same from mirrored by
    one threshold for all trials (0.5 is chance), which is what is asked where a trial has a single picture.
    """
    family = subject.objects
    if family is None:
        return {"mental_rotation": NO_OBJECTS}, {}
    device = subject.processes.device

    def scores(trial: MirrorTrial) -> dict[str, Tensor]:
        context = trial.context.to(device)
        r = subject.network.encode(context)
        found: dict[str, list[Tensor]] = {"likelihood": [], "representation": [], "pixels": []}
        for frames in (trial.same, trial.mirror):
            views = Views(frames[:, None], trial.cameras[:, None]).to(device)
            again = context[torch.zeros(len(frames), dtype=torch.long)]
            found["likelihood"].append(log_likelihoods(subject, r.expand(len(frames), -1, -1, -1), again, views))
            found["representation"].append(-distance(subject.network.encode(views), r))
            found["pixels"].append(-distance(views.frames[:, 0], context.frames[:, 0]))
        return {name: torch.stack(values, dim=-1)[None] for name, values in found.items()}  # (1, angles, 2)

    rows = subject.over_trials(lambda random: scores(mirror_trial(family, random, ANGLES)), "mental rotation")
    found: dict[str, Any] = {"trials": subject.options.trials, "angles": list(ANGLES), "context": 1}
    for name, values in rows.items():
        right = shares(-values)[..., 0]
        found[f"by_{name}"] = {
            "accuracy": [mean_with_interval(column, subject.options.seed) for column in right.T],
            "accuracy_at_all_angles": mean_with_interval(right.mean(dim=1), subject.options.seed),
            "separation": [separation(*column) for column in values.double().permute(1, 2, 0)],
        }
    return {"mental_rotation": found}, {"mental-rotation": charts.rotation(found)}


def separation(same: Tensor, mirrored: Tensor) -> float:
    """Return the area under the receiver operating characteristic of scores (n,) of same and of mirrored objects."""
    truth = np.repeat([1, 0], [len(same), len(mirrored)])
    return float(extra("sklearn.metrics").roc_auc_score(truth, torch.cat([same, mirrored]).numpy()))


@torch.no_grad()
def scene_behind_a_view(subject: Subject) -> Findings:
    """Ask which of ten scenes' contexts explains a view: its own, or one of the next nine scenes'.

    Chosen by the view's likelihood given each context, by the distance of its own representation from each, and, as a
    control, by its distance in pixels from the nearest frame of each.
    """
    ways = min(WAYS, subject.total)
    if ways < 2:
        return {"scene_behind_a_view": {"left_out": "it takes two scenes"}}, {}

    def work(numbers: range) -> dict[str, Tensor]:
        size, total = len(numbers), subject.total
        query = subject.batch(numbers).batch.query
        others = [
            subject.batch(range(n % total, n % total + 1)).batch.context.part(slice(subject.options.context))
            for n in range(numbers.start, numbers.stop + ways - 1)
        ]
        r = torch.cat([subject.network.encode(context) for context in others])
        alone = subject.network.encode(query)
        frames, cameras = (torch.cat([getattr(context, name) for context in others]) for name in ("frames", "cameras"))
        found: dict[str, list[Tensor]] = {"likelihood": [], "representation": [], "pixels": []}
        for way in range(ways):
            some = Views(frames[way : way + size], cameras[way : way + size])
            found["likelihood"].append(log_likelihoods(subject, r[way : way + size], some, query))
            found["representation"].append(-distance(alone, r[way : way + size]))
            squares = (frames[way : way + size] - query.frames).square().mean(dim=(2, 3, 4))
            found["pixels"].append(-squares.min(dim=1).values)
        return {name: torch.stack(values, dim=1) for name, values in found.items()}

    rows = subject.over_scenes(work, "scene behind a view")
    found: dict[str, Any] = {"ways": ways, "context": subject.options.context, "chance": 1 / ways}
    for name, values in rows.items():
        found[f"by_{name}"] = mean_with_interval(shares(-values)[:, 0], subject.options.seed)
    return {"scene_behind_a_view": found}, {}


@torch.no_grad()
def hidden_parts(subject: Subject) -> Findings:
    """Ask whether samples cover the hues and places that a hidden part may have, and only those.

    Each prior sample is put down to the answer, a place (possible or not) and a hue, whose frame is nearest to it over
    the values in which the possible answers differ. Beside it stands what draws from the true posterior would give: any
    hue of the family, and the places by their weight.
    """
    family = subject.objects
    if family is None:
        return {"hidden_parts": NO_OBJECTS}, {}
    options, device = subject.options, subject.processes.device
    count = options.samples

    def imagined(context: Views, trial: HiddenTrial) -> Tensor:
        cameras = trial.camera.to(device)[None, None]
        return subject.network.sample(context.to(device), cameras, count)[:, 0, 0].float()

    def work(random: np.random.Generator) -> dict[str, Tensor]:
        trial = hidden_trial(family, random)
        answers, possible = trial.answers.to(device), torch.from_numpy(trial.possible).to(device)
        hues = answers.shape[1]
        spread = answers[possible].flatten(0, 1)
        region = (spread.amax(dim=0) - spread.amin(dim=0)).amax(dim=0) > 0.1  # (h, w)
        elsewhere = ~region & (trial.truth.to(device).amax(dim=0) > 0.1)
        row: dict[str, Any] = {}
        for name, context in (("hidden", trial.context), ("revealed", trial.revealing)):
            samples = imagined(context, trial)
            errors = (samples[:, None, None] - answers)[..., region].square().mean(dim=(-2, -1))  # (s, places, hues)
            chosen = shares(errors.flatten(1)).cpu().unflatten(1, (-1, hues))
            share, covered = chosen.mean(dim=0), 1 - (1 - chosen).prod(dim=0)
            deviation = samples.std(dim=0).mean(dim=0)
            error = (samples - trial.truth.to(device))[..., region].square().mean(dim=(1, 2)).sqrt()
            row |= {
                f"{name}_answers_covered": covered[trial.possible].mean(),
                f"{name}_share_on_possible_places": share[trial.possible].sum(),
                f"{name}_share_on_the_truth": share[trial.place, trial.near].sum(),
                f"{name}_deviation_of_the_part_255": 255 * deviation[region].mean(),
                f"{name}_deviation_elsewhere_255": 255 * deviation[elsewhere].mean(),
                f"{name}_rmse_of_a_sample_255": 255 * error.mean(),
                f"{name}_rmse_of_the_best_sample_255": 255 * error.min(),
            }
        chance = torch.from_numpy(trial.weight[trial.possible]) / hues
        row |= {
            "places": len(trial.possible),
            "possible_places": trial.possible.sum(),
            "true_posterior_answers_covered": (1 - (1 - chance) ** count).mean(),
            "true_posterior_share_on_the_truth": trial.weight[trial.place] * len(trial.near) / hues,
        }
        return {name: torch.as_tensor(value).double().reshape(1) for name, value in row.items()}

    rows = subject.over_trials(work, "hidden parts")
    found = {name: mean_with_interval(values, options.seed) for name, values in rows.items()}
    random = np.random.default_rng([options.seed, 0])
    shown = hidden_trial(family, random)
    torch.manual_seed(options.seed)
    samples = imagined(shown.context, shown)
    return (
        {"hidden_parts": {"trials": options.trials, "samples": count, **found}},
        {"hidden-part": picture(shown, samples)},
    )


def picture(trial: HiddenTrial, samples: Tensor) -> Any:
    """Draw one trial: the views that are seen, the possible answers, and samples of the network."""
    (places,) = np.nonzero(trial.possible)
    answers = trial.answers[:, ::2] if trial.answers.shape[1] > 8 else trial.answers
    rows = {
        "context": trial.context.frames[0],
        "truth": trial.truth[None],
        **{
            f"possible place {number}\nin {answers.shape[1]} hues": answers[place]
            for number, place in enumerate(places[:PLACES_SHOWN], 1)
        },
        "prior samples": samples[:8],
        f"mean and\ndeviation × {plots.SPREAD}": torch.stack([samples.mean(dim=0), plots.SPREAD * samples.std(dim=0)]),
    }
    return plots.strip(rows)
