"""Tables in Markdown."""

from collections.abc import Sequence

NONE = "—"  # what stands where there is nothing to tell


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])
