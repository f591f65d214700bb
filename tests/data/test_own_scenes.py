"""Scenes of a user's own: frames and cameras come back, and what was done to them is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from posed_scenes import FIELD_OF_VIEW, FOCAL, SIZE, VIEWS, drawn, matrices, moved, pictures

import gqn
from gqn.core.camera import axes, levelled
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.own_pictures import Lens
from gqn.data.own_scenes import PosedScene, write_scenes
from gqn.data.tfrecord import decode_jpeg, encode_jpeg

ROTATION = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
ROTATION *= np.sign(np.linalg.det(ROTATION))
UNIT: dict[str, Any] = {"centre": (0.0, 0.0, 0.0), "radius": 1.0, "field_of_view": FIELD_OF_VIEW, "progress": False}


def as_written(frames: np.ndarray) -> np.ndarray:
    """Return frames (views, 3, h, w) after the one JPEG that the import makes of each."""
    return np.stack([decode_jpeg(encode_jpeg(frame, quality=100, subsampling="444")) for frame in frames])


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "dataset.json").read_text())


def come_back(folder: Path, split: str = "train") -> np.ndarray:
    """Return camera-to-world matrices of a dataset's first record in its scene's own world, by what is told of it."""
    said = told(folder)["scenes"][0]
    rotation = np.array(said["rotation"]).T
    cameras = SceneDataset(folder, split).scene(0)[1].numpy().astype(np.float64)
    return moved(matrices(cameras), rotation, said["radius"], said["centre"])


@pytest.mark.parametrize("form", ["recorded", "seven", "matrices", "3 x 4", "opencv", "torch"])
def test_arrays_come_back(tmp_path: Path, form: str) -> None:
    scenes = [drawn(number) for number in range(3)]
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    forms: dict[str, Any] = {
        "recorded": lambda cameras: cameras,
        "seven": lambda cameras: gqn.camera_vector(cameras),
        "matrices": matrices,
        "3 x 4": lambda cameras: matrices(cameras)[:, :3],
        "opencv": lambda cameras: matrices(cameras) @ flip,
        "torch": lambda cameras: torch.from_numpy(matrices(cameras)),
    }
    given = [(frames, forms[form](cameras)) for frames, cameras in scenes]
    if form == "torch":
        given = [(torch.from_numpy(frames).permute(0, 3, 1, 2), cameras) for frames, cameras in given]
    convention = "opencv" if form == "opencv" else "opengl"
    folder = write_scenes(tmp_path / "mine", given[:2], given[2:], convention=convention, **UNIT)
    for split, numbers in (("train", (0, 1)), ("test", (2,))):
        read = SceneDataset(folder, split)
        assert len(read) == len(numbers)
        for index, number in enumerate(numbers):
            frames, cameras = read.scene(index)
            np.testing.assert_array_equal(frames.numpy(), as_written(scenes[number][0]))
            expected = gqn.camera_vector(scenes[number][1])
            torch.testing.assert_close(gqn.camera_vector(cameras), expected, atol=1e-5, rtol=0)
    assert read.geometry is not None
    assert read.geometry.field_of_view == pytest.approx(FIELD_OF_VIEW)
    assert (told(folder)["pixels"], told(folder)["views"], told(folder)["pictures"]) == (SIZE, VIEWS, {})


@pytest.mark.parametrize("up", ["given", "fit"])
@pytest.mark.parametrize("cube", [{"centre": (1.0, 2.0, 3.0), "radius": 7.0}, {}])
def test_another_world_comes_back_by_what_is_told(tmp_path: Path, up: str, cube: dict[str, Any]) -> None:
    frames, cameras = drawn()
    theirs = moved(matrices(cameras), ROTATION, 40.0, (300.0, -20.0, 5.0))
    direction: Any = ROTATION[:, 2] if up == "given" else "fit"
    scene = (frames, theirs)
    folder = write_scenes(tmp_path / "mine", [scene], up=direction, field_of_view=FIELD_OF_VIEW, progress=False, **cube)
    ours = come_back(folder)
    np.testing.assert_allclose(ours[:, :3, :3], theirs[:, :3, :3], atol=1e-5)
    np.testing.assert_allclose(ours[:, :3, 3] / 40, theirs[:, :3, 3] / 40, atol=1e-5)
    # The cube's scale is the world's: its pictures see as much of it, wherever it lay.
    if not cube:
        position = SceneDataset(folder, "train").scene(0)[1].numpy()[:, :3]
        distance = 1 / np.tan(np.deg2rad(FIELD_OF_VIEW) / 2)
        np.testing.assert_allclose(np.linalg.norm(position, axis=1), distance, rtol=1e-4)


def test_cameras_that_look_along_the_vertical_keep_their_yaw() -> None:
    yaw = np.linspace(-3, 3, 7)
    for pitch in (-np.pi / 2, -1.0, 0.0, 1.5, np.pi / 2):
        cameras = np.stack([0 * yaw, 0 * yaw, 0 * yaw, yaw, np.full_like(yaw, pitch)], axis=-1)
        found, roll = levelled(cameras[:, :3], *axes(cameras)[:2])
        np.testing.assert_allclose(found, cameras, atol=1e-6)
        np.testing.assert_allclose(roll, 0, atol=1e-6)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_quarter_turn_of_the_camera_is_undone(tmp_path: Path, quarter: int) -> None:
    frames, cameras = drawn()
    turned = np.rot90(frames, quarter, axes=(2, 1))  # the camera turned against the clock, what it sees with it
    scene = (turned, matrices(cameras, roll=quarter * np.pi / 2))
    folder = write_scenes(tmp_path / "mine", [scene], level=True, **UNIT)
    read, recorded = SceneDataset(folder, "train").scene(0)
    assert np.abs(read.numpy().astype(int) - as_written(frames)).mean() < 0.2  # Pillow's turn cuts, it does not round
    np.testing.assert_allclose(matrices(recorded.numpy().astype(float)), matrices(cameras), atol=1e-5)
    assert told(folder)["pictures"] == {"turned upright about the optical centre": VIEWS}
    assert told(folder)["scenes"][0]["largest_roll_in_degrees"] == pytest.approx(min(quarter, 4 - quarter) * 90)


def test_a_roll_that_is_let_pass_turns_no_picture(tmp_path: Path) -> None:
    frames, cameras = drawn()
    scene = (frames, matrices(cameras, roll=np.deg2rad(0.1)))
    folder = write_scenes(tmp_path / "mine", [scene], level=True, **UNIT)
    assert told(folder)["pictures"] == {}
    np.testing.assert_array_equal(SceneDataset(folder, "train").scene(0)[0].numpy(), as_written(frames))


def test_a_camera_that_rolls_gives_the_upright_picture(tmp_path: Path) -> None:
    """Of pictures that Pillow turned, the import makes those that our renderer draws through the smaller lens."""
    large, cameras = drawn(size=192)
    turned = np.stack([np.asarray(Image.fromarray(f).rotate(-20, Image.Resampling.BICUBIC)) for f in large])
    scene = (turned, matrices(cameras, roll=np.deg2rad(20)))
    folder = write_scenes(tmp_path / "mine", [scene], level=True, size=32, **UNIT)
    read, _ = SceneDataset(folder, "train").scene(0)
    geometry = SceneDataset(folder, "train").geometry
    assert geometry is not None
    reach = np.tan(np.deg2rad(geometry.field_of_view) / 2)
    part = 96 * reach / np.tan(np.deg2rad(FIELD_OF_VIEW) / 2)
    box = (96 - part, 96 - part, 96 + part, 96 + part)
    upright = [np.asarray(Image.fromarray(f).resize((32, 32), Image.Resampling.BOX, box=box)) for f in large]
    error = np.abs(read.numpy().astype(float) - np.stack(upright).transpose(0, 3, 1, 2)).mean()
    assert error < 1.5
    assert part == pytest.approx(96 / (np.cos(np.deg2rad(20)) + np.sin(np.deg2rad(20))), rel=1e-6)


def test_other_lenses_are_cropped_to_one(tmp_path: Path) -> None:
    """Wide pictures, of pixels that are not square, about an optical centre off the middle: the square is the same."""
    frames, cameras = drawn()
    wide = np.full((VIEWS, SIZE + 6, 2 * SIZE + 5, 3), 77, np.uint8)
    wide[:, 4 : 4 + SIZE, 2 : 2 + 2 * SIZE] = frames.repeat(2, axis=2)
    lenses = [Lens(2 * SIZE + 5, SIZE + 6, 2 * FOCAL, FOCAL, 2 + SIZE, 4 + SIZE / 2)] * 3
    plain = [Lens(SIZE, SIZE, FOCAL, FOCAL, SIZE / 2, SIZE / 2)] * (VIEWS - 3)
    scene = PosedScene([*wide[:3], *frames[3:]], cameras, [*lenses, *plain])
    folder = write_scenes(tmp_path / "mine", [scene], **{**UNIT, "field_of_view": None})
    read, _ = SceneDataset(folder, "train").scene(0)
    np.testing.assert_array_equal(read.numpy(), as_written(frames))
    assert told(folder)["pictures"] == {
        "cropped to a square about the optical centre": 3,
        "resized: each pixel is the mean of what it covers": 3,
    }
    assert told(folder)["geometry"]["field_of_view"] == pytest.approx(FIELD_OF_VIEW)


def alpha(frames: np.ndarray) -> np.ndarray:
    clear = np.zeros((*frames.shape[:3], 1), np.uint8)
    clear[:, : SIZE // 2] = 255
    return np.concatenate([frames, clear], axis=3)


def seen(frames: np.ndarray, form: str) -> np.ndarray:
    """Return what should be seen of frames in some form."""
    if form.startswith("grey"):
        return frames[..., :1].repeat(3, axis=3)
    if form == "alpha":
        return np.where(alpha(frames)[..., 3:] == 255, frames, np.uint8([255, 0, 9]))
    return frames


KINDS = {
    "grey": "grey: the three colours are alike",
    "grey 16 bits": "16 bits: the upper 8 are kept",
    "16 bits": "16 bits: the upper 8 are kept",
    "alpha": "alpha: laid over the background (255, 0, 9)",
}


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("source", ["array", "file"])
def test_grey_alpha_and_sixteen_bits_are_read_and_told(tmp_path: Path, form: str, source: str) -> None:
    frames, cameras = drawn()
    deep = frames.astype(np.uint16) * 257
    given = {"grey": frames[..., 0], "grey 16 bits": deep[..., 0], "16 bits": deep, "alpha": alpha(frames)}[form]
    pictures_: Any = given
    if source == "file":
        pictures_ = [tmp_path / f"{number}.png" for number in range(VIEWS)]
        for path, picture in zip(pictures_, given, strict=True):
            if form == "16 bits":
                path.write_bytes(sixteen_bit_png(picture))
            else:
                Image.fromarray(picture).save(path)
    folder = write_scenes(tmp_path / "mine", [(pictures_, cameras)], background=(255, 0, 9), **UNIT)
    read, _ = SceneDataset(folder, "train").scene(0)
    np.testing.assert_array_equal(read.numpy(), as_written(seen(frames, form)))
    assert told(folder)["pictures"][KINDS[form]] == VIEWS


def sixteen_bit_png(picture: np.ndarray) -> bytes:
    """Return an RGB PNG of 16 bits, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = picture.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_jpegs_and_floats_are_read(tmp_path: Path) -> None:
    frames, cameras = drawn()
    paths = [tmp_path / f"{number}.jpg" for number in range(VIEWS)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path, quality=100, subsampling=0)
    folder = write_scenes(tmp_path / "mine", [(paths, cameras), (frames / 255, cameras)], **UNIT)
    read = SceneDataset(folder, "train")
    assert np.abs(read.scene(0)[0].numpy().astype(int) - as_written(frames)).mean() < 1
    np.testing.assert_array_equal(read.scene(1)[0].numpy(), as_written(frames))


def test_scenes_of_many_views_become_several_records(tmp_path: Path) -> None:
    scenes = [drawn(0, views=11), drawn(1, views=4)]
    folder = write_scenes(tmp_path / "mine", scenes, **UNIT)
    read = SceneDataset(folder, "train")
    assert (len(read), read.views) == (3, 4)
    for record, views in enumerate([[0, 2, 4, 6], [1, 3, 5, 7]]):
        expected = gqn.camera_vector(scenes[0][1][views])
        torch.testing.assert_close(gqn.camera_vector(read.scene(record)[1]), expected, atol=1e-5, rtol=0)
    said = [(scene["records"], scene["views_left_out"]) for scene in told(folder)["scenes"]]
    assert said == [({"train": 2}, 3), ({"train": 1}, 0)]


def test_a_dataset_appears_whole_or_not_at_all_and_once(tmp_path: Path) -> None:
    frames, cameras = drawn()
    names = pictures(tmp_path / "theirs", frames)
    paths = [tmp_path / "theirs" / name for name in names]
    whole = paths[4].read_bytes()
    paths[4].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=f"{paths[4]}: no whole PNG or JPEG"):
        write_scenes(tmp_path / "mine", [(paths, cameras)], **UNIT)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    paths[4].write_bytes(whole)
    folder = write_scenes(tmp_path / "mine", [(paths, cameras)], **UNIT)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_scenes(tmp_path / "mine", [(paths, cameras)], **UNIT) == folder
    for other in ({"size": 16}, {"background": (0, 0, 0)}, {"radius": 2.0}):
        with pytest.raises(DatasetError, match=f"{folder} holds another dataset or other files"):
            write_scenes(tmp_path / "mine", [(paths, cameras)], **{**UNIT, **other})
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
