"""Properties of Shepard-Metzler objects and their cameras, and a genuine scene drawn again."""

from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
import pytest

from gqn.core.camera import look_at
from gqn.data.tfrecord import decode_example, decode_jpeg, encode_jpeg, read_records
from gqn.scenes.render import render
from gqn.scenes.shepard_metzler import CUBE, RADIUS, ShepardMetzler, cubes, walk


@pytest.mark.parametrize("parts", [1, 5, 7])
def test_object_is_a_chain_of_cubes_within_reach(parts: int) -> None:
    family, random = ShepardMetzler(parts=parts), np.random.default_rng(0)
    shapes = set()
    for _ in range(200):
        positions, colours = family.object(random)
        cells = positions / CUBE
        assert cells.shape == colours.shape == (parts, 3)
        np.testing.assert_allclose(np.abs(np.diff(cells, axis=0)).sum(axis=1), 1)  # each touches the last
        apart = np.abs(cells[:, None] - cells).max(axis=-1) + 2 * np.eye(parts)
        assert apart.min() > 0.999  # no two overlap
        np.testing.assert_allclose(positions.min(axis=0), -positions.max(axis=0), atol=1e-12)
        assert np.abs(positions).max() + CUBE / 2 <= parts * CUBE / 2 + 1e-12
        np.testing.assert_allclose(colours.max(axis=1), 1)
        np.testing.assert_allclose(colours.min(axis=1), 0)  # fully saturated
        shapes.add(cells.tobytes())
    assert len(shapes) > (1 if parts == 1 else 80) - 1


def test_walk_goes_all_ways() -> None:
    random = np.random.default_rng(0)
    ends = np.array([walk(2, random)[1] for _ in range(600)])
    _, counts = np.unique(ends, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 60


@pytest.mark.parametrize("cameras", ["sphere", "ring"])
def test_cameras_look_at_the_origin_from_the_radius(cameras: str) -> None:
    family = ShepardMetzler(views=400, cameras=cameras, elevation=20.0)
    placed = family.place_cameras(np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(placed[:, :3], axis=1), RADIUS, rtol=1e-6)
    aim = look_at(placed[:, :3], np.zeros(3))
    np.testing.assert_allclose(np.cos(placed[:, 3:]), np.cos(aim[:, 3:]), atol=1e-5)
    np.testing.assert_allclose(np.sin(placed[:, 3:]), np.sin(aim[:, 3:]), atol=1e-5)
    assert len(np.unique(placed[:, 3])) > 90
    if cameras == "ring":
        np.testing.assert_allclose(placed[:, 2], RADIUS * np.sin(np.deg2rad(20)), rtol=1e-6)
    else:
        assert placed[:, 2].min() < -0.95 * RADIUS
        assert placed[:, 2].max() > 0.95 * RADIUS


@pytest.mark.parametrize("parts", [1, 5])
def test_object_is_in_the_middle_and_wholly_in_the_frame(parts: int) -> None:
    family, random = ShepardMetzler(parts=parts), np.random.default_rng(0)
    row = np.arange(parts)[:, None] * np.array([CUBE, 0, 0])  # the longest of objects
    cameras = family.place_cameras(random)
    frames = render(cubes(row - row.mean(axis=0), np.ones((parts, 3))), cameras, family.size)
    seen = frames.max(axis=-1) > 0
    half = family.size // 2
    assert seen[:, half - 1 : half + 1, half - 1 : half + 1].all()
    assert not seen[:, [0, -1]].any()
    assert not seen[:, :, [0, -1]].any()


@pytest.mark.parametrize(
    ("option", "value"),
    [("parts", 0), ("parts", 8), ("size", 0), ("views", 0), ("cameras", "cube"), ("elevation", 91), ("hues", -1)],
)
def test_refuses_an_option_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        ShepardMetzler(**{option: value})


def test_gives_the_genuine_scene_back(genuine: Path) -> None:
    """Its object, fitted: a path of five cubes, that hangs an eighth of a cube too low."""
    (scene,) = map(decode_example, read_records(genuine))
    frames = np.stack([decode_jpeg(jpeg) for jpeg in scene["frames"]]).astype(float)
    cameras = np.array(scene["cameras"], np.float32).reshape(-1, 5)
    cells = np.array([[-0.5, -0.5, -1], [0.5, -0.5, -1], [0.5, 0.5, -1], [0.5, 0.5, 0], [0.5, 0.5, 1]])
    colours = np.array([hsv_to_rgb(hue / 360, 1, 1) for hue in (322.2, 73.4, 280.5, 284.5, 327.8)])
    drawn = render(cubes(CUBE * (cells - [0, 0, 0.133]), colours), cameras, 64)
    ours = np.stack([decode_jpeg(encode_jpeg(frame)) for frame in drawn]).astype(float)
    assert np.sqrt(((ours - frames) ** 2).mean()) < 3.5  # of 255
    wrong = (np.abs(ours - frames).max(axis=1) > 60).mean(axis=(1, 2)) * 64 * 64
    assert wrong.mean() < 6  # pixels of a frame, all on edges
