"""Tables of the transfer protocol, of four runs whose ratio, payback and means are known by hand."""

from typing import Any

import pytest

from gqn.studies.transfer.experiment import Cell, Experiment
from gqn.studies.transfer.report import charged, comparison, overall, report

EXPERIMENT = Experiment(
    conditions={"layer-1": [1e-3], "pixels": [1e-3]},
    tasks=["locate"],
    seeds=[0, 1],
    pauses=[0, 10, 20, 40],
    thresholds=[0.8, 0.5, 0.3],
    compare=[["layer-1", "pixels"]],
)


def run(errors: list[float], seconds: float, before: float) -> dict[str, Any]:
    """Errors as shares of a constant answer's, which is 20 cm off."""
    return {
        "steps": EXPERIMENT.pauses, "error_cm": [20 * error for error in errors], "constant_error_cm": 20.0,
        "success": [0.0, 0.0, 0.0, 0.25], "seconds": seconds, "pretraining_seconds": before, "parameters": 1000,
    }  # fmt: skip


# Layer 1 comes to 0.8 after 4 steps and to 0.5 after 10, of 1 s each; pixels after 15 and 40, of 0.5 s. To 0.3 comes
# one run of four.
OURS = [run([1.0, 0.5, 0.4, 0.4], 40, 90), run([1.0, 0.5, 0.3, 0.2], 40, 90)]
THEIRS = [run([1.0, 0.9, 0.7, 0.5], 20, 0)] * 2
PAIRS = {"locate": (OURS, THEIRS)}
RESULTS = {
    Cell(condition, "locate", 0, 1e-3, seed): one
    for condition, runs in (("layer-1", OURS), ("pixels", THEIRS))
    for seed, one in enumerate(runs)
}


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of all rows that a title begins, without it."""
    found = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in found]


def test_ratios_of_steps_and_costs() -> None:
    found = comparison(EXPERIMENT, RESULTS, "layer-1", "pixels", 0)
    assert rows(found, "locate") == [
        ["0.27 (0.27 to 0.27)<br>2/2, 2/2", "0.25 (0.25 to 0.25)<br>2/2, 2/2", "—<br>1/2, 0/2"],
        ["0.5", "0.50", "5.0", "9"],  # as below
    ]
    assert rows(found, "layer-1") == [["1000.0 ms", "90 s", "1,000"]]
    assert rows(found, "pixels") == [["500.0 ms", "0 s", "1,000"]]


def test_scores_over_all_tasks() -> None:
    """Areas of 0.5 and 0.5875 against 0.2625; last scores of 0.6 and 0.8 against 0.5."""
    found = overall("layer-1", "pixels", PAIRS)
    for title, values in (("normalised area under the curve", [0.54375, 0.2625, 1]), ("last score", [0.7, 0.5, 1])):
        assert [float(cell.split()[0]) for cell in rows(found, title)[0]] == pytest.approx(values, abs=6e-4)


@pytest.mark.parametrize(
    ("pairs", "step", "before", "row"),
    [
        (PAIRS, (1.0, 0.5), (90.0, 0.0), ["0.5", "0.50", "5.0", "9"]),  # 10 s against 20 s; 90 s for 10 s a task
        (PAIRS, (1.0, 0.5), (90.0, 120.0), ["0.5", "0.50", "0.7", "at once"]),
        ({"locate": (THEIRS, OURS)}, (0.5, 1.0), (0.0, 90.0), ["0.5", "2.00", "0.2", "never"]),
    ],
)
def test_what_came_before_is_charged(pairs: Any, step: Any, before: Any, row: list[str]) -> None:
    assert rows(charged(pairs, step, before, EXPERIMENT), "locate") == [row]


def test_last_errors() -> None:
    found = report(EXPERIMENT, RESULTS).partition("### layer-1 against pixels")[0]
    assert rows(found, "layer-1") == [["6.0 (4.0 to 8.0); 25 %"]]
    assert rows(found, "pixels") == [["10.0 (10.0 to 10.0); 25 %"]]
    assert rows(found, "an answer that looks at nothing") == [["20.0"]]
