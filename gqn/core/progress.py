"""Progress of everything that takes long: a bar with what is left, and a line that says how long it takes here."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

MEASURED = 3.0  # seconds of work from which the time of the rest is told
WORTH = 20.0  # seconds from which a rest is worth a line
QUIET = "--quiet"
QUIET_HELP = f"{QUIET} goes with every script: no progress, only what it found and what went wrong."

_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Show no progress from now on, in this process."""
    global _quiet
    _quiet = quiet


def note(line: str) -> None:
    """Print a line on the way, which nobody needs who is quiet."""
    if not _quiet:
        print(line, flush=True)


class Progress(tqdm):
    """A bar with what is done and left; once its first seconds are measured, a line says how long the rest takes here.

    Args:
        items: to go through; none where `update` is called.
        title: what is done, before the bar.
        unit: of one item.
        total: items, where they do not say it themselves.
        shown: whether there is a bar at all.
        limit: seconds after which the work ends in any case; 0 for none. The bar then counts to what will be done by
            then.
        slow_start: the first item is not measured: what comes with it, such as a compilation, comes once.
        options: tqdm's own.
    """

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        title: str = "",
        *,
        unit: str = "it",
        total: int | None = None,
        shown: bool = True,
        limit: float = 0.0,
        slow_start: bool = False,
        **options: Any,
    ) -> None:
        self.title, self.limit, self.slow_start = title, limit, slow_start
        self.told = not shown or _quiet
        unit = unit if options.get("unit_scale") else f" {unit}"  # 3 scenes, but 3MB
        super().__init__(items, desc=title or None, unit=unit, total=total, disable=self.told, **options)
        self.since = time.monotonic(), self.n

    def update(self, n: float | None = 1) -> bool | None:
        """Count further items."""
        shown = super().update(n)
        if not self.told and self.total:
            self._measure(self.total)
        if self.limit and hasattr(self, "container"):  # a notebook's bar, which keeps its end for itself
            self.container.children[1].max = self.expected or self.total
        return shown

    def pause(self, seconds: float) -> None:
        """Leave seconds that have passed out of the limit."""
        self.limit += seconds if self.limit else 0.0

    @property
    def format_dict(self) -> dict[str, Any]:
        """Numbers and names that tqdm draws the bar from."""
        return {**super().format_dict, "total": self.expected}

    @property
    def expected(self) -> float | None:
        """Items at the end of the work, by its pace where a limit may end it; None before the first item is done."""
        if not self.limit or not self.total:
            return self.total
        told = super().format_dict
        done = self.n - (told["initial"] or 0)
        if not done or not told["elapsed"]:
            return None
        pace = told["rate"] or done / told["elapsed"]
        return min(self.total, self.n + round(pace * max(0.0, self.limit - told["elapsed"])))

    def _measure(self, total: float) -> None:
        now, (begun, before) = time.monotonic(), self.since
        if self.slow_start:
            self.slow_start, self.since = False, (now, self.n)
            return
        if now - begun < MEASURED or self.n <= before:
            return
        self.told = True
        left = (total - self.n) * (now - begun) / (self.n - before)
        left = min(left, self.limit) if self.limit else left
        if left >= WORTH:
            self.write(f"{self.title}: about {duration(left)} more here", file=sys.stderr)


def duration(seconds: float) -> str:
    """Return a time as a person says it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.0f} seconds"
