"""Tables and figures of the transfer protocol, made from files of results alone."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from gqn.core.tables import NONE, table
from gqn.figures import curves as charts
from gqn.studies.comparison import (
    area,
    interquartile_mean,
    probability_of_improvement,
    shown,
    steps_to_threshold,
    told_ratio,
)
from gqn.studies.runner import Line
from gqn.studies.transfer.experiment import ALL, Cell, Experiment

Results = dict[Cell, Line]
Measure = Callable[[Line], float]
Pairs = dict[str, tuple[list[Line], list[Line]]]  # by task, runs of two conditions with the same seeds


def report(experiment: Experiment, results: Results) -> str:
    """Return all tables of an experiment in Markdown; of an unfinished one, those of the runs that are there."""
    parts = [f"{len(results)} of {len(experiment.cells())} runs."]
    if experiment.tuned():
        return "\n\n".join([*parts, tuning_table(experiment, results)]) + "\n"
    for labelled in experiment.labelled:
        scenes = "all labelled scenes" if labelled == ALL else f"{labelled} labelled scenes"
        title = f"Last errors, {scenes}" if len(experiment.labelled) > 1 else "Last errors"
        parts += [f"### {title}", final_table(experiment, results, labelled)]
    for ours, theirs in experiment.compare:
        for labelled in experiment.labelled:
            scenes = "" if len(experiment.labelled) == 1 else f", {labelled or 'all'} labelled scenes"
            parts += [f"### {ours} against {theirs}{scenes}", comparison(experiment, results, ours, theirs, labelled)]
    return "\n\n".join(parts) + "\n"


def runs_of(experiment: Experiment, results: Results, condition: str, task: str, labelled: int) -> dict[int, Line]:
    """Return the runs of a condition by their seeds."""
    (rate,) = experiment.conditions[condition]
    cells = {seed: Cell(condition, task, labelled, rate, seed) for seed in experiment.seeds}
    return {seed: results[cell] for seed, cell in cells.items() if cell in results}


def relative(run: Line) -> list[float]:
    """Return the errors of a run as shares of the error of an answer that looks at nothing."""
    return [error / run["constant_error_cm"] for error in run["error_cm"]]


def final_table(experiment: Experiment, results: Results, labelled: int) -> str:
    """Return interquartile means of the last errors in centimetres, over seeds, with their intervals."""
    rows = []
    for condition in experiment.conditions:
        cells = []
        for task in experiment.tasks:
            runs = runs_of(experiment, results, condition, task, labelled).values()
            cells.append(shown(interquartile_mean([[run["error_cm"][-1] for run in runs]]), 1) if runs else NONE)
            held = [run["executed"] for run in runs if "executed" in run]
            if held:
                success = interquartile_mean([[100 * one["success"] for one in held]])
                cells[-1] += f"; {success.value:.0f} % held"
            elif runs:
                success = interquartile_mean([[100 * run["success"][-1] for run in runs]])
                cells[-1] += f"; {success.value:.0f} %"
        rows.append([condition, *cells])
    constant = []
    for task in experiment.tasks:
        known = [run["constant_error_cm"] for cell, run in results.items() if cell.task == task]
        constant.append(f"{np.mean(known):.1f}" if known else NONE)
    return table(["cm; success", *experiment.tasks], [*rows, ["an answer that looks at nothing", *constant]])


def comparison(experiment: Experiment, results: Results, ours: str, theirs: str, labelled: int) -> str:
    """Return the ratios of steps to each threshold by task, and the comparison over all tasks."""
    budget = experiment.pauses[-1]
    pairs: Pairs = {}
    for task in experiment.tasks:
        mine, other = (runs_of(experiment, results, condition, task, labelled) for condition in (ours, theirs))
        seeds = sorted(mine.keys() & other.keys())
        if seeds:
            pairs[task] = [mine[seed] for seed in seeds], [other[seed] for seed in seeds]
    if not pairs:
        return "No runs of both yet."
    rows = []
    for task, both in pairs.items():
        cells = []
        for threshold in experiment.thresholds:
            a, b = ([steps_to_threshold(run["steps"], relative(run), threshold) for run in runs] for runs in both)
            cells.append(told_ratio(a, b, budget))
        rows.append([task, *cells])
    lines = [
        table(["error to reach, of a constant answer's", *(f"{t:g}" for t in experiment.thresholds)], rows),
        overall(ours, theirs, pairs),
        costs(ours, theirs, pairs, experiment),
    ]
    return "\n\n".join(lines)


def overall(ours: str, theirs: str, pairs: Pairs) -> str:
    """Return areas and last scores over all tasks; a score is 1 minus the relative error."""
    measures: dict[str, Measure] = {
        "normalised area under the curve": lambda run: area(run["steps"], 1 - np.array(relative(run))),
        "last score": lambda run: 1 - relative(run)[-1],
    }
    rows = []
    for name, measure in measures.items():
        a, b = ([[measure(run) for run in both[side]] for both in pairs.values()] for side in (0, 1))
        better = probability_of_improvement(a, b)
        rows.append([name, shown(interquartile_mean(a), 3), shown(interquartile_mean(b), 3), shown(better, 2)])
    return table(["over all tasks", ours, theirs, f"P({ours} better)"], rows)


def costs(ours: str, theirs: str, pairs: Pairs, experiment: Experiment) -> str:
    """Return the seconds of a step and of the training before the task, and after how many tasks that has paid."""
    every = [[run for both in pairs.values() for run in both[side]] for side in (0, 1)]
    step = [float(np.median([run["seconds"] / run["steps"][-1] for run in runs])) for runs in every]
    before = [float(np.median([run["pretraining_seconds"] for run in runs])) for runs in every]
    rows = [
        [name, f"{1000 * step[side]:.1f} ms", f"{before[side]:.0f} s", f"{every[side][0]['parameters']:,}"]
        for side, name in enumerate((ours, theirs))
    ]
    found = table(["cost", "a step", "training before the task", "parameters that learn"], rows)
    return f"{found}\n\n{charged(pairs, step, before, experiment)}"


def charged(pairs: Pairs, step: Sequence[float], before: Sequence[float], experiment: Experiment) -> str:
    """Return the ratio of seconds to the lowest threshold that both reach, without and with the training before."""
    rows = []
    for task, both in pairs.items():
        for threshold in sorted(experiment.thresholds):
            medians = [
                float(np.median([steps_to_threshold(run["steps"], relative(run), threshold) for run in runs]))
                for runs in both
            ]
            if np.isfinite(medians).all():
                mine, other = (count * seconds for count, seconds in zip(medians, step, strict=True))
                whole = (mine + before[0]) / (other + before[1])
                saved = other - mine
                extra = before[0] - before[1]
                tasks = f"{extra / saved:.0f}" if saved > 0 < extra else "at once" if saved > 0 else "never"
                rows.append([task, f"{threshold:g}", f"{mine / other:.2f}", f"{whole:.1f}", tasks])
                break
    header = [
        "seconds to",
        "error",
        "ratio, training before left out",
        "charged to one task",
        "tasks until it has paid",
    ]
    return table(header, rows) if rows else "No threshold is reached by the median run of both."


def tuning_table(experiment: Experiment, results: Results) -> str:
    """Return normalised areas by learning rate, mean over tasks and seeds."""
    rows = []
    for condition, rates in experiment.conditions.items():
        for rate in rates:
            runs = [run for cell, run in results.items() if cell.condition == condition and cell.learning_rate == rate]
            if runs:
                areas = [area(run["steps"], 1 - np.array(relative(run))) for run in runs]
                rows.append([condition, f"{rate:g}", f"{np.mean(areas):.3f}", str(len(runs))])
    return table(["condition", "learning rate", "normalised area", "runs"], rows)


def curves(experiment: Experiment, results: Results) -> Figure:
    """Return the figure of relative errors by task, interquartile means over seeds with their intervals.

    They stand against the steps, or the last ones against the number of labelled scenes where there are several.
    """
    several = len(experiment.labelled) > 1
    found: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for task in experiment.tasks:
        found[task] = {}
        for condition in experiment.conditions:
            points = [
                (float(labelled if several else step), [errors[number] for errors in runs])
                for labelled in experiment.labelled
                if (runs := [relative(run) for run in runs_of(experiment, results, condition, task, labelled).values()])
                for number, step in enumerate(experiment.pauses)
                if not several or step == experiment.pauses[-1]
            ]
            if points:
                estimates = [(x, interquartile_mean([errors])) for x, errors in points]
                found[task][condition] = [(x, e.value, e.low, e.high) for x, e in estimates]
    return charts.learning_curves(found, "labelled scenes" if several else "training steps")
