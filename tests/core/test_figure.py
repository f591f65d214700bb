"""Figures: numbers on axes are written as matplotlib writes them, a user's names as they are."""

from io import BytesIO

from gqn.core.figure import Figure


def test_powers_on_an_axis_are_written_and_names_are_no_tex() -> None:
    figure = Figure(layout="constrained")
    place = figure.subplots()
    place.plot([0, 300], [0, 1])
    place.set_xscale("symlog", linthresh=50)
    place.set_title("scenes of $HOME and $PWD")
    figure.savefig(BytesIO(), format="png")
    powers = [label for label in place.get_xticklabels() if "mathdefault" in label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in powers)
    assert not place.title.get_parse_math()
