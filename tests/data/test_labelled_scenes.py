from pathlib import Path

import pytest
import torch

from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same maze under a display and without one."""
    folders = []
    for display in (True, False):
        options = {"size": 84, "views": 24, "cells": 5, "display": display}
        folder = generate("mazes", tmp_path_factory.mktemp("walks"), 1, 0, workers=1, progress=False, **options)
        convert(folder, 4, workers=1, progress=False)
        folders.append(folder)
    return folders[0], folders[1]


@pytest.mark.parametrize("size", [0, 32, 128])
def test_a_display_reaches_no_network_and_no_measure(walks: tuple[Path, Path], size: int) -> None:
    under, bare = (SceneDataset(folder, "train", size=size) for folder in walks)
    (seen, _), (free, _) = (LabelledScenes(scenes).observe("frames", 0, range(24)) for scenes in (under, bare))
    covered = under.covered
    assert covered is not None
    assert bare.covered is None
    assert 0.05 < covered.float().mean() < 0.15
    assert (seen[..., covered] == 0).all()
    assert free[..., covered].mean() > 0.2  # so that it is the display which is black, and not the maze
    shown = under.scene(0)[0].float() / 255
    assert (shown - seen)[..., covered].abs().mean() > 0.2  # the dataset itself still has it
    # JPEG carries a little of a display to the pixels beside it.
    apart = (seen - free)[..., ~covered].abs()
    assert apart.mean() < 0.01
    assert apart.max() < 0.3


def test_frames_without_a_display_stay_as_they_are(scenes: Path) -> None:
    dataset = SceneDataset(scenes, "train")
    frames, _ = LabelledScenes(dataset).observe("frames", 0, [0, 1])
    torch.testing.assert_close(frames, dataset.scene(0, [0, 1])[0].float() / 255)
