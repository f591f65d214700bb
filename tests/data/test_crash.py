"""Conversions that are killed, that run out of room, that lose their source or that meet another one."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, RecordWriter, small_scene
from front_door import Script

from gqn.data import convert as conversion
from gqn.data import plan
from gqn.data.convert import convert
from gqn.data.dataset import DatasetError, read_index
from gqn.data.tfrecord import write_records

SCRIPT = REPOSITORY / "scripts/tfrecord-converter.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def quietly(directory: Path, **options):
    return convert(directory, 3, **{"workers": 1, "progress": False, **options})


@pytest.fixture
def dataset(small_dataset: RecordWriter) -> Path:
    """Three splits' worth of files, one of them damaged, and one empty."""
    directory = small_dataset(train=[range(40), range(7), range(0), range(60)], test=[range(31), range(2)])
    whole = bytearray((directory / "train/2-of-4.tfrecord").read_bytes())
    whole[300] ^= 1
    (directory / "train/2-of-4.tfrecord").write_bytes(whole)
    return directory


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_kills_leave_no_trace(dataset: Path, fuzz: int) -> None:
    """As many as --fuzz says."""
    directory = dataset
    quietly(directory, allow_damaged=True)
    undisturbed = contents(directory / "torch")
    assert {"train/index.json", "test/index.json", "conversion.json", "train/4-of-4.0019.pt"} < undisturbed.keys()
    shutil.rmtree(directory / "torch")
    (directory / "train/2-of-4.tfrecord").rename(directory / "damaged")
    with Script(REPOSITORY / "tests/kill_process.py", directory, fuzz, 0) as kills:
        run = kills.ended(300 + 30 * fuzz)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == fuzz
    (directory / "damaged").rename(directory / "train/2-of-4.tfrecord")
    quietly(directory, allow_damaged=True)
    assert contents(directory / "torch") == undisturbed


def test_parts_make_the_same_as_one_run(dataset: Path) -> None:
    quietly(dataset, allow_damaged=True)
    whole = contents(dataset / "torch")
    shutil.rmtree(dataset / "torch")
    for part in (3, 1):
        report = quietly(dataset, share=(part, 3), allow_damaged=True)
        assert report.notes[-1] == "small: the index is written when the other parts of 3 are done"
        assert not list((dataset / "torch").rglob("index.json"))
    quietly(dataset, share=(2, 3), allow_damaged=True)
    parts = contents(dataset / "torch")
    assert {name: data for name, data in parts.items() if ".lock" not in name} == {
        name: data for name, data in whole.items() if ".lock" not in name
    }
    # A shard that is lost is the business of the part that has its record file, and of a run alone.
    (dataset / "torch/train/4-of-4.0003.pt").unlink()
    assert quietly(dataset, share=(2, 3), allow_damaged=True).files == 1  # the damaged one is tried again
    assert "4-of-4.tfrecord" in (dataset / "torch/train/index.json").read_text()
    assert quietly(dataset, share=(1, 3), allow_damaged=True).files == 1
    assert contents(dataset / "torch") == parts
    assert quietly(dataset, share=(2, 7), allow_damaged=True).files_done_before == 1
    quietly(dataset, allow_damaged=True)
    assert contents(dataset / "torch").keys() - parts.keys() == {".lock-2-of-7"}
    for wrong in ((0, 3), (4, 3)):
        with pytest.raises(DatasetError, match=f"part {wrong[0]} of 3: must be from 1 to 3"):
            quietly(dataset, share=wrong)


def test_torchruns_processes_share_the_work(
    small_dataset: RecordWriter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = small_dataset(train=[range(5), range(5, 9), range(9, 20)])
    command = [str(SCRIPT), str(directory.parent), "small", "--batch", "4", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        assert not (directory / "torch/train/index.json").exists()
        monkeypatch.setenv("RANK", str(rank))
        runpy.run_path(str(SCRIPT), run_name="__main__")
        assert "(record files: 1 converted, 0 done before)" in capsys.readouterr().out
    files = read_index(directory / "torch/train/index.json").files
    assert [(file.name, file.records) for file in files] == [
        ("1-of-3.tfrecord", 5),
        ("2-of-3.tfrecord", 4),
        ("3-of-3.tfrecord", 11),
    ]


def test_another_batch_in_parts_leaves_nothing_of_the_old(dataset: Path) -> None:
    quietly(dataset, allow_damaged=True)
    for part in (1, 2):
        convert(dataset, 5, workers=1, progress=False, share=(part, 2), allow_damaged=True)
    index = read_index(dataset / "torch/train/index.json")
    listed = {shard.name for file in index.files for shard in file.shards}
    assert {file.name for file in (dataset / "torch/train").glob("*.pt")} == listed
    assert index.batch == 5


def test_another_run_at_work_is_left_alone(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PATIENCE", 0.2)
    started, go_on = threading.Event(), threading.Event()
    convert_file = conversion.convert_file

    def slowly(job):
        started.set()
        assert go_on.wait(60)
        return convert_file(job)

    monkeypatch.setattr(conversion, "convert_file", slowly)
    first = threading.Thread(target=quietly, args=(dataset,), kwargs={"allow_damaged": True})
    first.start()
    assert started.wait(60)
    for share in ((1, 1), (1, 2)):
        with pytest.raises(DatasetError, match="torch: another run is converting to it: wait until it ends"):
            quietly(dataset, share=share)
    go_on.set()
    first.join()
    monkeypatch.undo()
    done = contents(dataset / "torch")
    quietly(dataset, allow_damaged=True)
    assert contents(dataset / "torch") == done


def assert_one_line(run: subprocess.CompletedProcess[str], *parts: str) -> None:
    line = run.stderr.splitlines()[-1]
    assert run.returncode == 1, run.stderr
    assert line.startswith("tfrecord-converter: ")
    assert all(part in line for part in parts), line
    assert "Traceback" not in run.stderr


def mounted(tmp_path: Path, options: str, command: str) -> list[str]:
    """A shell command with a small disk at tmp_path/disk, of its own namespace; skips where that is not allowed."""
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o {options} none '{tmp_path}/disk'"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "sh", "-c", mount]).returncode:
        pytest.skip("may not mount a disk here")
    return ["unshare", "-rm", "sh", "-c", f"{mount} && {command}"]


def test_a_full_disk_is_one_line(small_dataset: RecordWriter, tmp_path: Path) -> None:
    directory = small_dataset(train=[range(30), range(200)])
    write_records(directory / "train/1-of-2.tfrecord", [small_scene(1, pixels=8)] * 3000)
    convert_it = f"'{sys.executable}' '{SCRIPT}' '{tmp_path}' small --batch 100 --workers 1 --output '{tmp_path}/disk'"
    after = f"{convert_it}; code=$?; cp -r '{tmp_path}/disk' '{tmp_path}/copy'; exit $code"
    run = subprocess.run(mounted(tmp_path, "size=512k", after), env=environment(), capture_output=True, text=True)
    assert_one_line(run, "No space left on device", f"{tmp_path}/disk/small/torch/train/1-of-2.00")
    left = tmp_path / "copy/small/torch/train"
    listed = {shard.name for file in read_index(left / "index.json").files for shard in file.shards}
    assert {file.name for file in left.iterdir()} == {"index.json", *listed}
    assert not any(name.startswith("1-of-2") for name in listed)


def test_a_read_only_target_is_one_line(small_dataset: RecordWriter, tmp_path: Path) -> None:
    small_dataset(train=[range(3)])
    convert_it = f"'{sys.executable}' '{SCRIPT}' '{tmp_path}' small --batch 100 --workers 1 --output '{tmp_path}/disk'"
    run = subprocess.run(mounted(tmp_path, "ro", convert_it), env=environment(), capture_output=True, text=True)
    assert_one_line(run, "Read-only file system", f"{tmp_path}/disk/small")


def test_a_source_that_vanishes_is_one_line(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert_file = conversion.convert_file

    def vanishing(job):
        job.source.unlink()
        return convert_file(job)

    monkeypatch.setattr(conversion, "convert_file", vanishing)
    with pytest.raises(OSError, match="No such file or directory: .*1-of-"):
        quietly(dataset)
    index = read_index(dataset / "torch/train/index.json")
    assert index.files == ()


@pytest.mark.parametrize("moment", [0.2, 1.2])
def test_ctrl_c_while_workers_start_is_quiet(small_dataset: RecordWriter, moment: float) -> None:
    directory = small_dataset(train=[range(2)] * 8)
    index = directory / "torch/train/index.json"
    with Script(SCRIPT, directory.parent, "small", "--batch", "100", "--workers", "2") as run:
        while run.poll() is None and not index.exists():
            time.sleep(0.01)
        time.sleep(moment)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of them
        done = run.ended()
    told = done.stderr
    assert "Traceback" not in told, told
    assert done.returncode in (0, 130)
    if done.returncode:
        assert told.splitlines()[-1] == "tfrecord-converter: interrupted; run again to go on"
    assert json.loads(index.read_text())["dataset"] == "small"


def test_workers_keep_the_lock_of_a_killed_run(small_dataset: RecordWriter) -> None:
    directory = small_dataset(train=[range(2)] * 4)
    for number in range(1, 5):
        write_records(directory / f"train/{number}-of-4.tfrecord", [small_scene(number)] * 1000)
    with Script(SCRIPT, directory.parent, "small", "--batch", "3", "--workers", "2") as run:
        while run.poll() is None and len(list((directory / "torch/train").glob("*.pt"))) < 5:
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
    convert(directory, 50, workers=1, progress=False)
    index = read_index(directory / "torch/train/index.json")
    listed = {shard.name for file in index.files for shard in file.shards}
    assert {file.name for file in (directory / "torch/train").iterdir()} == {"index.json", *listed}
    assert index.batch == 50
