import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, RecordWriter, TensorFlowFiles, small_scene
from front_door import Script, run_script

from gqn.core.camera import Geometry, turned
from gqn.data.convert import DamagedRecords, Report, convert
from gqn.data.dataset import DATASETS, DatasetError, SceneDataset, read_index
from gqn.data.tfrecord import Example, decode_example, encode_scene, read_records, write_records

SCRIPT = REPOSITORY / "scripts/tfrecord-converter.py"
DATA_SH = REPOSITORY / "data.sh"


def quietly(directory: Path, batch: int = 4, **options) -> Report:
    return convert(directory, batch, workers=1, progress=False, **options)


def brightness(directory: Path, split: str = "train") -> list[int]:
    scenes = SceneDataset(directory, split)
    return [int(scenes.scene(index)[0].float().mean()) for index in range(len(scenes))]


def files_under(folder: Path) -> dict[str, tuple[int, int]]:
    """Files and when they were written, under which number: a file that was replaced has another."""
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.iterdir()}


def assert_consistent(folder: Path) -> None:
    """All that the index lists is there as it says, and nothing else of ours is."""
    index = read_index(folder / "index.json")
    shards = {shard.name: shard for file in index.files for shard in file.shards}
    assert {file.name for file in folder.iterdir()} == {"index.json", *shards}
    for name, shard in shards.items():
        tensors = torch.load(folder / name, weights_only=True)
        assert len(tensors["cameras"]) == shard.count <= index.batch
        assert len(tensors["offsets"]) == index.views * shard.count + 1
        assert len(tensors["jpegs"]) == tensors["offsets"][-1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_converts_to_what_tensorflow_sees(tensorflow_files: TensorFlowFiles, name: str) -> None:
    directory = tensorflow_files.datasets[name]
    quietly(directory, 2)
    info = DATASETS[name]
    for file in (*tensorflow_files.theirs, tensorflow_files.zipped):
        if file.parent.parent != directory:
            continue
        frames, cameras = tensorflow_files.seen(file)
        scenes = SceneDataset(directory, file.parent.name)
        assert (scenes.name, scenes.pixels, scenes.views, len(scenes)) == (name, info.pixels, info.views, len(frames))
        for index in range(len(scenes)):
            ours = scenes.scene(index)
            np.testing.assert_array_equal(ours[0].numpy(), frames[index])
            read = turned(torch.from_numpy(cameras[index]), info.geometry.yaw_sign)
            np.testing.assert_array_equal(ours[1], read)


@pytest.mark.parametrize("name", DATASETS)
def test_a_wrong_number_of_views_is_refused(tensorflow_files: TensorFlowFiles, tmp_path: Path, name: str) -> None:
    theirs = tensorflow_files.theirs[list(DATASETS).index(name)]
    whole = next(read_records(theirs))
    scene, views = decode_example(whole), DATASETS[name].views
    cameras = np.array(scene["cameras"], np.float32).reshape(views, 5)
    path = tmp_path / name / "train" / theirs.name
    path.parent.mkdir(parents=True)
    write_records(path, [whole, encode_scene(scene["frames"][1:], cameras[1:])])
    with pytest.raises(DamagedRecords) as error:
        quietly(tmp_path / name)
    ((file, damage),) = error.value.report.damages
    assert (file, damage.offset, damage.offset + damage.bytes) == (path, len(whole) + 16, path.stat().st_size)
    assert damage.cause == (
        f"its feature 'frames' holds {views - 1} values of type bytes, expected {views} of type bytes ({views} views)"
    )
    assert len(SceneDataset(tmp_path / name, "train")) == 1


def test_the_genuine_scene(genuine: Path, tensorflow_files: TensorFlowFiles, tmp_path: Path) -> None:
    before = sorted(genuine.parent.parent.rglob("*"))
    report = quietly(genuine.parent.parent, 20, output=tmp_path)
    assert (report.scenes, report.shards, report.files) == (1, 1, 1)
    assert len(report.notes) == 1  # that there is no test split
    assert sorted(genuine.parent.parent.rglob("*")) == before
    frames, cameras = tensorflow_files.seen(tensorflow_files.genuine)
    ours = SceneDataset(tmp_path / "shepard_metzler_5_parts", "train").scene(0)
    np.testing.assert_array_equal(ours[0].numpy(), frames[0])
    np.testing.assert_array_equal(ours[1].numpy(), cameras[0])


def test_each_record_file_has_shards_of_its_own(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(9), range(9, 10), range(10, 14)], test=[range(20, 23)])
    report = quietly(directory)
    assert (report.scenes, report.shards, report.files, report.files_done_before) == (17, 6, 4, 0)
    assert brightness(directory) == list(range(14))
    assert brightness(directory, "test") == [20, 21, 22]
    assert_consistent(directory / "torch/train")
    index = json.loads((directory / "torch/train/index.json").read_text())
    size = (directory / "train/1-of-3.tfrecord").stat().st_size
    shards = [("1-of-3.0000.pt", 0, 4), ("1-of-3.0001.pt", 4, 4), ("1-of-3.0002.pt", 8, 1)]
    assert {name: index[name] for name in ("dataset", "pixels", "views", "batch")} == {
        "dataset": "small",
        "pixels": 8,
        "views": 2,
        "batch": 4,
    }
    first = index["files"][0]
    assert (first["name"], first["bytes"], first["records"]) == ("1-of-3.tfrecord", size, 9)
    assert [(shard["name"], shard["first"], shard["count"]) for shard in first["shards"]] == shards
    # A short shard holds no more than its scenes.
    assert (directory / "torch/train/1-of-3.0002.pt").stat().st_size < 4000


def test_run_again_it_does_nothing(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(9), range(9, 14)])
    quietly(directory)
    before = files_under(directory / "torch/train")
    report = quietly(directory)
    assert (report.scenes, report.files, report.files_done_before) == (0, 0, 2)
    before.pop("index.json")
    after = files_under(directory / "torch/train")
    assert {name: after[name] for name in before} == before


def test_run_again_it_does_what_is_missing(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(9), range(9, 14), range(14, 16)])
    folder = directory / "torch/train"
    quietly(directory)
    before = files_under(folder)
    (folder / "1-of-3.0001.pt").unlink()
    write_records(directory / "train/3-of-3.tfrecord", map(small_scene, range(30, 33)))
    report = quietly(directory)
    assert (report.scenes, report.files, report.files_done_before) == (12, 2, 1)
    assert brightness(directory) == [*range(14), 30, 31, 32]
    changed = {name for name, when in files_under(folder).items() if before[name] != when}
    assert changed == {"index.json", *(f"1-of-3.000{i}.pt" for i in range(3)), "3-of-3.0000.pt"}
    assert_consistent(folder)
    # A shard cut short, as by a crash of the machine, is as good as missing.
    os.truncate(folder / "2-of-3.0000.pt", 500)
    assert quietly(directory).files == 1
    assert_consistent(folder)


def test_another_batch_replaces_all(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(9), range(9, 14)])
    quietly(directory, 2)
    assert len(list((directory / "torch/train").glob("*.pt"))) == 8
    (directory / "torch/train/1-of-2.0000.pt.partial").write_bytes(b"of a killed run")
    (directory / "torch/train/notes.txt").write_text("not ours")
    report = quietly(directory, 5)
    assert (report.files, report.shards, report.files_done_before) == (2, 3, 0)
    assert brightness(directory) == list(range(14))
    (directory / "torch/train/notes.txt").unlink()
    assert_consistent(directory / "torch/train")


def test_shards_outlive_their_records(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(4), range(4, 9)])
    quietly(directory)
    (directory / "train/1-of-2.tfrecord").unlink()
    report = quietly(directory)
    assert (report.files, report.files_done_before) == (0, 2)
    assert "record files gone since: 1 (such as 1-of-2.tfrecord); their shards stay" in report.notes[1]
    assert brightness(directory) == list(range(9))
    with pytest.raises(
        DatasetError, match=r"in shards of 4 \(format 2\), and record files gone since: 1 .*: bring them back"
    ):
        quietly(directory, 5)
    shutil.rmtree(directory / "train")
    assert quietly(directory).files_done_before == 2
    assert brightness(directory) == list(range(9))
    small_dataset(train=[range(50, 53)])  # 1-of-1: another set, which replaces the old one
    quietly(directory)
    assert brightness(directory) == [50, 51, 52]
    os.rename(directory / "train/1-of-1.tfrecord", directory / "train/1-of-1.tfrecord.gz")
    assert quietly(directory).notes == ["small: no record files in " + str(directory / "test")]
    assert brightness(directory) == [50, 51, 52]


def test_small_empty_and_stray_files(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(1), range(0), range(1, 3)])
    train = directory / "train"
    assert (train / "2-of-3.tfrecord").stat().st_size == 0
    for stray in (".DS_Store", "3-of-3.tfrecord_.gstmp", "3-of-3.tfrecord.gstmp", "notes", "x-of-3.tfrecord"):
        (train / stray).write_bytes(b"stray")
    (train / "4-of-3.tfrecord").mkdir()
    report = quietly(directory)
    assert report.notes[0].startswith(f"{train}: 1 files ignored, such as x-of-3.tfrecord, for their names")
    assert report.notes[2:] == [f"{train / '2-of-3.tfrecord'}: 0 bytes, no records"]
    assert (report.files, report.scenes) == (3, 3)
    assert brightness(directory) == [0, 1, 2]
    assert quietly(directory).files_done_before == 3
    (train / "1-of-3.tfrecord.gz").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"both 1-of-3.tfrecord and 1-of-3.tfrecord.gz are there"):
        quietly(directory)


SCENE = decode_example(small_scene(3))
JPEGS, CAMERAS = list(SCENE["frames"]), list(SCENE["cameras"])


def damaged(frames: list[bytes] = JPEGS, cameras: list[float] = CAMERAS) -> bytes:
    """A record written without the checks of `encode_scene`."""
    example = Example()
    example.features.feature["frames"].bytes_list.value.extend(frames)
    example.features.feature["cameras"].float_list.value.extend(cameras)
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (damaged(cameras=CAMERAS[:-1]), "'cameras' holds 9 values of type float, expected 10 of type float"),
        (damaged(cameras=[]), "'cameras' holds nothing, expected 10"),
        (damaged(frames=JPEGS * 2), "'frames' holds 4 values of type bytes, expected 2"),
        (damaged(cameras=[*CAMERAS[:-1], np.nan]), "the camera of view 1 is not finite"),
        (damaged(cameras=[np.inf, *CAMERAS[1:]]), "the camera of view 0 is not finite"),
        (damaged(frames=[JPEGS[0], JPEGS[1][:-40]]), "the frame of view 1 is no whole JPEG"),
        (damaged(frames=[b"", JPEGS[1]]), "the frame of view 0 is no whole JPEG"),
        (small_scene(3, pixels=16), "the frame of view 0 has 16x16 pixels, expected 8x8"),
        (b"\xff\xff", "no serialized tf.train.Example"),
        (b"", "'frames' holds nothing, expected 2"),
    ],
)
def test_a_wrong_record_costs_itself_alone(small_dataset: RecordWriter, record: bytes, cause: str) -> None:
    directory = small_dataset(train=[range(9), range(9, 14)])
    path = directory / "train/2-of-2.tfrecord"
    sound = [small_scene(number) for number in range(9, 15)]
    write_records(path, [*sound[:3], record, *sound[3:]])
    with pytest.raises(DamagedRecords) as error:
        quietly(directory)
    ((file, damage),) = error.value.report.damages
    assert (file, damage.offset, damage.bytes) == (path, sum(len(r) + 16 for r in sound[:3]), len(record) + 16)
    assert cause in damage.cause
    assert str(path) in str(error.value)
    assert damage.cause in str(error.value)
    assert_consistent(directory / "torch/train")
    assert brightness(directory) == list(range(15))
    conversion = json.loads((directory / "torch/conversion.json").read_text())["splits"]["train"]
    assert conversion["damages"] == [{"file": path.name, **vars(damage)}]
    assert (conversion["files"], conversion["scenes"]) == (2, 15)
    # It says so again, until the record is there or the user takes it as it is.
    assert quietly(directory, allow_damaged=True).damages == [(path, damage)]
    with pytest.raises(DamagedRecords):
        quietly(directory)
    write_records(path, map(small_scene, range(9, 14)))
    assert quietly(directory).files == 1
    assert brightness(directory) == list(range(14))


def test_a_changed_byte_is_named(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(9)])
    path = directory / "train/1-of-1.tfrecord"
    whole = bytearray(path.read_bytes())
    length = len(whole) // 9
    whole[5 * length + 200] ^= 4
    path.write_bytes(whole)
    with pytest.raises(DamagedRecords, match=rf"{path} +{5 * length} +{length}  bad checksum of its data"):
        quietly(directory)
    assert brightness(directory) == [0, 1, 2, 3, 4, 6, 7, 8]


def test_a_folder_of_the_wrong_name_is_no_damage(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(120)])
    (directory / "dataset.json").write_text('{"name": "small", "pixels": 8, "views": 3}')
    with pytest.raises(DatasetError, match=r"1-of-1.tfrecord: its first 100 records are sound, but no scenes") as error:
        quietly(directory)
    assert "'frames' holds 2 values" in str(error.value)
    assert list((directory / "torch/train").glob("*.pt")) == []


def test_a_failed_write_leaves_nothing_half_written(
    small_dataset: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = small_dataset(train=[range(9), range(9, 18)])
    save, calls = torch.save, []

    def full(tensors, file) -> None:
        calls.append(file.name)
        save(tensors, file)
        if len(calls) == 5:  # the middle shard of the second file
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        quietly(directory)
    assert_consistent(directory / "torch/train")
    assert brightness(directory) == list(range(9))


def test_a_killed_run_is_taken_up_again(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(5)])
    train, folder = directory / "train", directory / "torch/train"
    (train / "1-of-1.tfrecord").unlink()
    for number in range(1, 5):
        write_records(train / f"{number}-of-4.tfrecord", [small_scene(number)] * 1500)
    with Script(SCRIPT, directory.parent, "small", "--batch", "4", "--workers", "1") as run:
        while run.poll() is None and not (folder / "2-of-4.0010.pt").exists():
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        assert run.ended().returncode == -signal.SIGKILL
    for file in folder.glob("*.pt"):
        torch.load(file, weights_only=True)
    listed = read_index(folder / "index.json").files
    assert all((folder / shard.name).exists() for file in listed for shard in file.shards)
    report = quietly(directory, 1000)
    assert report.files == 4
    assert_consistent(folder)


def test_where_to_fetch_from(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        quietly(tmp_path / "rooms_ring_camera")
    assert f"sh data.sh {tmp_path} BATCH rooms_ring_camera --fetch\n" in str(error.value)
    assert "scripts/generate-scenes.py" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_script_tells_of_damage_in_a_table(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(3), range(3, 5)])
    wrong = directory / "train/2-of-2.tfrecord"
    wrong.write_bytes(b"no records")
    words = [directory.parent, "small", "--batch", "2", "--split", "train", "--workers"]
    run = run_script(SCRIPT, *words, "2")
    assert run.returncode == 1
    assert run.stdout.startswith("small: 3 scenes in 2 shards, ")
    table = run.stderr[run.stderr.index("small: damaged: 1, ") :].splitlines()
    assert table[0].endswith(f"all of them in {directory}/torch/conversion.json:")
    assert table[1].split() == ["file", "at", "byte", "bytes", "cause"]
    assert table[2].split(maxsplit=3) == [
        str(wrong),
        "0",
        "10",
        "cut short: 10 of the 12 bytes of its header are there",
    ]
    assert table[3].startswith("tfrecord-converter: everything sound is converted; --allow-damaged")
    assert "Traceback" not in run.stderr
    assert_consistent(directory / "torch/train")
    assert brightness(directory) == [0, 1, 2]
    assert run_script(SCRIPT, *words, "1", "--allow-damaged").returncode == 0


def test_data_sh_from_anywhere(small_dataset: RecordWriter, tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "inside"
    folder.mkdir(parents=True)
    small_dataset(name="shepard_metzler_5_parts", train=[range(3), range(3, 8)]).rename(
        folder.parent / "shepard_metzler_5_parts"
    )
    command = ["sh", os.path.relpath(DATA_SH, folder)]

    def data_sh(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *options], cwd=folder, env=environment(), capture_output=True, text=True)

    run = data_sh("../../a folder", "2")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("small: 8 scenes in 5 shards, ")
    assert run.stdout.splitlines()[-1].endswith("(record files: 2 converted, 0 done before)")
    assert brightness(folder.parent / "shepard_metzler_5_parts") == list(range(8))
    for wrong in ([], [".."], ["..", "0"], ["..", "-1"], ["..", "two"], ["..", ""]):
        run = data_sh(*wrong)
        assert run.returncode == 2
        assert "usage: sh data.sh DATA_DIR BATCH [DATASET] [OPTION ...]" in run.stderr
    run = data_sh("..", "2", "--split", "train", "--shard", "2/1")
    assert run.returncode == 1
    assert run.stderr == "tfrecord-converter: --shard 2/1: no part such as 1/8 or 8/8\n"
    run = data_sh("..", "2", "mazes")
    assert run.returncode == 1
    assert f"sh data.sh '{folder.parent}' BATCH mazes --fetch\n" in run.stderr


def test_the_geometry_goes_from_the_description_to_the_scenes(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(3)])
    quietly(directory)
    assert SceneDataset(directory, "train").geometry is None
    shards = files_under(directory / "torch/train")
    described = json.loads((directory / "dataset.json").read_text())
    lens = {"field_of_view": 54.0, "optical_centre": [0.4, 0.6], "cube_radius": 2.5}
    (directory / "dataset.json").write_text(json.dumps({**described, "geometry": lens}))
    quietly(directory)
    expected = Geometry(54.0, optical_centre=(0.4, 0.6), cube_radius=2.5)
    assert SceneDataset(directory, "train").geometry == expected
    kept = {name: when for name, when in files_under(directory / "torch/train").items() if name.endswith(".pt")}
    assert kept.items() <= shards.items()  # no scene is converted again for it
    (directory / "dataset.json").write_text(json.dumps({**described, "geometry": {"lens": "wide"}}))
    with pytest.raises(DatasetError, match=r"dataset\.json: its geometry has lens, only field_of_view"):
        quietly(directory)
