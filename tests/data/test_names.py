"""Datasets by the names that users give them, what goes along with their shards, and what is not taken for records."""

import errno
import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RecordWriter
from torch.utils.data import DataLoader, random_split

from gqn.core.camera import camera_vector, look_at, orbit, recorded_camera
from gqn.core.errors import Error
from gqn.core.files import given_name, locked, whole_file
from gqn.core.views import Views
from gqn.data.convert import convert
from gqn.data.dataset import DATASETS, DatasetError, SceneDataset, dataset_info, described
from gqn.data.labels import scene_labels
from gqn.data.workers import _check_guarded
from gqn.scenes import family_of


def test_a_link_is_called_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    link = tmp_path / "jaco"
    link.symlink_to("raw")
    assert dataset_info(link) is DATASETS["jaco"]
    assert given_name(link / "train/..") == "jaco"
    assert type(family_of(link)).__name__ == "Jaco"
    (tmp_path / "mazes").mkdir()
    other = tmp_path / "mine"
    other.symlink_to("mazes")  # whose own name says nothing
    assert dataset_info(other) is DATASETS["mazes"]
    assert type(family_of(other)).__name__ == "Mazes"


def test_output_gets_the_links_name_and_all_that_belongs_to_the_dataset(scenes: Path, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    shutil.copytree(scenes, source, ignore=shutil.ignore_patterns("torch"))
    (tmp_path / "link").symlink_to("raw")
    convert(tmp_path / "link", 8, output=tmp_path / "out", workers=1, progress=False)
    out = tmp_path / "out/link"
    assert (out / "dataset.json").read_bytes() == (source / "dataset.json").read_bytes()
    for split, count in (("train", 24), ("test", 5)):
        assert scene_labels(out, split) == scene_labels(scenes, split)
        assert len(SceneDataset(out, split)) == count
    assert family_of(out) == family_of(scenes)


def test_a_folder_in_or_above_a_dataset_names_it(scenes: Path) -> None:
    for wrong in (scenes / "train", scenes / "torch", scenes.parent):
        with pytest.raises(DatasetError, match=f"did you mean {scenes}"):
            SceneDataset(wrong, "train")
        with pytest.raises(DatasetError, match=f"did you mean {scenes}"):
            dataset_info(wrong)


def test_record_files_of_other_names_are_told(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(2)])
    train = directory / "train"
    for name in ("extra.tfrecord", "part-00000-of-00001.tfrecord", "data.tfrecords"):
        shutil.copy(train / "1-of-1.tfrecord", train / name)
    shutil.copytree(train, directory / "val")
    notes = convert(directory, 4, workers=1, progress=False).notes
    assert any(f"{train}: 3 files ignored, such as data.tfrecords" in note for note in notes)
    assert any(f"{directory / 'val'}: 4 record files ignored" in note for note in notes)
    described_as = json.loads((directory / "dataset.json").read_text()) | {"record_files": "*.tfrecord"}
    (directory / "dataset.json").write_text(json.dumps(described_as))
    report = convert(directory, 4, workers=1, progress=False)
    assert any(f"{train}: 1 files ignored, such as data.tfrecords" in note for note in report.notes)
    assert len(SceneDataset(directory, "train")) == 6
    assert convert(directory, 4, workers=1, progress=False).files_done_before == 3


def test_without_record_files_it_is_told_why_those_that_are_there_are_none(tmp_path: Path) -> None:
    for folder, name, told in (
        ("train", "part-1.tfrecord", "1 files ignored, such as part-1.tfrecord, for their names"),
        ("training", "0001-of-3600.tfrecord", "training: 1 record files ignored"),
    ):
        directory = tmp_path / folder / "jaco"
        (directory / folder).mkdir(parents=True)
        (directory / folder / name).write_bytes(b"records")
        with pytest.raises(DatasetError, match="(?s)jaco.*" + told):
            convert(directory, 4, workers=1, progress=False)


def test_a_page_is_no_description(tmp_path: Path) -> None:
    for text in (b"<html>Log in to the network</html>", b"[" * 100_000, b"\xff\xfe", b'{"name": "x", "pixels": 1e9}'):
        with pytest.raises(DatasetError, match=r"there/dataset.json: damaged"):
            described("there/dataset.json", text)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / ".lock"), whole_file(tmp_path / "file") as file:
        file.write(b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_script_without_a_guard_is_told_before_workers_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import __main__

    script = tmp_path / "mine.py"
    monkeypatch.setattr(__main__, "__file__", str(script), raising=False)
    _check_guarded()  # there is none
    script.write_text("import gqn\ngqn.generate('mazes', '.', 10, 0)\n")
    with pytest.raises(Error, match=rf"^{script}: workers begin by importing this script"):
        _check_guarded()
    script.write_text("import gqn\nif __name__ == '__main__':\n    gqn.generate('mazes', '.', 10, 0)\n")
    _check_guarded()


def test_scenes_are_a_dataset_of_torchs(scenes: Path) -> None:
    dataset = SceneDataset(scenes, "train")
    frames, cameras = next(iter(DataLoader(dataset, batch_size=3)))
    assert (frames.shape, cameras.shape) == ((3, 15, 3, 16, 16), (3, 15, 5))
    assert [len(part) for part in random_split(dataset, [20, 4])] == [20, 4]
    assert len(list(dataset)) == 24
    assert torch.equal(dataset[np.int64(2)][0], dataset.scene(2)[0])
    for wrong in ([-1], [15], [0, -2]):
        with pytest.raises(Error, match="view -?[0-9]+ of 15, which are counted from 0") as error:
            dataset.scene(0, wrong)
        assert isinstance(error.value, IndexError)
    some = dataset.scene(0, np.array([3, 1]))
    assert torch.equal(some[1], dataset.scene(0)[1][[3, 1]])


def test_cameras_and_frames_are_taken_as_a_notebook_has_them() -> None:
    recorded = orbit(3.0, 30, 4)
    vector = camera_vector(recorded)
    assert vector.dtype == torch.float32
    torch.testing.assert_close(vector, camera_vector(torch.from_numpy(recorded).float()))
    assert camera_vector(vector) is vector  # 7 numbers stay as they are
    torch.testing.assert_close(camera_vector(recorded_camera(vector.numpy())), vector)
    np.testing.assert_allclose(look_at(torch.tensor([1, 0, 0]), [0, 0, 0])[:3], [1, 0, 0])
    bytes_of = np.full((2, 4, 3, 8, 8), 255, np.uint8)
    views = Views(bytes_of, np.stack([recorded, recorded]))  # type: ignore[arg-type]
    assert views.frames.dtype == torch.float32
    assert views.frames.max() == 1
    torch.testing.assert_close(views.cameras[0], vector)
    for wrong in (np.zeros((2, 4)), np.zeros((2, 3, 7)), "cameras", None):
        with pytest.raises(Error):
            Views(bytes_of, wrong)  # type: ignore[arg-type]
    for wrong in (np.zeros(4), np.zeros((3, 6)), "pose", torch.zeros(5, dtype=torch.complex64)):
        with pytest.raises(Error, match="wanted"):
            camera_vector(wrong)
    with pytest.raises(Error, match="wanted"):
        look_at([1, 2], [0, 0, 0])
    with pytest.raises(Error, match="must be int"):
        orbit(1.0, 0.0, 2.5)  # type: ignore[arg-type]
