"""Questions about the ground truth of drawn scenes: the right answers, and what they are worth."""

import numpy as np
import pytest

from gqn.data.truth import Objects, Question, ground_truth, matched, objects, questions
from gqn.scenes import FAMILIES

WORLDS = {
    "jaco": {"joints", "hand", "objects", "colours"},
    "rooms_ring_camera": {"objects", "count", "colours", "layout", "colours_in_place"},
    "mazes": {"cells"},
    "shepard_metzler_7_parts": {"colours", "layout", "colours_in_place"},  # whose parts touch
}


def scene(*objects: tuple[list[float], list[float]]) -> dict:
    return {"objects": [{"position": position, "colour": colour} for position, colour in objects]}


def test_ground_truth_of_a_scene() -> None:
    red, green = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    found = ground_truth(
        [scene(([1.0, 0, 5], red), ([-1.0, 0, 5], green)), scene(([0.0, 2, 0], red), ([0.0, 0, 0], red))]
    )
    assert found["count"].tolist() == [[2], [2]]
    assert found["colours"].tolist() == [[1, 0, 1, 0, 0, 0], [2, 0, 0, 0, 0, 0]]
    assert found["layout"].tolist() == [[2, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0]]
    assert found["colours_in_place"][0].reshape(3, 3).tolist() == [[1, -1, 0], [0, 0, 0], [0, 0, 0]]
    assert not found["colours_in_place"][1].any()


def test_moving_a_scene_or_its_parts_in_their_order_changes_no_ground_truth() -> None:
    random = np.random.default_rng(0)
    parts = [(random.normal(size=3), random.random(3)) for _ in range(4)]
    moved = [(position + 3, colour) for position, colour in parts[::-1]]
    one, other = (ground_truth([scene(*[(p.tolist(), c.tolist()) for p, c in s])]) for s in (parts, moved))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-12)


def labels_of(world: str, count: int = 24) -> list[dict]:
    family = FAMILIES[world](views=1)
    return [family.setting(np.random.default_rng(number)).labels for number in range(count)]


@pytest.fixture(scope="module", params=list(WORLDS))
def asked(request: pytest.FixtureRequest) -> tuple[str, list[dict], dict[str, Question]]:
    labels = labels_of(request.param)
    return request.param, labels, questions(labels)


def test_each_world_is_asked_about_what_it_holds(asked: tuple[str, list[dict], dict[str, Question]]) -> None:
    world, _, about = asked
    assert set(about) == WORLDS[world]


def test_right_answers_are_perfect_and_the_mean_is_worth_nothing(
    asked: tuple[str, list[dict], dict[str, Question]],
) -> None:
    _, labels, about = asked
    for question in about.values():
        right = question.targets(labels)
        mean = np.broadcast_to(right.mean(axis=0), right.shape)
        perfect, blind = (question.figures(answers, labels) for answers in (right, mean))
        for name, figure in perfect.items():
            if name.endswith("distance"):
                assert figure.value < 0.02 < 0.1 < blind[name].value, name
            else:
                assert figure.value > 0.97, name
                assert blind[name].value < (0.9 if name.endswith("accuracy") else 0.5), name


def test_the_order_of_objects_is_no_part_of_a_question() -> None:
    labels = labels_of("rooms_ring_camera")
    turned = [{**scene, "objects": scene["objects"][::-1]} for scene in labels]
    for question in questions(labels).values():
        right = question.targets(labels)
        np.testing.assert_allclose(question.targets(turned), right, atol=1e-9)
        for name, figure in question.figures(right, turned).items():
            assert figure.value == pytest.approx(question.figures(right, labels)[name].value), name


def test_joints_are_asked_by_sine_and_cosine() -> None:
    labels = labels_of("jaco")
    question = questions(labels)["joints"]
    turned = [{**scene, "joints": np.asarray(scene["joints"]) + 2 * np.pi} for scene in labels]
    np.testing.assert_allclose(question.targets(turned), question.targets(labels), atol=1e-9)
    wrong = question.targets(labels)
    wrong[:, 2:4] = 0
    figures = question.figures(wrong, labels)
    assert figures["joint_2_r2"].value == pytest.approx(0)
    assert figures["joint_3_r2"].value == pytest.approx(1)
    assert figures["joints_r2"].value == pytest.approx(8 / 9)


def test_cells_are_those_that_vary_at_their_places() -> None:
    labels = labels_of("mazes")
    question = questions(labels)["cells"]
    cells = np.array([scene["open_cells"] for scene in labels])
    assert question.nodes is not None
    assert len(question.nodes) == (np.ptp(cells.astype(int), axis=0) > 0).sum()
    walker = FAMILIES["mazes"](views=1)
    row, column = walker._cells(question.nodes[:, :2])
    np.testing.assert_array_equal(cells[0][row, column], question.targets(labels[:1])[0] > 0.5)
    wrong = 1 - question.targets(labels)
    assert question.figures(wrong, labels)["cells_accuracy"].value == 0


def test_an_object_that_is_moved_is_found_where_it_is() -> None:
    labels = labels_of("rooms_ring_camera")
    question = Objects.of(objects, labels)
    places = np.array([[0.21, -0.13, -0.1], [-0.3, 0.3, -0.15]])
    found = question.found(question.bumps(places).sum(axis=0)[None], 2)[0]
    np.testing.assert_allclose(found[matched(found, places)], places, atol=0.02)
