"""A run as a notebook shows it."""

from base64 import b64encode
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from gqn.core.checked import checked
from gqn.training.folder import TrainingError
from gqn.training.history import METRICS, read_history
from gqn.training.validation import scalars

PICTURES = ("predictions.png", "curves.png")


class Run:
    """The folder of a run, which a notebook shows with its pictures and its last figures.

    Attributes:
        folder: where it lies, as `gqn.train` returns it.
    """

    @checked
    def __init__(self, folder: str | Path) -> None:
        """Open a run's folder.

        Args:
            folder: as `gqn.train` returns it.

        Raises:
            TrainingError: where no run has reported yet.
        """
        self.folder = Path(folder)
        if not read_history(self.folder):
            raise TrainingError(f"{folder} has no {METRICS} of a run: name a run's folder, after its first evaluation")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The evaluations on held-out scenes, a flat dictionary each: step, seconds, and figures by their path."""
        return [
            {"step": report["step"], "seconds": report["seconds"], **dict(scalars(report["tasks"]))}
            for report in read_history(self.folder)
        ]

    @property
    def history(self) -> Any:
        """The rows as a pandas frame by step; without pandas the rows themselves."""
        try:
            return import_module("pandas").DataFrame(self.rows).set_index("step")
        except ModuleNotFoundError:
            return self.rows

    def __repr__(self) -> str:
        """Return the folder and the last figures."""
        return f"{self.folder}: {', '.join(self._last())}"

    def _repr_html_(self) -> str:
        pictures = [self.folder / name for name in PICTURES if (self.folder / name).is_file()]
        images = [
            f'<img alt="{path.stem}" src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}"><br>'
            for path in pictures
        ]
        return f"<p><b>{escape(str(self.folder))}</b>: {escape(', '.join(self._last()))}</p>{''.join(images)}"

    def _last(self) -> list[str]:
        last = self.rows[-1]
        gains = {name: value for name, value in last.items() if name.endswith(("context_gain_db", "gain_nats"))}
        told = [f"{name.replace('/', ' ').replace('_', ' ')} {value:.2f}" for name, value in gains.items()]
        return [f"step {last['step']}", f"{last['seconds'] / 60:.1f} minutes", *told]
