"""A visit to scenes without a browser: what is shown, what follows from it, and what is computed once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import World, three_layers

import gqn
from gqn.core.errors import NoSuchItem
from gqn.scenes.jaco import Jaco
from gqn.viewer.answers import bones, numbers
from gqn.viewer.session import Session, WhatIf, evenly

CAMERA = gqn.look_at([2.0, 1.0, 1.0], [0, 0, 0])


@pytest.fixture(scope="module")
def network() -> gqn.RecursiveGQN:
    torch.manual_seed(0)
    volume = {"field_of_view": 20.0, "radius": 0.6, "side": 8}
    sizes = {"hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2, "shared_cores": True, "kernel": 3}
    network = gqn.GenerativeQueryNetwork(
        pixels=16, representation="volume", representation_channels=4, volume=volume, **sizes
    ).eval()
    # Zeros at the beginning, under which latents change nothing.
    torch.nn.init.normal_(network.generator.painter.last.weight)
    return network


@pytest.fixture
def session(network: gqn.RecursiveGQN, scenes: Path) -> Session:
    return Session(network, gqn.LabelledScenes(gqn.SceneDataset(scenes, "test")))


@pytest.fixture
def graph_session() -> Session:
    torch.manual_seed(0)
    return Session(three_layers().eval(), World(6))


def frame(session: Session) -> np.ndarray:
    return session.picture(CAMERA).frame


def test_a_picture_is_what_the_network_samples(session: Session, network: gqn.RecursiveGQN) -> None:
    views = sorted(session.chosen["frames"])
    frames, cameras = session.scenes.observe("frames", 0, views)
    torch.manual_seed(session.draw)
    sample = network.sample(gqn.Views(frames[None], cameras[None]), CAMERA[None, None])[0, 0, 0]
    expected = (255 * sample.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(frame(session), expected)


def test_what_does_not_depend_on_the_camera_is_computed_once_a_change(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, before = [], gqn.RecursiveGQN.read
    monkeypatch.setattr(gqn.RecursiveGQN, "read", lambda self, *a: calls.append("read") or before(self, *a))
    for turn in range(3):
        session.picture(np.add(CAMERA, [0, 0, 0, 0.1 * turn, 0]))
    assert calls == ["read"]
    session.toggle(session.views[1])
    frame(session)
    assert calls == ["read"] * 2


def test_a_click_changes_the_picture_and_a_second_brings_it_back(session: Session) -> None:
    before, view = frame(session), session.views[1]
    session.toggle(view)
    assert session.recorded[1].chosen
    changed = frame(session)
    session.toggle(view)
    assert not np.array_equal(changed, before)
    assert np.array_equal(frame(session), before)


def test_a_sample_stays_the_same_until_another_is_asked_for(session: Session) -> None:
    random = torch.get_rng_state()
    before = frame(session)
    assert np.array_equal(frame(session), before)
    session.draw += 1
    assert not np.array_equal(frame(session), before)
    assert torch.equal(torch.get_rng_state(), random)  # the notebook's own


def test_without_context_all_scenes_are_one(session: Session) -> None:
    for view in list(session.chosen["frames"]):
        session.toggle(view)
    before = frame(session)
    session.open(1)
    assert np.array_equal(frame(session), before)


def test_a_sense_that_is_off_has_seen_nothing(session: Session) -> None:
    session.switch("vision", False)
    off = frame(session)
    session.switch("vision", True)
    assert not np.array_equal(frame(session), off)
    for view in list(session.chosen["frames"]):
        session.toggle(view)
    assert np.array_equal(frame(session), off)


def test_scene_algebra_adds_up(session: Session) -> None:
    own = frame(session)
    session.suppose(WhatIf(minus=2, plus=2))
    assert np.abs(frame(session).astype(int) - own).max() <= 1
    session.suppose(WhatIf(context=3))
    other = frame(session)
    session.suppose(WhatIf(minus=0, plus=3))
    assert np.abs(frame(session).astype(int) - other).max() <= 1
    assert not np.array_equal(other, own)
    session.open(3)
    assert session.what_if == WhatIf()
    assert np.array_equal(frame(session), other)


def test_the_truth_is_there_where_a_view_was_recorded(session: Session) -> None:
    view = session.recorded[4]
    picture = session.picture(view.camera)
    assert session.at(view.camera) == 4
    assert np.array_equal(picture.truth, view.frame)
    error = np.square(picture.frame / 255 - view.frame / 255).mean()
    assert picture.psnr == pytest.approx(-10 * np.log10(error), abs=0.1)
    assert session.at(np.add(view.camera, [0, 0, 0, 0.1, 0])) is None
    assert session.picture(CAMERA).truth is None


def test_a_reconstruction_sees_the_truth_and_is_a_sample_elsewhere(session: Session) -> None:
    session.mode = "reconstruction"
    camera = session.recorded[4].camera
    assert session.picture(camera).shown == "reconstruction"
    assert session.picture(CAMERA).shown == "sample"
    reconstruction = session.picture(camera).frame
    session.mode = "sample"
    assert not np.array_equal(session.picture(camera).frame, reconstruction)


def test_mean_and_spread_are_those_of_samples(session: Session) -> None:
    pictures = {}
    for mode in ("mean", "spread"):
        session.mode = mode
        pictures[mode] = frame(session)
        assert not np.array_equal(session.picture(CAMERA, moving=True).frame, pictures[mode])
    assert pictures["spread"].mean() < pictures["mean"].mean()


def test_tasks_answer_in_words_and_know_the_truth(graph_session: Session) -> None:
    assert graph_session.drawings == ["render"]
    graph_session.open(1)
    said = {answer.task: answer for answer in graph_session.answers(CAMERA)}
    assert set(said) == {"reach", "name"}  # `feel` is asked by a probe's pose, which a camera has not
    assert said["name"].text.startswith("class ")
    assert said["name"].truth == f"{graph_session.scenes.answer('name', 1):g}"
    assert "off by" in said["reach"].truth
    graph_session.open(3)  # whose answer to `reach` is not known
    assert {answer.task: answer.truth for answer in graph_session.answers(CAMERA)}["reach"] == ""


def test_senses_are_switched_on_their_own(graph_session: Session) -> None:
    def name() -> str:
        return next(answer.text for answer in graph_session.answers(CAMERA) if answer.task == "name")

    with torch.no_grad():
        for weight in graph_session.network.nodes["name"].parameters():
            weight.mul_(4)  # so that what differs shows in the words
    graph_session.open(1)
    both = name()
    graph_session.switch("touch", False)
    assert name() != both
    graph_session.switch("touch", True)
    assert name() == both
    graph_session.take("touch", 0)
    assert name() != both


def test_three_numbers_that_are_a_place_have_one() -> None:
    graph = three_layers()
    graph.add_task("locate", "vector", ["arm"], target=(3,), hidden=8, data="objects.0.position")
    (said,) = (answer for answer in Session(graph.eval(), World(3)).answers(CAMERA) if answer.task == "locate")
    assert len(said.place) == 3
    assert said.true_place is None
    assert said.truth == ""


def test_joints_are_an_arm_whose_hand_is_where_the_scene_has_it() -> None:
    setting = Jaco(size=8, views=1).setting(np.random.default_rng(0))
    arm = bones(torch.tensor(np.array(setting.labels["joints"])))
    assert arm is not None
    assert np.linalg.norm(arm[:, 1] - setting.labels["hand"], axis=1).min() < 0.05  # world units, of the fingers' roots
    assert bones(torch.zeros(7)) is None
    graph = three_layers()
    graph.add_task("pose", "vector", ["arm"], target=(9,), hidden=8, data="joints")
    (said,) = (answer for answer in Session(graph.eval(), World(3)).answers(CAMERA) if answer.task == "pose")
    assert said.bones is not None
    assert said.bones.shape == arm.shape
    assert said.true_bones is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda s: s.open(5), "scene 5"),
        (lambda s: s.suppose(WhatIf(minus=-1)), "scene -1"),
        (lambda s: s.toggle(99), "view 99"),
        (lambda s: s.switch("smell", True), "'smell'"),
        (lambda s: s.take("frames", 99), "'frames'"),
        (lambda s: s.draw_by("pose"), "'pose'"),
    ],
)
def test_what_there_is_not_is_refused_and_nothing_changes(session: Session, call: object, named: str) -> None:
    before = frame(session)
    with pytest.raises(gqn.Error, match=named):
        call(session)
    assert np.array_equal(frame(session), before)


def test_a_scene_that_cannot_be_read_leaves_the_one_that_is_shown(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, observe = frame(session), session.scenes.observe

    def damaged(data: str, scene: int, numbers: list[int]) -> object:
        if scene == 1:
            raise gqn.Error("scene 1 is damaged")
        return observe(data, scene, numbers)

    monkeypatch.setattr(session.scenes, "observe", damaged)
    with pytest.raises(gqn.Error, match="damaged"):
        session.open(1)
    assert session.scene == 0
    assert np.array_equal(frame(session), before)


def test_past_the_end_is_an_index_error(session: Session) -> None:
    with pytest.raises(NoSuchItem):
        session.open(5)


def test_many_numbers_are_bars_and_many_views_are_even() -> None:
    assert numbers(torch.tensor([1.0, -2.5])) == "1.00 -2.50"
    assert numbers(torch.arange(16.0)).startswith("▁")
    assert evenly(300, 3) == [0, 100, 200]
    assert evenly(2, 3) == [0, 1]
