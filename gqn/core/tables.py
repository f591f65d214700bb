"""Tables in Markdown."""

from collections.abc import Sequence

NONE = "—"  # a cell without a value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])
