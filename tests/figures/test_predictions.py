"""Pictures as a notebook makes them: of arrays, cameras as an orbit gives them, shown as they are."""

import io
from base64 import b64encode

import numpy as np
import pytest
import torch
from graphs import CORES, flat, world
from PIL import Image

import gqn


@pytest.fixture(scope="module")
def network() -> gqn.RecursiveGQN:
    return gqn.GenerativeQueryNetwork(
        pixels=16, representation_channels=8, hidden=8, canvas=8, generation_steps=2
    ).eval()


def test_a_flight_along_an_orbit_is_a_picture_that_moves(network: gqn.RecursiveGQN) -> None:
    around = gqn.orbit(3.0, 30, 5)
    context = gqn.Views(np.zeros((1, 2, 3, 16, 16), np.uint8), around[None, :2])
    mean, _ = gqn.flight(network, context, around, samples=2)
    again, _ = gqn.flight(network, context, gqn.camera_vector(around), samples=2)
    torch.testing.assert_close(mean, again)
    gif = gqn.animation(torch.rand(5, 3, 16, 16), enlarged=2)
    with Image.open(io.BytesIO(gif)) as picture:
        assert (picture.n_frames, picture.size) == (5, (32, 32))
    assert b64encode(gif).decode() in gif._repr_html_()


def test_canvases_are_of_all_that_a_task_reads() -> None:
    graph = flat()
    graph.add_sense("other", "tower", frame=(3, 8, 8), channels=8, aggregate="mean")
    graph.add_task("both", "render", ["vision", "other"], target=(3, 8, 8), query=7, **CORES)
    seen = world(2)
    views = seen.senses["vision"]
    batch = gqn.Batch({"vision": views, "other": views}, {"both": seen.tasks["render"]})
    assert len(gqn.canvases(graph, batch).axes) > 4


def test_frames_of_bytes_and_of_0_to_1_are_one_animation() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), np.uint8)
    assert gqn.animation(frames) == gqn.animation(torch.from_numpy(frames).double() / 255)
    for wrong in (frames[0], frames[:, :1], frames[:0], "frames", None):
        with pytest.raises(gqn.Error, match="wanted"):
            gqn.animation(wrong)
    for option in ("enlarged", "milliseconds"):
        with pytest.raises(gqn.Error, match="must be 1 or more"):
            gqn.animation(frames, **{option: 0})


def test_samples_are_asked_for_by_cameras_of_either_kind(network: gqn.RecursiveGQN) -> None:
    cameras = gqn.orbit(3.0, 30, 4)[None]
    context = gqn.Views(torch.rand(1, 4, 3, 16, 16), cameras)
    torch.manual_seed(0)
    frames = network.sample(context, cameras)
    torch.manual_seed(0)
    torch.testing.assert_close(network.sample(context, gqn.camera_vector(cameras)), frames)
    with pytest.raises(gqn.Error, match="numbers are wanted"):
        network.sample(context, cameras[..., :4])
