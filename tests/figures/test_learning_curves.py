"""Learning curves of the transfer study."""

from gqn.figures.curves import learning_curves


def test_a_condition_that_lacks_the_first_task_stands_in_the_legend() -> None:
    points = [(0.0, 1.0, 0.9, 1.1), (100.0, 0.5, 0.4, 0.6)]
    figure = learning_curves({"pose": {"layer-1": points}, "grasp": {"layer-1": points, "random": points}}, "steps")
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["layer-1", "random"]
