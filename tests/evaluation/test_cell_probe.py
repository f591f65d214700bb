"""The nonlinear probe of a volume's cells: it reads what lies along no direction, and no noise."""

import numpy as np
import torch

from gqn.data.truth import Array, Question, questions
from gqn.evaluation.cell_probe import read_by_network
from gqn.models.cube import cell_coordinates
from gqn.models.outputs import Volume
from gqn.training.probes import Sums, near, ridge

VOLUME = Volume(3, 8, 45.0, (0.0, 0.0, 0.0), 0.5)
TRAINING, TOTAL = 300, 60


def balls() -> tuple[list[dict], Question]:
    """One ball a scene, of one colour, on the ground, and the question where it is."""
    places = np.random.default_rng(0).uniform(-0.4, 0.4, (TRAINING + TOTAL, 3)) * [1, 1, 0]
    of_all = {"colour": [1.0, 0.0, 0.0], "shape": "sphere", "size": 0.1}
    labels = [{"objects": [{"position": place, **of_all}]} for place in places]
    return labels, questions(labels[:TRAINING])["objects"]


def distance(answers: Array, question: Question, labels: list[dict]) -> float:
    return question.figures(answers, labels[TRAINING:])["distance"].value


def test_a_ball_of_any_hue_is_read_though_its_hues_cancel() -> None:
    labels, question = balls()
    assert question.nodes is not None
    centres = torch.cartesian_prod(*cell_coordinates(VOLUME, torch.zeros(1))).numpy()
    place = np.array([scene["objects"][0]["position"] for scene in labels])
    bump = np.exp(-np.square(centres - place[:, None]).sum(axis=2) / (2 * 0.1**2))
    random = np.random.default_rng(1)
    hues = random.normal(size=(len(labels), 3, 1))
    hues /= np.linalg.norm(hues, axis=1, keepdims=True)
    cells = hues * bump[:, None] + 0.02 * random.normal(size=(len(labels), 3, 512))
    r = torch.from_numpy(cells).float().unflatten(2, (8, 8, 8)).flatten(1, 2)
    targets = torch.from_numpy(question.targets(labels[:TRAINING])).float()
    coarse = VOLUME.coarse(r)
    answers = read_by_network((coarse[:TRAINING], coarse[TRAINING:]), VOLUME, question.nodes, targets, 0)
    read = near(r, VOLUME, question.nodes, targets.mean(dim=0).unflatten(0, (len(question.nodes), -1)))
    rows = Sums.of(
        read[:TRAINING].flatten(0, 1).double(), targets.unflatten(1, (read.shape[1], -1)).flatten(0, 1).double()
    )
    linear = (read[TRAINING:].double() @ ridge(rows, rows, pooled=True)).flatten(1).numpy()
    assert distance(answers, question, labels) < 0.07 < 0.12 < distance(linear, question, labels)
    again = read_by_network((coarse[:TRAINING], coarse[TRAINING:]), VOLUME, question.nodes, targets, 0)
    np.testing.assert_array_equal(answers, again)


def test_of_noise_the_usual_answer_is_all_that_is_learned() -> None:
    labels, question = balls()
    assert question.nodes is not None
    targets = torch.from_numpy(question.targets(labels[:TRAINING]))
    noise = torch.randn(TRAINING + TOTAL, *VOLUME.shape, generator=torch.Generator().manual_seed(0))
    cells = VOLUME.coarse(noise)
    answers = read_by_network((cells[:TRAINING], cells[TRAINING:]), VOLUME, question.nodes, targets, 0)
    constant = np.broadcast_to(targets.mean(dim=0).numpy(), answers.shape)
    truth = question.targets(labels[TRAINING:])
    assert np.square(answers - truth).mean() > 0.9 * np.square(constant - truth).mean()
