"""Trials whose answers are known: the answers are what they are said to be."""

from colorsys import rgb_to_hsv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gqn.core.camera import recorded_camera
from gqn.evaluation.stimuli import (
    HUES,
    NoTrial,
    centred,
    exchange_trial,
    hidden_trial,
    mirror_image,
    mirror_trial,
    places_beside,
    ring,
    seen,
    walks_through,
)
from gqn.scenes.shepard_metzler import CUBE, ShepardMetzler, walk

FAMILY = ShepardMetzler(size=32, cameras="ring")


def test_cameras_of_a_ring_look_at_the_origin_from_its_height() -> None:
    cameras = ring([0, 90, 200], 30)
    distance = np.linalg.norm(cameras[:, :3], axis=1)
    np.testing.assert_allclose(distance, 10 / 3)
    np.testing.assert_allclose(np.rad2deg(np.arcsin(cameras[:, 2] / distance)), 30)
    np.testing.assert_allclose(np.rad2deg(cameras[:, 4]), -30)


@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180, 225, 315])
def test_a_mirror_image_is_one(degrees: float) -> None:
    positions = CUBE * walk(5, np.random.default_rng(0))
    image = mirror_image(positions, degrees)
    along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), 0])
    normal = np.cross(along, [0, 0, 1])
    np.testing.assert_allclose(image, positions - 2 * np.outer(positions @ normal, normal), atol=1e-12)


def test_the_mirror_image_from_the_front_is_the_frame_from_right_to_left() -> None:
    """But for the light, and for a mirror along the grid that stands a little aslant."""
    flipped, plain = 0.0, 0.0
    for seed in range(5):
        trial = mirror_trial(FAMILY, np.random.default_rng(seed), range(0, 360, 45))
        flipped += (trial.same.flip(-1) - trial.mirror).abs().mean().item()
        plain += (trial.same - trial.mirror).abs().mean().item()
        assert (trial.same - trial.mirror).abs().mean(dim=(1, 2, 3)).min() > 0.01  # never its own mirror image
        torch.testing.assert_close(trial.same[0], trial.context.frames[0, 0])  # no angle: the very view
    assert flipped < 0.75 * plain


def test_walks_through_cells() -> None:
    row = np.array([[i, 0, 0] for i in range(4)])
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    star = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0]])
    assert [walks_through(cells) for cells in (row, square, star)] == [2, 8, 0]
    assert len(places_beside(row)) == 18
    assert not {tuple(c) for c in places_beside(square)} & {tuple(c) for c in square}


def test_no_possible_answer_changes_what_was_seen_and_all_show_in_the_query() -> None:
    for seed in range(4):
        trial = hidden_trial(FAMILY, np.random.default_rng(seed))
        assert trial.possible[trial.place]
        assert trial.weight.sum() == pytest.approx(1)
        assert ((trial.weight > 0) == trial.possible).all()
        assert trial.answers.shape == (len(trial.possible), HUES, 3, 32, 32)
        nearest = (trial.answers[trial.place] - trial.truth).square().mean(dim=(1, 2, 3)).argmin()
        assert nearest == trial.hue
        assert set(trial.near.tolist()) == {(trial.hue + step) % HUES for step in (-1, 0, 1)}
        for answers in trial.answers[trial.possible]:
            assert (answers.amax(dim=0) - answers.amin(dim=0)).amax(dim=0).gt(0.1).sum() >= 6  # pixels
        assert torch.equal(trial.context.frames[:, :2], trial.revealing.frames[:, :2])
        assert not torch.equal(trial.revealing.cameras[0, 2], trial.camera)
    again = hidden_trial(FAMILY, np.random.default_rng(seed))
    assert torch.equal(trial.truth, again.truth)


def test_only_the_hues_of_the_family_are_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    family = replace(FAMILY, hues=5)
    trial = hidden_trial(family, np.random.default_rng(0))
    assert trial.answers.shape[1] == 5
    assert trial.near.tolist() == [trial.hue]
    assert torch.equal(trial.answers[trial.place, trial.hue], trial.truth)
    hues = set()

    def watched(family: ShepardMetzler, positions: np.ndarray, colours: np.ndarray, cameras: np.ndarray) -> np.ndarray:
        hues.update(5 * rgb_to_hsv(*colour)[0] for colour in colours.tolist())
        return seen(family, positions, colours, cameras)

    monkeypatch.setattr("gqn.evaluation.stimuli.seen", watched)
    for seed in range(20):
        hues.clear()
        exchange_trial(family, np.random.default_rng(seed), context=1)
        one, other = sorted(hues)
        assert [one, other] == pytest.approx([round(one), round(other)])
        assert round(other - one) in (2, 3)  # a third of the circle or more
    for trials in (hidden_trial, partial(exchange_trial, context=1)):
        with pytest.raises(NoTrial, match="of one hue"):
            trials(replace(FAMILY, hues=1), np.random.default_rng(0))


def test_where_nothing_is_ever_hidden_there_is_no_trial() -> None:
    with pytest.raises(NoTrial, match="no object of 5 parts with a hidden part in 0 attempts"):
        hidden_trial(FAMILY, np.random.default_rng(0), attempts=0)


def test_a_part_that_shows_is_no_hidden_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever hue the part is given, the context stays; the same for another part, and it does not."""
    drawn = []

    def watched(family: ShepardMetzler, positions: np.ndarray, colours: np.ndarray, cameras: np.ndarray) -> np.ndarray:
        drawn.append((positions, colours, cameras))
        return seen(family, positions, colours, cameras)

    monkeypatch.setattr("gqn.evaluation.stimuli.seen", watched)
    trial = hidden_trial(FAMILY, np.random.default_rng(0))
    positions, colours, cameras = [call for call in drawn if len(call[2]) == 3][-2]  # the context, then the revealing
    shown = seen(FAMILY, positions, colours, cameras)
    changes = []
    for part in range(5):
        painted = colours.copy()
        painted[part] = 1
        changes.append(not np.array_equal(seen(FAMILY, positions, painted, cameras), shown))
    assert sorted(changes) == [False, True, True, True, True]
    hidden = changes.index(False)
    assert rgb_to_hsv(*colours[hidden])[0] * HUES == pytest.approx(trial.hue, abs=0.5)


def test_an_exchange_keeps_shapes_and_hues_apart() -> None:
    trial = exchange_trial(FAMILY, np.random.default_rng(0), context=2)
    a, b, c, d = trial.contexts.frames.amax(dim=2) > 0.2  # (2, h, w), where something is
    off = [(one ^ other).float().mean().item() for one, other in ((a, b), (c, d), (a, c))]
    assert max(off[:2]) < 0.5 * off[2]
    colour = trial.contexts.frames.sum(dim=(1, 3, 4))
    colour = colour / colour.norm(dim=1, keepdim=True)
    assert (colour[0] @ colour[3]) > 0.99 > (colour[0] @ colour[1])
    assert torch.equal(trial.contexts.cameras[0], trial.contexts.cameras[3])
    assert trial.query.frames.shape == (1, 1, 3, 32, 32)
    height = recorded_camera(trial.contexts.cameras)[..., 2]
    torch.testing.assert_close(height, torch.full_like(height, 10 / 6))


def test_centred_as_the_family_has_it() -> None:
    positions, _ = FAMILY.object(np.random.default_rng(3))
    cells = np.rint((positions - positions[0]) / CUBE).astype(np.int64)
    np.testing.assert_allclose(centred(cells), positions, atol=1e-12)
