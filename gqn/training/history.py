"""The evaluations of a run so far, as metrics.json has them."""

import json
import math
from pathlib import Path
from typing import Any

from gqn.training.folder import TrainingError

METRICS = "metrics.json"
History = list[dict[str, Any]]


def read_history(folder: Path) -> History:
    """Return the evaluations of the run in a folder. Raises TrainingError where their file is damaged."""
    path = folder / METRICS
    if not path.exists():
        return []
    try:
        history = json.loads(path.read_text())["history"]
        return [dict(report) for report in history if isinstance(report["step"], int)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TrainingError(
            f"{path} is damaged ({type(error).__name__}): remove it; the evaluations so far are lost"
        ) from error


def sound(history: History) -> bool:
    """Return whether the last losses are finite and have not exploded since the evaluation before."""

    def losses(report: dict[str, Any]) -> dict[str, float]:
        return {name: found["negative_elbo"] for name, found in report["tasks"].items() if found}

    last, before = losses(history[-1]), losses(history[-2]) if len(history) > 1 else {}
    return all(math.isfinite(value) for value in last.values()) and all(
        value - before.get(name, value) <= max(10.0, abs(before.get(name, value))) for name, value in last.items()
    )
