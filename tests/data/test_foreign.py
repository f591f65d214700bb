"""Other converters' files: their scenes come back; what would execute something is refused."""

import gzip
import io
import os
import pickle
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gqn.data import foreign
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.foreign import import_conversion, read_foreign
from gqn.data.generate import generate
from gqn.data.tfrecord import decode_example, decode_jpeg, read_records
from gqn.training import checkpoint

Scene = namedtuple("Scene", ["frames", "cameras"])
Scene.__module__ = "__main__"  # of the script that saved it


@pytest.fixture(scope="module")
def genuine_like(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Records of five scenes of 32 pixels."""
    folder = generate(
        "shepard_metzler_5_parts", tmp_path_factory.mktemp("data"), 5, seed=0, size=32, workers=1, progress=False
    )
    return [decode_example(record) for record in read_records(folder / "train/1-of-1.tfrecord")]


def decoded(scene: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    frames = np.stack([decode_jpeg(jpeg) for jpeg in scene["frames"]])
    return frames, np.array(scene["cameras"], np.float32).reshape(-1, 5)


def save(path: Path, value: object, monkeypatch: pytest.MonkeyPatch, *, old: bool) -> None:
    """torch.save by a script, in the format before or since PyTorch 1.6."""
    monkeypatch.setattr(sys.modules["__main__"], "Scene", Scene, raising=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        torch.save(value, file, _use_new_zipfile_serialization=not old)


def seven(cameras: np.ndarray) -> np.ndarray:
    yaw, pitch = cameras[..., 3:4], cameras[..., 4:5]
    return np.concatenate([cameras[..., :3], np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)], axis=-1)


def tuples(scenes: list[dict[str, Any]]) -> list[Any]:
    """Return bytes (views, h, w, 3) under the shape (views, 3, h, w), as wohlert's converter does."""
    pairs = [decoded(scene) for scene in scenes]
    return [(frames.transpose(0, 2, 3, 1).copy().reshape(frames.shape), cameras) for frames, cameras in pairs]


def moved(scenes: list[dict[str, Any]]) -> list[Any]:
    return [(torch.from_numpy(frames), torch.from_numpy(cameras)) for frames, cameras in map(decoded, scenes)]


def floats(scenes: list[dict[str, Any]]) -> list[Any]:
    pairs = [decoded(scene) for scene in scenes]
    return [((f.transpose(0, 2, 3, 1) / 255).astype(np.float32)[None], seven(c)[None]) for f, c in pairs]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("form", [tuples, moved, floats])
def test_lists_of_tuples_come_back(genuine_like, tmp_path: Path, monkeypatch, form, old: bool) -> None:
    files = {9: genuine_like[:2], 10: genuine_like[2:]}  # in this order, although "10" comes before "9"
    for number, scenes in files.items():
        save(tmp_path / f"theirs/train/{number}.pt.gz", form(scenes), monkeypatch, old=old)
    directory = import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
    convert(directory, 4, workers=1, progress=False)
    ours = SceneDataset(directory, "train")
    assert len(ours) == 5
    for index, scene in enumerate(genuine_like):
        frames, cameras = ours.scene(index)
        true_frames, true_cameras = decoded(scene)
        assert np.abs(frames.numpy().astype(int) - true_frames).mean() < 1.5
        np.testing.assert_allclose(np.sin(cameras.numpy()), np.sin(true_cameras), atol=1e-6)
        np.testing.assert_allclose(np.cos(cameras.numpy()), np.cos(true_cameras), atol=1e-6)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".pt.gz"])
def test_a_scene_a_file_comes_back_byte_for_byte(genuine_like, tmp_path, monkeypatch, suffix: str, old: bool) -> None:
    monkeypatch.setattr("gqn.data.foreign.SCENES_PER_FILE", 2)
    for number, scene in enumerate(genuine_like):
        cameras = np.array(scene["cameras"], np.float32).reshape(1, -1, 5)
        theirs = Scene(np.array(list(scene["frames"]), object), cameras)
        save(tmp_path / f"theirs/test/{number}{suffix}", theirs, monkeypatch, old=old)
    directory = import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
    files = sorted((directory / "test").iterdir())
    assert [file.name for file in files] == ["1-of-3.tfrecord", "2-of-3.tfrecord", "3-of-3.tfrecord"]
    records = [decode_example(record) for file in files for record in read_records(file)]
    assert [list(r["frames"]) for r in records] == [list(scene["frames"]) for scene in genuine_like]
    assert [list(r["cameras"]) for r in records] == [list(scene["cameras"]) for scene in genuine_like]
    before = files[0].stat().st_mtime_ns
    files[1].unlink()
    import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
    assert files[1].exists()
    assert files[0].stat().st_mtime_ns == before


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self):
        if self.how == "pickle.loads":
            return pickle.loads, (pickle.dumps(Trap("os.mkdir")),)
        return {
            "os.mkdir": (os.mkdir, ("trapped",)),
            "eval": (eval, ("__import__('os').mkdir('trapped')",)),
            "getattr": (getattr, ("trap", "join")),
            "numpy.load": (np.load, ("trapped",)),
        }[self.how]


@pytest.mark.parametrize("how", ["os.mkdir", "eval", "getattr", "pickle.loads", "numpy.load"])
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("place", ["shard", "conversion", "checkpoint"])
def test_a_malicious_pickle_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, old: bool, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    value = [(np.zeros((1, 8, 8, 3), np.uint8), Trap(how))]
    if place == "conversion":
        for suffix in (".pt", ".pt.gz"):
            path = tmp_path / f"theirs/train/1{suffix}"
            save(path, value, monkeypatch, old=old)
            with pytest.raises(DatasetError, match=rf"{path}: refused: it names \S+, which no dataset does"):
                import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
            path.unlink()
    elif place == "checkpoint":
        save(tmp_path / "checkpoint.pt", {"format": Trap(how)}, monkeypatch, old=old)
        with pytest.raises(checkpoint.CheckpointError, match="can't be read"):
            checkpoint.read(tmp_path / "checkpoint.pt")
    else:
        dataset = generate("shepard_metzler_5_parts", tmp_path, 1, seed=0, size=8, workers=1, progress=False)
        convert(dataset, 4, workers=1, progress=False)
        save(dataset / "torch/train/1-of-1.0000.pt", {"jpegs": Trap(how)}, monkeypatch, old=old)
        with pytest.raises(DatasetError, match="damaged shard"):
            SceneDataset(dataset, "train").scene(0)
    # The trap does snap where a file is trusted, and nowhere else.
    assert not (tmp_path / "trapped").exists()
    if how in ("os.mkdir", "eval", "pickle.loads"):
        torch.load(io.BytesIO(saved(Trap(how))), weights_only=False)
        assert (tmp_path / "trapped").exists()


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "damaged"),
        (b"nonsense" * 50, "damaged, or no torch file"),
        (gzip.compress(b"nonsense" * 50, mtime=0), "damaged, or no torch file"),
        (gzip.compress(saved([1]), mtime=0)[:-30], "damaged"),
        (saved([1, 2]), "neither a list of"),
        (saved([]), "neither a list of"),
        (saved({"frames": 1}), "neither a list of"),
    ],
)
def test_what_is_no_conversion_is_named(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "1.pt.gz"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=f"{path}: {cause}") as error:
        read_foreign(path)
    assert "\n" not in str(error.value)


def test_another_dataset_is_neither_mixed_in_nor_overwritten(genuine_like, tmp_path: Path, monkeypatch) -> None:
    for source, scenes in (("a", genuine_like[:2]), ("b", genuine_like[2:4])):
        save(tmp_path / source / "train/1.pt", tuples(scenes), monkeypatch, old=False)
    drawn = generate("shepard_metzler_5_parts", tmp_path, 2, seed=0, size=8, workers=1, progress=False)
    imported = import_conversion(tmp_path / "a", tmp_path / "ours", progress=False)
    bare = tmp_path / "bare"
    (bare / "train").mkdir(parents=True)
    for folder, cause in (
        (drawn, "another dataset"),
        (imported, "another dataset"),
        (bare, "files but no dataset.json"),
    ):
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        with pytest.raises(DatasetError, match=f"{folder} holds {cause}.*choose another name or folder") as error:
            import_conversion(tmp_path / "b", folder, progress=False)
        assert "\n" not in str(error.value)
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    (tmp_path / "a").rename(tmp_path / "moved")
    import_conversion(tmp_path / "moved", imported, progress=False)


def test_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no \.pt or \.pt\.gz files"):
        import_conversion(tmp_path, tmp_path / "ours")


VIEWS, SIZE = 3, 16
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE] * 17
PIXELS = np.stack([np.stack([ROWS, COLUMNS, 0 * ROWS + 90 * v], -1) for v in range(VIEWS)]).astype(np.uint8)
CAMERAS = np.random.default_rng(1).uniform(-1, 1, (VIEWS, 5)).astype(np.float32)


def quaternions() -> np.ndarray:
    q = np.random.default_rng(2).normal(size=(VIEWS, 4))
    return np.concatenate([CAMERAS[:, :3], q / np.linalg.norm(q, axis=1, keepdims=True)], axis=1)


@pytest.mark.parametrize(
    ("frames", "cameras", "said"),
    [
        (PIXELS.astype("f4"), CAMERAS, "pixels of 0 to 255, type float32: wanted floats of 0 to 1"),
        (PIXELS / 127.5 - 1, CAMERAS, "pixels of -1 to 1, type float64: wanted floats of 0 to 1"),
        (PIXELS.astype("u2") * 257, CAMERAS, "type uint16: wanted integers of 0 to 255"),
        (torch.from_numpy(PIXELS.astype("i4") * 257).to(torch.uint16), CAMERAS, "wanted integers of 0 to 255"),
        (PIXELS.astype("i2") - 128, CAMERAS, "wanted integers of 0 to 255"),
        (PIXELS > 100, CAMERAS, "frames of type bool"),
        (PIXELS.astype("c8"), CAMERAS, "frames of type complex64"),
        (np.where(PIXELS > 250, np.nan, PIXELS / 255), CAMERAS, "a pixel that is not finite"),
        (PIXELS[..., :1], CAMERAS, r"frames of shape \(3, 16, 16, 1\)"),
        (PIXELS[..., [0, 1, 2, 0]], CAMERAS, r"frames of shape \(3, 16, 16, 4\)"),
        (PIXELS[:, :8], CAMERAS, "not of one height and width"),
        (PIXELS.reshape(-1), CAMERAS, "frames of shape"),
        (torch.from_numpy(PIXELS[:0]), CAMERAS, "frames of type uint8 and shape"),
        (np.array([b"\x89PNG\r\n"] * VIEWS, object), CAMERAS, "frames that are neither JPEGs nor pixels"),
        (np.array([b"\xff\xd8\xff"] * VIEWS, object), CAMERAS, "Error"),
        (PIXELS, CAMERAS[:2], "3 frames and 2 cameras"),
        (PIXELS, CAMERAS * np.nan, "a camera that is not finite"),
        (PIXELS, CAMERAS.astype("f8") * 1e300, "a camera that is not finite"),
        (PIXELS, CAMERAS * np.float32([1, 1, 1, 57.3, 57.3]), "radians, within a turn"),
        (PIXELS, quaternions(), "a quaternion?"),
        (PIXELS, np.tile(np.eye(4), (VIEWS, 1, 1)), r"cameras of shape \(3, 4, 4\)"),
        (PIXELS, CAMERAS.T, r"cameras of shape \(5, 3\)"),
        (PIXELS, CAMERAS > 0, "type bool"),
        (PIXELS, "cameras", "cameras of shape"),
        (PIXELS, [[1, 2], [3]], "Error"),
        (None, None, "Error|wanted"),
        (torch.empty(VIEWS, 3, SIZE, SIZE, device="meta"), CAMERAS, "Error|wanted"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_one_line(tmp_path: Path, frames: Any, cameras: Any, said: str) -> None:
    """Never taken for ours: its pictures or its cameras would be wrong, and nobody would be told."""
    path = tmp_path / "theirs/train/1.pt"
    path.parent.mkdir(parents=True)
    torch.save([(PIXELS, CAMERAS), (frames, cameras)], path)
    with pytest.raises(DatasetError, match=said) as error:
        import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
    if "meta" not in str(error.value):
        assert str(error.value).startswith(f"{path}: scene 1 (from 0): ")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "ours").rglob("*.tfrecord*"))


@pytest.mark.parametrize(
    ("frames", "cameras"),
    [
        (PIXELS.astype("i8"), CAMERAS),
        (PIXELS.astype("u2"), CAMERAS.astype("f8")),
        (torch.from_numpy(PIXELS), torch.from_numpy(CAMERAS).requires_grad_()),
        (torch.from_numpy(PIXELS / 255).half(), CAMERAS),
        (torch.from_numpy(PIXELS)[None], torch.from_numpy(CAMERAS)[None, None]),
        (torch.from_numpy(PIXELS).bfloat16() / 256, CAMERAS),
    ],
)
def test_what_converts_exactly_is_taken(tmp_path: Path, frames: Any, cameras: Any) -> None:
    (tmp_path / "theirs/train").mkdir(parents=True)
    torch.save([(frames, cameras)], tmp_path / "theirs/train/1.pt")
    directory = import_conversion(tmp_path / "theirs", tmp_path / "ours", progress=False)
    (record,) = map(decode_example, read_records(directory / "train/1-of-1.tfrecord"))
    read, recorded = decoded(record)
    assert np.abs(read.transpose(0, 2, 3, 1).astype(int) - PIXELS).mean() < 2.5
    np.testing.assert_array_equal(recorded, CAMERAS)


def test_scenes_of_two_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs/train/1.pt"
    path.parent.mkdir(parents=True)
    for other in ((PIXELS[:2], CAMERAS[:2]), (PIXELS[:, :8, :8], CAMERAS)):
        torch.save([(PIXELS, CAMERAS), other], path)
        with pytest.raises(DatasetError, match=f"{path}: scene 1 .from 0. has . views of .* are of one size"):
            import_conversion(tmp_path / "theirs", tmp_path / str(len(other[0])), progress=False)


def test_a_file_damaged_anywhere_is_refused_or_sound(tmp_path: Path) -> None:
    whole = saved([(torch.from_numpy(PIXELS), CAMERAS)])
    random = np.random.default_rng(0)
    path = tmp_path / "1.pt"
    for _ in range(150):
        data = bytearray(whole)
        start, length = int(random.integers(len(data))), int(random.integers(1, 200))
        data[start : start + length] = random.bytes(len(data[start : start + length]))
        path.write_bytes(data[: int(random.integers(len(data)))] if random.random() < 0.2 else data)
        with suppress(DatasetError):
            for number, scene in enumerate(read_foreign(path)):
                foreign._scene(path, number, scene)
