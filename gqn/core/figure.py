"""Figures that a notebook shows by itself, and that write a user's names as they are."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text

from gqn.core.files import whole_file


class Figure(MatplotlibFigure):
    """A figure of matplotlib's that shows itself where no backend for notebooks is set, and whose text is no TeX."""

    def draw(self, renderer: Any) -> None:
        for place in self.axes:
            for axis in (place.xaxis, place.yaxis):
                if axis.get_scale() != "linear":
                    axis.get_ticklabels(which="both")  # which writes them, else they are empty yet
        for text in self.findobj(Text):
            if "\\mathdefault" not in text.get_text():  # which the ticks of a logarithmic axis are written in
                text.set_parse_math(False)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", bbox_inches="tight")
        return file.getvalue()


def save_png(figure: MatplotlibFigure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as file:
        figure.savefig(file, format="png")
