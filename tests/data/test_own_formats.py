"""Scenes in other programs' formats come back; what is not converted exactly is refused in one line, as a page says."""

import ast
import inspect
import json
import re
import runpy
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import posed_scenes as posed
import pytest
from conftest import REPOSITORY
from PIL import Image
from posed_scenes import FIELD_OF_VIEW, FOCAL, SIZE, VIEWS, drawn, matrices, moved
from test_fuzz import WRONG
from test_own_scenes import ROTATION, UNIT, as_written, come_back, told

import gqn
from gqn.core.errors import Error
from gqn.data import own_formats, own_pictures, own_scenes
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.foreign import recorded_of
from gqn.data.own_formats import MODELS, import_scenes
from gqn.data.own_pictures import Lens
from gqn.data.own_scenes import write_scenes

PAGE = REPOSITORY / "docs/own-images.md"
PINHOLE = [FOCAL, FOCAL, SIZE / 2, SIZE / 2]
CUBE: dict[str, Any] = {"centre": (0.0, 0.0, 0.0), "radius": 1.0, "progress": False}
FORMATS: dict[str, Callable[[Path, np.ndarray, np.ndarray], Path]] = {
    "nerfstudio": lambda folder, frames, cameras: posed.nerfstudio(folder, frames, matrices(cameras)),
    "Blender": lambda folder, frames, cameras: posed.blender(folder, frames, matrices(cameras)),
    "COLMAP text": lambda folder, frames, cameras: posed.colmap(folder, frames, matrices(cameras), binary=False),
    "COLMAP binary": lambda folder, frames, cameras: posed.colmap(folder, frames, matrices(cameras), binary=True),
    "CSV": lambda folder, frames, cameras: posed.table(folder, frames, cameras, fl_x=FOCAL),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("layout", ["alone", "many", "train and test"])
def test_a_drawn_scene_comes_back(tmp_path: Path, form: str, layout: str) -> None:
    source = tmp_path / "theirs"
    places = {"alone": ["."], "many": ["a", "b", "c"], "train and test": ["train/a", "train/b", "test/c"]}[layout]
    scenes = [drawn(number) for number in range(len(places))]
    for place, (frames, cameras) in zip(places, scenes, strict=True):
        FORMATS[form](source / place, frames, cameras)
    folder = import_scenes(source, tmp_path / "mine", up=(0.0, 0.0, 1.0), **CUBE)
    splits = ["test" if place.startswith("test") else "train" for place in places]
    for number, (split, (frames, cameras)) in enumerate(zip(splits, scenes, strict=True)):
        index = number - (splits.index("test") if split == "test" else 0)
        read, recorded = SceneDataset(folder, split).scene(index)
        np.testing.assert_array_equal(read.numpy(), as_written(frames))
        np.testing.assert_allclose(gqn.camera_vector(recorded), gqn.camera_vector(cameras), atol=1e-5)
    assert told(folder)["geometry"]["field_of_view"] == pytest.approx(FIELD_OF_VIEW)
    assert told(folder)["pictures"] == {}
    assert [s["name"] for s in told(folder)["scenes"]] == [Path(p).name or "theirs" for p in places]


@pytest.mark.parametrize("binary", [True, False])
def test_a_model_of_colmaps_in_any_world_comes_back_by_what_is_told(tmp_path: Path, binary: bool) -> None:
    """COLMAP's worlds lie anyhow: up is fitted to the cameras, the cube to what they look at."""
    frames, cameras = drawn()
    theirs = moved(matrices(cameras), ROTATION, 3.0, (4.0, -2.0, 1.0))
    source = posed.colmap(tmp_path / "theirs", frames, theirs, binary=binary)
    ours = come_back(import_scenes(source, tmp_path / "mine", progress=False))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_a_model_that_colmaps_library_wrote_comes_back(tmp_path: Path, binary: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    frames, cameras = drawn()
    theirs = moved(matrices(cameras), ROTATION, 3.0, (4.0, -2.0, 1.0))
    names = posed.pictures(tmp_path / "theirs/images", frames)
    model = pycolmap.Reconstruction()
    lens = {"model": "PINHOLE", "width": SIZE, "height": SIZE, "params": PINHOLE}
    model.add_camera_with_trivial_rig(pycolmap.Camera(camera_id=1, **lens))
    for number, (name, camera) in enumerate(zip(names, theirs, strict=True), 1):
        to_camera = pycolmap.Rigid3d(np.linalg.inv(camera @ posed.FLIPPED)[:3])
        model.add_image_with_trivial_frame(pycolmap.Image(image_id=number, camera_id=1, name=name), to_camera)
    place = tmp_path / "theirs/sparse/0"
    place.mkdir(parents=True)
    (model.write_binary if binary else model.write_text)(str(place))
    folder = import_scenes(tmp_path / "theirs", tmp_path / "mine", progress=False)
    np.testing.assert_allclose(come_back(folder), theirs, atol=1e-5)
    np.testing.assert_array_equal(SceneDataset(folder, "train").scene(0)[0].numpy(), as_written(frames))


def test_all_of_colmaps_lenses_are_known() -> None:
    """By their numbers and with as many parameters, of which those of a focal length and a centre are called so."""
    pycolmap = pytest.importorskip("pycolmap")
    theirs = {int(kind): name for name, kind in pycolmap.CameraModelId.__members__.items() if int(kind) >= 0}
    assert [theirs[number] for number in range(len(theirs))] == list(MODELS)
    pinholes = ("f", "fl_x", "fl_y", "cx", "cy")
    for name, parameters in MODELS.items():
        lens = pycolmap.Camera.create_from_model_name(1, name, 8.0, 10, 10)
        said = lens.params_info.replace("fx", "fl_x").replace("fy", "fl_y").replace(" ", "").split(",")
        assert len(said) == len(parameters)
        assert [one for one in said if one in pinholes] == [one for one in parameters if one in pinholes]


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_set_aside_of_a_scene_lies_in_the_same_world(tmp_path: Path, split: str) -> None:
    """Up and cube are fitted to all of its cameras: with those of a part alone it would lie elsewhere."""
    frames, cameras = drawn(views=12)
    theirs = moved(matrices(cameras, roll=0.05), ROTATION, 3.0, (4.0, -2.0, 1.0))
    source = posed.nerfstudio(tmp_path / "theirs", frames, theirs)
    folder = import_scenes(source, tmp_path / "mine", test_every=2, up="fit", level=True, progress=False)
    ours, expected = come_back(folder, split), theirs[split == "train" :: 2]
    np.testing.assert_allclose(ours[:, :3, 2:], expected[:, :3, 2:], atol=1e-5)  # all but the roll


def test_blenders_test_pictures_are_for_testing(tmp_path: Path) -> None:
    frames, cameras = drawn(views=10)
    posed.blender(tmp_path / "lego", frames[:6], matrices(cameras[:6]))
    source = posed.blender(tmp_path / "lego", frames[6:], matrices(cameras[6:]), split="test")
    folder = import_scenes(source, tmp_path / "mine", **CUBE)
    (said,) = told(folder)["scenes"]
    assert (said["records"], said["views_left_out"]) == ({"train": 1, "test": 1}, 2)
    np.testing.assert_array_equal(SceneDataset(folder, "test").scene(0)[0].numpy(), as_written(frames[6:]))
    with pytest.raises(DatasetError, match="says itself what is for testing"):
        import_scenes(source, tmp_path / "other", test_every=2, **CUBE)


def test_nerfstudios_test_pictures_are_for_testing(tmp_path: Path) -> None:
    frames, cameras = drawn()
    held = ["images/001.png", "images/004.png"]
    source = posed.nerfstudio(tmp_path / "desk", frames, matrices(cameras), test_filenames=held)
    folder = import_scenes(source, tmp_path / "mine", **CUBE)
    np.testing.assert_array_equal(SceneDataset(folder, "test").scene(0)[0].numpy(), as_written(frames[[1, 4]]))
    assert len(SceneDataset(folder, "train")) == 2


@pytest.mark.parametrize(("scenes", "train", "test"), [(1, [[1, 2], [4, 5]], [[0, 3]]), (4, [1, 2], [0, 3])])
def test_every_nth_is_set_aside(tmp_path: Path, scenes: int, train: list[Any], test: list[Any]) -> None:
    """Of one scene pictures, of several whole scenes."""
    made = [drawn(number) for number in range(scenes)]
    for number, (frames, cameras) in enumerate(made):
        posed.table(tmp_path / "theirs" / str(number), frames, cameras)
    source = tmp_path / "theirs" if scenes > 1 else tmp_path / "theirs/0"
    folder = import_scenes(source, tmp_path / "mine", test_every=3, **UNIT)
    for split, wanted in (("train", train), ("test", test)):
        read = SceneDataset(folder, split)
        assert len(read) == len(wanted)
        for index, which in enumerate(wanted):
            if scenes > 1:
                frames = made[which][0]
            else:
                order = [1, 4, 2, 5] if split == "train" else [0, 3]  # each record from all over the scene
                frames = made[0][0][order[2 * index : 2 * index + 2]]
            np.testing.assert_array_equal(read.scene(index)[0].numpy(), as_written(frames))


def test_a_run_trains_on_it(tmp_path: Path) -> None:
    for number in range(3):
        frames, cameras = drawn(number)
        theirs = moved(matrices(cameras), ROTATION, 3.0, (4.0, -2.0, 1.0))
        posed.colmap(tmp_path / "theirs" / str(number), frames, theirs, binary=True)
    folder = import_scenes(tmp_path / "theirs", tmp_path / "mine", test_every=3, progress=False)
    base = gqn.PRESETS["quick"]
    config = replace(
        base,
        data=str(folder),
        precision="float32",
        device="cpu",
        runs=str(tmp_path / "runs"),
        model=replace(base.model, hidden=8, canvas=8, generation_steps=2, representation_channels=8, side=8),
        training=replace(base.training, steps=3, batch=2, queries=1),
        evaluation=replace(base.evaluation, eval_scenes=1, samples=1),
    )
    run = gqn.train(config)
    network = gqn.load(run)
    (volume,) = [node for node in network.spec.values() if node.kind == "sense"]
    assert volume.options["radius"] == 1.0
    assert volume.options["field_of_view"] == pytest.approx(FIELD_OF_VIEW)


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    script = REPOSITORY / "scripts/import-scenes.py"
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")


def test_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    frames, cameras = drawn()
    source = posed.nerfstudio(tmp_path / "desk", frames, matrices(cameras, roll=0.01))
    run_script(monkeypatch, str(source), str(tmp_path / "mine"), "--size=16", "--level", "--test-every=3")
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [
        "desk: records of 2 views, 2 to train and 1 to test",
        "6 pictures: cropped to a square about the optical centre",
    ]
    assert out[-1] == str(tmp_path / "mine")
    assert "6 pictures: turned upright about the optical centre" in out
    (said,) = told(tmp_path / "mine")["scenes"]
    assert [float(number.strip(",")) for number in out[-3].split() if number[-1] in "0123456789,"] == pytest.approx(
        [*said["centre"], said["radius"]], rel=1e-3, abs=1e-3
    )
    with pytest.raises(SystemExit) as stopped:
        run_script(monkeypatch, str(source), str(tmp_path / "other"), "--size=16")
    assert str(stopped.value).startswith(f"import-scenes: {source}/images/000.png: its camera rolls by 0.57 degrees")
    assert "\n" not in str(stopped.value)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def image(folder: Path) -> Path:
    return folder / "images/003.png"


def nerfstudio(folder: Path, roll: float = 0.0, **changes: Any) -> Path:
    frames, cameras = drawn()
    return posed.nerfstudio(folder, frames, matrices(cameras, roll), **changes)


def pictured(folder: Path, save: Callable[[Path], object]) -> Path:
    nerfstudio(folder)
    save(image(folder))
    return folder


def rotated_by_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, format="JPEG", exif=exif)


def scaled(folder: Path) -> Path:
    frames, cameras = drawn()
    theirs = matrices(cameras)
    theirs[3, :3, :3] *= 2
    return posed.nerfstudio(folder, frames, theirs)


def apart(folder: Path) -> Path:
    """Cameras that look away from each other."""
    frames, cameras = drawn()
    cameras[:, :3] *= -1
    return posed.nerfstudio(folder, frames, matrices(cameras))


def colmap(folder: Path, model: tuple[int, str, list[float]] | None = None, binary: bool = True) -> Path:
    frames, cameras = drawn()
    chosen = {} if model is None else {"model": model}
    return posed.colmap(folder, frames, matrices(cameras), binary=binary, **chosen)


def textual(folder: Path) -> Path:
    """Return the folder of a model of COLMAP's in text."""
    return colmap(folder, binary=False) / "sparse/0"


def cut_short(folder: Path) -> Path:
    path = colmap(folder) / "sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[:200])
    return folder


def without_points(folder: Path) -> Path:
    path = colmap(folder, binary=False) / "sparse/0/images.txt"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if "png" in line))
    return folder


def two_models(folder: Path) -> Path:
    shutil.copytree(colmap(folder) / "sparse/0", folder / "sparse/1")
    return folder


def table(folder: Path, old: str = "", new: str = "") -> Path:
    frames, cameras = drawn()
    posed.table(folder, frames, cameras)
    if old:
        changed(folder / "poses.csv", old, new)
    return folder


def without(folder: Path, key: str) -> Path:
    changed(nerfstudio(folder) / "transforms.json", f'"{key}"', '"else"')
    return folder


def without_pitch(folder: Path) -> Path:
    path = table(folder) / "poses.csv"
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in path.read_text().splitlines()))
    return folder


def far(folder: Path) -> Path:
    path = table(folder) / "poses.csv"
    path.write_text(re.sub(r"000.png,[^,]+", "000.png,far", path.read_text()))
    return folder


def degrees(folder: Path) -> Path:
    frames, cameras = drawn()
    return posed.table(folder, frames, cameras * np.array([1, 1, 1, 57.3, 57.3]))


def two_formats(folder: Path) -> Path:
    nerfstudio(folder)
    return table(folder)


def for_some(folder: Path) -> Path:
    """Focal lengths of all frames but the last."""
    frames, cameras = drawn()
    poses = [{"fl_x": FOCAL}] * (VIEWS - 1) + [{}]
    path = posed.nerfstudio(folder, frames, matrices(cameras)) / "transforms.json"
    fields = json.loads(path.read_text())
    said = [{**frame, **lens} for frame, lens in zip(fields["frames"], poses, strict=True)]
    path.write_text(json.dumps({"frames": said}))
    return folder


def written(path: Path, text: bytes, folder: Path) -> Path:
    """Write other bytes to a file of a scene, and return the scene's folder."""
    path.write_bytes(text)
    return folder


def of_model(folder: Path, number: int) -> Path:
    """COLMAP's camera by a number of a model."""
    path = colmap(folder) / "sparse/0/cameras.bin"
    whole = path.read_bytes()
    return written(path, whole[:12] + number.to_bytes(4, "little") + whole[16:], folder)


def emptied(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def only_tests(folder: Path) -> Path:
    nerfstudio(folder / "test/a")
    return folder


def mixed(folder: Path) -> Path:
    nerfstudio(folder / "a")
    table(folder / "b")
    return folder


def stray(folder: Path) -> Path:
    nerfstudio(folder / "a")
    (folder / "b").mkdir()
    return folder


def in_line(folder: Path) -> Path:
    """Cameras whose pictures' rows are all parallel."""
    frames, cameras = drawn()
    cameras[:, 3] = 0.4
    return colmap_of(folder, frames, cameras)


def colmap_of(folder: Path, frames: np.ndarray, cameras: np.ndarray) -> Path:
    return posed.colmap(folder, frames, matrices(cameras), binary=True)


# What is refused by the line that is said of it: how it is made, and with which options it is imported.
REFUSED: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "its camera rolls by 5.73 degrees, which a network's cannot": (lambda f: nerfstudio(f, roll=0.1), {}),
    "its lens distorts (k1 is 0.01)": (lambda f: nerfstudio(f, k1=0.01), {}),
    "its lens is OPENCV_FISHEYE, no pinhole": (lambda f: colmap(f, (5, "OPENCV_FISHEYE", [*PINHOLE, 0, 0, 0, 0])), {}),
    "has 32 x 32 pixels, its lens 64 x 32": (lambda f: nerfstudio(f, w=64), {}),
    "an optical centre of 40, 16: outside the picture": (lambda f: nerfstudio(f, cx=40.0), {}),
    "nothing says its lens": (table, {}),
    "says its lenses itself": (nerfstudio, {"field_of_view": 20.0}),
    "is no turn with a shift": (scaled, {}),
    "not 64: ask for a smaller size": (nerfstudio, {"size": 64}),
    "its cameras look at no common place": (apart, {"centre": None, "radius": None}),
    "the rows of all its pictures are parallel": (in_line, {}),
    "6 views to train, not 7: ask for fewer": (nerfstudio, {"views": 7}),
    "its Exif says that it is shown turned": (lambda f: pictured(f, rotated_by_exif), {}),
    "a picture of mode CMYK": (
        lambda f: pictured(f, lambda p: Image.new("CMYK", (SIZE, SIZE)).save(p, format="JPEG")),
        {},
    ),
    "no whole PNG or JPEG": (lambda f: pictured(f, lambda p: p.write_bytes(p.read_bytes()[:200])), {}),
    "not there": (lambda f: pictured(f, Path.unlink), {}),
    "damaged: frames with file_path and transform_matrix expected": (
        lambda f: without(f, "transform_matrix"),
        {},
    ),
    "test_filenames are not all among its frames": (lambda f: nerfstudio(f, test_filenames=["images/9.png"]), {}),
    "says no lens for it, but for others": (for_some, {}),
    "width, height, focal lengths and centre must be more than 0": (lambda f: nerfstudio(f, fl_x=-1.0), {}),
    "fl_x is 'wide': a number is wanted": (lambda f: nerfstudio(f, fl_x="wide"), {}),
    "ends in the middle": (cut_short, {}),
    "is of a model 99, which COLMAP 4 does not have": (lambda f: of_model(f, 99), {}),
    "no camera of COLMAP's": (lambda f: written(textual(f) / "cameras.txt", b"1 PINHOLE 32 32\n", f), {}),
    "no picture of COLMAP's": (lambda f: written(textual(f) / "images.txt", b"1 0.5 0.5\n", f), {}),
    "no text (invalid start byte)": (lambda f: written(textual(f) / "cameras.txt", b"\xff", f), {}),
    "is of a camera that cameras.txt does not have": (lambda f: written(textual(f) / "cameras.txt", b"", f), {}),
    "no pictures": (lambda f: written(textual(f) / "images.txt", b"# none\n", f), {}),
    "no points of a picture": (without_points, {}),
    "several models, 0 and 1": (two_models, {}),
    "radians, within a turn; degrees?": (degrees, {}),
    "no table (": (lambda f: written(table(f) / "poses.csv", b"\xff", f), {}),
    "line 2 has not 6 columns": (lambda f: written(table(f) / "poses.csv", b"file,x,y,z,yaw,pitch\n000.png\n", f), {}),
    "no column 'roll'": (lambda f: table(f, "yaw", "roll"), {}),
    "no column pitch: wanted file": (without_pitch, {}),
    "x is 'far': a number is wanted": (far, {}),
    "poses of nerfstudio and of CSV": (two_formats, {}),
    "scenes of several formats": (mixed, {}),
    "no such folder": (lambda f: nerfstudio(f) / "photos", {}),
    "no scene in it": (stray, {}),
    "no scene in it or in its folders": (emptied, {}),
    "only scenes to test on": (only_tests, {}),
    "test_every is 7, must be from 2 to the 6 pictures": (nerfstudio, {"test_every": 7}),
    "says itself what is for testing": (lambda f: nerfstudio(f, test_filenames=["images/001.png"]), {"test_every": 2}),
}


def imported(folder: Path, said: str) -> DatasetError:
    """Return the refusal of REFUSED that is said so."""
    make, options = REFUSED[said]
    source = make(folder / "theirs")
    with pytest.raises(DatasetError, match=re.escape(said)) as error:
        import_scenes(source, folder / "mine", **{**CUBE, **options})
    assert re.match(rf"{source}|theirs", str(error.value))
    return error.value


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_not_exact_is_refused_in_one_line(tmp_path: Path, said: str) -> None:
    assert "\n" not in str(imported(tmp_path, said))
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


FRAMES, CAMERAS = drawn()
REFUSED_ARRAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a pair of frames and cameras is wanted": (7, {}),
    "a sequence of pictures is wanted": (("frames", CAMERAS), {}),
    "6 frames and 5 cameras": ((FRAMES, CAMERAS[:5]), {}),
    "wanted (h, w), (h, w, c) or (c, h, w), c from 1 to 4": ((FRAMES[..., None], CAMERAS), {}),
    "wanted uint8, uint16, or floats of 0 to 1": ((FRAMES.astype(int), CAMERAS), {}),
    "wanted floats of 0 to 1": ((FRAMES.astype(float), CAMERAS), {}),
    "a frame of type list: pixels or a path are wanted": (([[[0, 0], [0]]] * 6, CAMERAS), {}),
    "cameras of type list: numbers are wanted": ((FRAMES, [[0.0] * 5] * 5 + [[0.0] * 4]), {}),
    "no place with sine and cosine of yaw and of pitch: a quaternion?": ((FRAMES, np.full((6, 7), 0.5)), {}),
    "cameras of shape (6, 4)": ((FRAMES, CAMERAS[:, :4]), {}),
    "cameras of shape (6, 2, 4)": ((FRAMES, matrices(CAMERAS)[:, :2]), {}),
    "a camera that is not finite": ((FRAMES, CAMERAS * np.nan), {}),
    "a field of view of 180 degrees": ((FRAMES, CAMERAS), {"field_of_view": 180.0}),
    "a cube needs both centre and radius": ((FRAMES, CAMERAS), {"centre": None}),
    "centre is (0, 0), must be three numbers": ((FRAMES, CAMERAS), {"centre": (0, 0)}),
    "radius is 0, must be more than 0": ((FRAMES, CAMERAS), {"radius": 0}),
    "up is 0, 0, 0: must be a direction": ((FRAMES, CAMERAS), {"up": (0, 0, 0)}),
    "background is (0, 0, 300)": ((FRAMES, CAMERAS), {"background": (0, 0, 300)}),
    "size is 0, must be 1 or more": ((FRAMES, CAMERAS), {"size": 0}),
    "lenses are wanted as a Lens for each frame": ((FRAMES, CAMERAS, [Lens(SIZE, SIZE, FOCAL, FOCAL, 16, 16)] * 5), {}),
    "test is wanted as True or False for each frame": ((FRAMES, CAMERAS, None, "", [True]), {}),
    "in a cube of radius 1e-300 a camera is too far away for a number": ((FRAMES, CAMERAS), {"radius": 1e-300}),
}


# What is refused of a folder that holds a file.
REFUSED_FOLDERS: dict[str, list[Any]] = {
    "no scenes to train on": [],
    "holds another dataset or other files": [(FRAMES, CAMERAS)],
}


def written_to(folder: Path, said: str) -> DatasetError:
    """Return the refusal of REFUSED_ARRAYS or of REFUSED_FOLDERS that is said so."""
    scene, options = REFUSED_ARRAYS.get(said, (None, {}))
    scenes = REFUSED_FOLDERS.get(said, [(FRAMES, CAMERAS), scene])
    with pytest.raises(DatasetError, match=re.escape(said)) as error:
        write_scenes(folder / "mine", scenes, **{**UNIT, **options})
    if scene is not None and not options:
        assert str(error.value).startswith("train scene 1 (from 0): ")
    return error.value


@pytest.mark.parametrize("said", REFUSED_ARRAYS)
def test_arrays_of_another_kind_are_refused_in_one_line(tmp_path: Path, said: str) -> None:
    assert "\n" not in str(written_to(tmp_path, said))
    assert not list(tmp_path.iterdir())


def taken(folder: Path) -> Path:
    """Return a folder in which the dataset's own name is taken by other files."""
    posed.pictures(folder / "mine", FRAMES[:1])
    return folder


@pytest.mark.parametrize("said", REFUSED_FOLDERS)
def test_other_files_are_left_alone(tmp_path: Path, said: str) -> None:
    assert "\n" not in str(written_to(taken(tmp_path), said))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["mine", "mine/000.png"]


def test_the_page_has_every_refusal() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", PAGE.read_text().partition("## What is refused")[2], re.MULTILINE)
    assert sorted(rows) == sorted([*REFUSED, *REFUSED_ARRAYS, *REFUSED_FOLDERS])


def raised(error: BaseException | None) -> Iterator[tuple[str, int]]:
    """Yield the file and the line where an error, and each that it came from, was raised."""
    while error is not None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert last.lineno is not None
        yield last.filename, last.lineno
        error = error.__cause__


def test_no_other_refusal_is_in_the_code(tmp_path: Path) -> None:
    """Every line that raises one is reached by one of the page's."""
    errors = [imported(tmp_path / str(number), said) for number, said in enumerate(REFUSED)]
    errors += [written_to(tmp_path / "arrays", said) for said in REFUSED_ARRAYS]
    errors += [written_to(taken(tmp_path / said), said) for said in REFUSED_FOLDERS]
    reached = {place for error in errors for place in raised(error)}
    missed = []
    for part in (own_formats, own_pictures, own_scenes, recorded_of):
        file = inspect.getsourcefile(part)
        lines, first = inspect.getsourcelines(part)
        for node in ast.walk(ast.parse("".join(lines))):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and ast.unparse(node.exc.func) != "ValueError"
            ):
                places = {(file, max(first - 1, 0) + line) for line in range(node.lineno, (node.end_lineno or 0) + 1)}
                if not places & reached:
                    missed.append(ast.unparse(node))
    assert not missed


def test_a_model_cut_anywhere_is_refused(tmp_path: Path) -> None:
    colmap(tmp_path / "theirs")
    for name in ("cameras.bin", "images.bin"):
        path = tmp_path / "theirs/sparse/0" / name
        whole = path.read_bytes()
        for length in [*range(0, len(whole), 23), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(DatasetError, match=str(path)):
                import_scenes(tmp_path / "theirs", tmp_path / "mine", **CUBE)
        path.write_bytes(whole)
    assert len(list((tmp_path / "theirs/images").iterdir())) == VIEWS


def test_nothing_of_transforms_crashes(tmp_path: Path) -> None:
    """Whatever stands in the place of a field, it is refused or read."""
    source = nerfstudio(tmp_path / "theirs")
    path = source / "transforms.json"
    whole = json.loads(path.read_text())
    for value in (None, [], {}, "x", -1, 0, 1e300, True, [[1]], {"a": 1}):
        for key in (*whole, "camera_model", "camera_angle_x", "test_filenames"):
            check_text(source, json.dumps({**whole, key: value}), tmp_path / "mine")
        for key in whole["frames"][0]:
            frames = [{**whole["frames"][0], key: value}, *whole["frames"][1:]]
            check_text(source, json.dumps({**whole, "frames": frames}), tmp_path / "mine")
        check_text(source, json.dumps({**whole, "frames": [value]}), tmp_path / "mine")
        check_text(source, json.dumps(value), tmp_path / "mine")


def check_text(source: Path, text: str, folder: Path) -> None:
    (source / "transforms.json").write_text(text)
    with suppress(DatasetError):
        import_scenes(source, folder, **CUBE)
    shutil.rmtree(folder, ignore_errors=True)


def test_arguments_of_any_kind_are_taken_or_refused(tmp_path: Path) -> None:
    good: dict[str, Any] = {
        "scenes": [(np.zeros((2, 8, 8, 3), np.uint8), gqn.orbit(3, 30, 2))],
        "test_scenes": [],
        "size": 8,
        "views": 2,
        "field_of_view": 30.0,
        "centre": (0.0, 0.0, 0.0),
        "radius": 1.0,
        "up": (0.0, 0.0, 1.0),
        "convention": "opengl",
        "level": False,
        "background": (0, 0, 0),
    }
    wrong = [{name: value} for name in good for value in WRONG]
    frames, cameras = good["scenes"][0]
    for value in WRONG:
        scenes = [(value, cameras), (frames, value), (frames, cameras, value), ([value, value], cameras), value]
        wrong += [{"scenes": [scene]} for scene in scenes]
    for changes in wrong:
        with suppress(Error):
            write_scenes(tmp_path / "mine", **{**good, **changes}, progress=False)
            shutil.rmtree(tmp_path / "mine")
