"""Properties of the renderer, of every registered family of scenes, and of the datasets made of them."""

import json
import runpy
import sys
from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
import pytest
from conftest import pixels

from gqn.camera import look_at, orbit
from gqn.data import generate as generation
from gqn.data.dataset import DatasetError, dataset_info
from gqn.data.generate import generate
from gqn.data.tfrecord import decode_example, encode_jpeg, read_records
from gqn.scenes import FAMILIES
from gqn.scenes.render import BACKGROUND, Lighting, boxes, out_of_shadow, place_boxes, render, trace
from gqn.scenes.shepard_metzler import CUBE, RADIUS, ShepardMetzler, walk

REPOSITORY = Path(__file__).parent.parent
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
FLAT = Lighting(ambient=1, headlight=0, diffuse=0, specular=0)


def random_state(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scenes_of(path: Path) -> list[dict[str, list]]:
    return [decode_example(record) for record in read_records(path)]


def middle(mask: np.ndarray) -> np.ndarray:
    """Column and row of the middle of a mask, in pixels."""
    return np.argwhere(mask).mean(axis=0)[::-1] + 0.5


# The renderer.


def test_a_box_projects_where_the_pinhole_formula_says() -> None:
    random = random_state()
    size, field_of_view = 128, 40.0
    model = boxes([[0.02] * 3])
    for _ in range(20):
        target, place = random.normal(size=(2, 3)) * 0.3
        yaw, pitch = random.uniform(-np.pi, np.pi), random.uniform(-1.4, 1.4)
        forward = np.array([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        position = target - 4 * forward
        hits = trace(model, place_boxes(model, [place]), [[*position, yaw, pitch]], size, field_of_view)
        offset = place - position
        focal = size / 2 / np.tan(np.deg2rad(field_of_view) / 2)
        column = size / 2 + focal * (offset @ right) / (offset @ forward)
        row = size / 2 - focal * (offset @ np.cross(right, forward)) / (offset @ forward)
        assert 0 < column < size
        assert 0 < row < size
        np.testing.assert_allclose(middle(hits.geom[0] == 0), [column, row], atol=0.5)
        assert abs(hits.depth[0][hits.geom[0] == 0].mean() - np.linalg.norm(offset)) < 0.04


def test_right_is_right_and_up_is_up() -> None:
    model = boxes([[0.1] * 3] * 2)
    camera = [[3.0, 0.0, 0.0, np.pi, 0.0]]  # on the x axis, looking back along it: y to the right, z up
    frame = render(model, place_boxes(model, [[0, 0.5, 0], [0, 0, 0.5]]), [RED, BLUE], camera, 64, 45.0, lighting=FLAT)[
        0
    ]
    red, blue = middle(frame[..., 0] == 255), middle(frame[..., 2] == 255)
    assert red[0] > 40
    assert abs(red[1] - 32) < 0.5
    assert blue[1] < 24
    assert abs(blue[0] - 32) < 0.5


def test_shadow_is_darker_and_light_comes_from_its_direction() -> None:
    model = boxes([[1, 1, 0.1], [0.2, 0.2, 0.2]])
    data = place_boxes(model, [[0, 0, -0.1], [0, 0, 1]])
    above, beside, below = [0.0, 0, 0], [0.8, 0, 0], [0, 0, -0.2]
    lit = out_of_shadow(model, data, np.array([above, beside, below]), (0, 0, 1))
    assert lit.tolist() == [False, True, False]
    assert out_of_shadow(model, data, np.array([above]), (1, 0, 1)).all()
    camera = look_at([[3, 0, 1.5]], [0, 0, 0])
    light = Lighting(ambient=0.2, headlight=0, diffuse=0.5, specular=0.1, direction=(0, 0, 3))
    hits = trace(model, data, camera, 64, 45.0)
    slab = hits.geom[hits.seen] == 0
    x, y, z = hits.point[slab].T
    lit = (z > -1e-6) & (np.maximum(abs(x), abs(y)) > 0.2)
    assert (~lit[z > -1e-6]).sum() > 20
    # In shadow or on the side, 0.2 of red; in light, 0.2 + 0.5 of it and 0.1 of white.
    frame = render(model, data, [RED, BLUE], camera, 64, 45.0, lighting=light)
    expected = np.where(lit[:, None], [204, 26, 26], [51, 0, 0])
    np.testing.assert_array_equal(frame[hits.seen][slab], expected)


def test_headlight_goes_with_the_cosine_to_the_camera() -> None:
    model = boxes([[0.1] * 3])
    light = Lighting(ambient=0.2, headlight=0.6, diffuse=0, specular=0, direction=(0, 0, -1))
    for degrees in (0, 30, 60):
        angle = np.deg2rad(degrees)
        camera = look_at([[3 * np.cos(angle), 3 * np.sin(angle), 0]], [0, 0, 0])
        hits = trace(model, place_boxes(model, [[0, 0, 0]]), camera, 64, 45.0)
        frame = render(model, place_boxes(model, [[0, 0, 0]]), [RED], camera, 64, 45.0, lighting=light)
        face = frame[hits.seen][hits.normal[:, 0] > 0.9]
        assert {tuple(colour) for colour in face.tolist()} == {(round(255 * (0.2 + 0.6 * np.cos(angle))), 0, 0)}


def test_background_and_antialiasing() -> None:
    model = boxes([[0.3] * 3])
    data, cameras = place_boxes(model, [[0, 0, 0]]), orbit(3, 20, 3)
    hard, smooth = (
        render(model, data, [RED], cameras, 32, 45.0, lighting=FLAT, background=BLUE, samples=samples)
        for samples in (1, 4)
    )
    assert {tuple(colour) for colour in hard.reshape(-1, 3).tolist()} == {(255, 0, 0), (0, 0, 255)}
    between = (smooth[..., 0] > 0) & (smooth[..., 0] < 255)
    assert between.any()
    assert between.mean() < 0.1
    assert abs(hard[..., 0].mean() - smooth[..., 0].mean()) < 3
    nothing = trace(model, place_boxes(model, [[0, 0, 50]]), cameras, 8, 45.0)
    assert (nothing.geom == BACKGROUND).all()


# Every family.


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str) -> None:
    family = FAMILIES[name]()
    frames, cameras = family.scene(random_state(1))
    assert frames.shape == (family.views, family.size, family.size, 3)
    assert frames.dtype == np.uint8
    assert cameras.shape == (family.views, 5)
    assert cameras.dtype == np.float32
    assert all(frame.std() > 5 for frame in frames)
    again, cameras_again = family.scene(random_state(1))
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(cameras, cameras_again)
    others, other_cameras = family.scene(random_state(2))
    assert (frames != others).any()
    assert (cameras != other_cameras).any()
    assert FAMILIES[name](size=20, views=2).scene(random_state())[0].shape == (2, 20, 20, 3)


# Shepard-Metzler objects.


@pytest.mark.parametrize("parts", [1, 5, 7])
def test_object_is_a_chain_of_cubes_within_reach(parts: int) -> None:
    family, random = ShepardMetzler(parts=parts), random_state()
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
    random = random_state()
    ends = np.array([walk(2, random)[1] for _ in range(600)])
    _, counts = np.unique(ends, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 60


@pytest.mark.parametrize("cameras", ["sphere", "ring"])
def test_cameras_look_at_the_origin_from_the_radius(cameras: str) -> None:
    family = ShepardMetzler(views=400, cameras=cameras, elevation=20.0)
    placed = family.place_cameras(random_state())
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
    family, random = ShepardMetzler(parts=parts), random_state()
    row = np.arange(parts)[:, None] * np.array([CUBE, 0, 0])  # the longest of objects
    cameras = family.place_cameras(random)
    frames = family.frames(row - row.mean(axis=0), np.ones((parts, 3)), cameras)
    seen = frames.max(axis=-1) > 0
    half = family.size // 2
    assert seen[:, half - 1 : half + 1, half - 1 : half + 1].all()
    assert not seen[:, [0, -1]].any()
    assert not seen[:, :, [0, -1]].any()


@pytest.mark.parametrize(
    ("option", "value"), [("parts", 0), ("parts", 8), ("size", 0), ("views", 0), ("cameras", "cube"), ("elevation", 91)]
)
def test_refuses_an_option_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        ShepardMetzler(**{option: value})


def test_gives_the_genuine_scene_back(genuine: Path) -> None:
    """Its object, fitted: a path of five cubes, that hangs an eighth of a cube too low."""
    (scene,) = scenes_of(genuine)
    frames = np.stack([pixels(jpeg) for jpeg in scene["frames"]]).astype(float)
    cameras = np.array(scene["cameras"], np.float32).reshape(-1, 5)
    cells = np.array([[-0.5, -0.5, -1], [0.5, -0.5, -1], [0.5, 0.5, -1], [0.5, 0.5, 0], [0.5, 0.5, 1]])
    colours = np.array([hsv_to_rgb(hue / 360, 1, 1) for hue in (322.2, 73.4, 280.5, 284.5, 327.8)])
    drawn = ShepardMetzler().frames(CUBE * (cells - [0, 0, 0.133]), colours, cameras)
    ours = np.stack([pixels(encode_jpeg(frame)) for frame in drawn]).astype(float)
    assert np.sqrt(((ours - frames) ** 2).mean()) < 3.5  # of 255
    wrong = (np.abs(ours - frames).max(axis=1) > 60).mean(axis=(1, 2)) * 64 * 64
    assert wrong.mean() < 6  # pixels of a frame, all on edges


# Datasets.


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def small(directory: Path, **arguments: object) -> Path:
    """A dataset of 5 + 2 scenes of three 16-pixel views, in files of two scenes."""
    chosen = {"scenes": 5, "seed": 3, "test_scenes": 2, "size": 16, "views": 3, "workers": 1, "progress": False}
    return generate("shepard_metzler_5_parts", directory, **{**chosen, **arguments})


@pytest.fixture
def _two_scenes_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "SCENES_PER_FILE", 2)


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    alone, together = (files_of(small(tmp_path / str(workers), workers=workers)) for workers in (1, 2))
    assert alone == together
    records = {f"train/{number}-of-3.tfrecord" for number in (1, 2, 3)} | {"test/1-of-1.tfrecord"}
    assert alone.keys() == records | {"dataset.json"}
    assert len(set(alone.values())) == 5
    other = files_of(small(tmp_path / "seed", seed=4))
    assert all(other[file] != alone[file] for file in alone)


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_records_hold_the_scenes(tmp_path: Path) -> None:
    folder = small(tmp_path, cameras="ring")
    info = dataset_info(folder)
    assert (info.name, info.pixels, info.views) == ("shepard_metzler_5_parts", 16, 3)
    description = json.loads((folder / "dataset.json").read_text())
    assert description["options"] == {"parts": 5, "size": 16, "views": 3, "cameras": "ring", "elevation": 30.0}
    scenes = [scene for file in sorted((folder / "train").iterdir()) for scene in scenes_of(file)]
    assert [len(scene["frames"]) for scene in scenes] == [3] * 5
    family = ShepardMetzler(size=16, views=3, cameras="ring")
    frames, cameras = family.scene(np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0, 4))))
    np.testing.assert_array_equal(np.array(scenes[4]["cameras"], np.float32).reshape(-1, 5), cameras)
    read = np.stack([pixels(jpeg) for jpeg in scenes[4]["frames"]]).transpose(0, 2, 3, 1).astype(float)
    assert np.abs(read.mean(axis=(1, 2)) - frames.mean(axis=(1, 2))).max() < 3


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_rerun_writes_only_what_is_missing(tmp_path: Path) -> None:
    folder = small(tmp_path)
    before = files_of(folder)
    kept = [file for file in folder.rglob("*.tfrecord") if file.name != "2-of-3.tfrecord"]
    for file in kept:
        file.write_bytes(b"not touched")
    (folder / "train/2-of-3.tfrecord").unlink()
    small(tmp_path, workers=2)
    assert (folder / "train/2-of-3.tfrecord").read_bytes() == before["train/2-of-3.tfrecord"]
    assert {file.read_bytes() for file in kept} == {b"not touched"}


def test_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    folder = small(tmp_path, scenes=1)
    before = files_of(folder)
    for option, value in {"seed": 4, "size": 8, "cameras": "ring", "scenes": 2, "test_scenes": 1}.items():
        with pytest.raises(DatasetError, match=rf"{folder}.*: {option} is .* there and {value!r} here"):
            small(tmp_path, **{"scenes": 1, option: value})
    assert files_of(folder) == before
    small(tmp_path, scenes=1, seed=4, name="other")
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="description"):
        small(tmp_path, scenes=1)
    (folder / "dataset.json").unlink()
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        small(tmp_path, scenes=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scenes": 0},
        {"seed": -1},
        {"test_scenes": -1},
        {"workers": 0},
        {"size": 0},
        {"cameras": "cube"},
        {"colour": "red"},
    ],
)
def test_refuses_arguments_in_one_line(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(DatasetError) as raised:
        small(tmp_path / "never", **arguments)
    assert "\n" not in str(raised.value)
    assert next(iter(arguments)) in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../outside", "a/b"])
def test_refuses_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="no name of a folder"):
        small(tmp_path / "never", name=name)
    assert list(tmp_path.iterdir()) == []


def test_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(family: str, *arguments: str) -> None:
        script = REPOSITORY / "scripts/generate-scenes.py"
        monkeypatch.setattr(sys, "argv", [str(script), family, str(tmp_path), "--scenes=1", "--seed=0", *arguments])
        runpy.run_path(str(script), run_name="__main__")

    run("shepard_metzler_7_parts", "--size=16", "--cameras=ring", "--name=seven", "--workers=1")
    assert capsys.readouterr().out == f"{tmp_path / 'seven'}\n"
    assert set(files_of(tmp_path)) == {
        f"seven/{name}" for name in ("dataset.json", "train/1-of-1.tfrecord", "test/1-of-1.tfrecord")
    }
    with pytest.raises(SystemExit) as stopped:
        run("teapots")
    line = str(stopped.value.code)  # a text makes Python print it and exit with 1
    assert line.startswith("generate-scenes: no family of scenes 'teapots'")
    assert "\n" not in line
