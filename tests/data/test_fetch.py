"""Record files fetched from a web server, a fake of Google's bucket and a folder: resumed, checked, converted."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gcsfs.retry
import pytest
from conftest import REPOSITORY, RecordWriter
from front_door import Script, run_script
from store_server import StoreServer
from test_crash import contents, environment

from gqn.data import convert as conversion
from gqn.data import fetch as fetching
from gqn.data.convert import Report, convert
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.fetch import Fetch

SCRIPT = REPOSITORY / "scripts/tfrecord-converter.py"


@pytest.fixture
def store(small_dataset: RecordWriter, tmp_path: Path) -> Path:
    """A folder as the bucket is: shepard_metzler_5_parts, in the small format, and stray files beside it."""
    directory = small_dataset(train=[range(30), range(30, 45), range(0)], test=[range(50, 62)])
    store = tmp_path / "store"
    store.mkdir()
    directory.rename(store / "small")
    (store / "small/train/.DS_Store").write_bytes(b"stray")
    (store / "small/train/3-of-3.tfrecord_.gstmp").write_bytes(b"stray")
    return store


@pytest.fixture
def server(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreServer]:
    monkeypatch.setattr(fetching, "BLOCK", 1000)  # the files have some 20,000 bytes
    monkeypatch.setattr(fetching, "WAIT", 0.01)
    with StoreServer(store) as server:
        yield server
        server.shutdown()


def fetched(directory: Path, source: str, **options) -> Report:
    names = {"files", "delete_records", "at_once"}
    fetch = Fetch(source, **{name: value for name, value in options.items() if name in names})
    rest = {name: value for name, value in options.items() if name not in names}
    return convert(directory / "small", 4, **{"workers": 1, "progress": False, "fetch": fetch, **rest})


def numbers(directory: Path, split: str = "train") -> list[int]:
    scenes = SceneDataset(directory / "small", split)
    return [int(scenes.scene(index)[1][0, 0]) for index in range(len(scenes))]


def sources(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    return {"file": f"file://{server.root}", "gs": "gs://gqn-dataset", "http": server.address}


@pytest.mark.parametrize("kind", ["file", "gs", "http"])
def test_a_source_that_lists_its_files(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = sources(server, monkeypatch)[kind]
    report = fetched(tmp_path / "here", source)
    assert (report.files, report.scenes) == (4, 57)
    assert numbers(tmp_path / "here") == list(range(45))
    assert numbers(tmp_path / "here", "test") == list(range(50, 62))
    records = contents(tmp_path / "here/small/train")
    stray = {".DS_Store", "3-of-3.tfrecord_.gstmp"}
    assert records.items() == {k: v for k, v in contents(server.root / "small/train").items() if k not in stray}.items()
    asked = len(server.requests)
    assert fetched(tmp_path / "here", source).files_done_before == 4
    assert len(server.requests) == asked


def test_a_web_server_that_lists_nothing_has_the_names_of_the_table(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lists = False
    name = "shepard_metzler_5_parts"
    theirs, ours = server.root / name, tmp_path / "here" / name
    for split, count in (("train", 900), ("test", 100)):
        (theirs / split).mkdir(parents=True)
        for number in (1, 2, 3):
            original = server.root / f"small/train/{number}-of-3.tfrecord"
            shutil.copy(original, theirs / split / f"{number:03}-of-{count}.tfrecord")
    ours.mkdir(parents=True)
    (ours / "dataset.json").write_text('{"name": "small", "pixels": 8, "views": 2}')
    report = convert(ours, 4, workers=1, progress=False, fetch=Fetch(server.address, files=2))
    assert (report.files, report.scenes) == (4, 90)
    assert {file.name for file in (ours / "train").iterdir()} == {"001-of-900.tfrecord", "002-of-900.tfrecord"}
    with pytest.raises(DatasetError, match=r"004-of-900.tfrecord: not there"):
        convert(ours, 4, workers=1, progress=False, fetch=Fetch(server.address, files=4))


@pytest.mark.parametrize(("kind", "budget"), [("gs", 9_300), ("http", 500), ("http", 9_300), ("http", 30_500)])
def test_interrupted_half_way_it_goes_on_where_it_was(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, budget: int
) -> None:
    source = sources(server, monkeypatch)[kind]
    monkeypatch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=lambda seconds: asyncio.sleep(0.01)))
    convert(server.root / "small", 4, workers=1, progress=False, output=tmp_path / "undisturbed")
    server.budget = budget
    with pytest.raises(DatasetError, match=r"-of-.\.tfrecord: no answer"):
        fetched(tmp_path / "here", source, at_once=2)
    there = sum(len(data) for name, data in contents(tmp_path / "here/small").items() if "tfrecord" in name)
    assert budget - 3 * 1000 < there <= budget
    server.budget = 10**12
    server.requests.clear()
    fetched(tmp_path / "here", source)
    whole = sum(len(data) for name, data in contents(server.root / "small").items() if name.endswith("tfrecord"))
    # Every byte that was there is not asked for again, and no block twice.
    assert max(Counter(server.requests).values()) == 1
    assert len(server.requests) <= (whole - there) / 1000 + 4
    assert not list((tmp_path / "here").rglob("*.partial"))
    assert contents(tmp_path / "here/small/torch") == contents(tmp_path / "undisturbed/small/torch")


@pytest.mark.parametrize("kind", ["gs", "http"])
def test_a_file_that_arrives_damaged_is_refused(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = sources(server, monkeypatch)[kind]
    server.corrupt.add("2-of-3.tfrecord")
    checksum = {"gs": "CRC32C", "http": "MD5"}[kind]
    with pytest.raises(DatasetError, match=f"2-of-3.tfrecord: arrives damaged: another {checksum} than the store's"):
        fetched(tmp_path / "here", source)
    assert not list((tmp_path / "here/small/train").glob("2-of-3.tfrecord*"))
    server.corrupt.clear()
    fetched(tmp_path / "here", source)
    assert numbers(tmp_path / "here") == list(range(45))


def test_records_are_removed_once_their_shards_are_verified(store: Path, tmp_path: Path) -> None:
    damaged = store / "small/train/2-of-3.tfrecord"
    whole = bytearray(damaged.read_bytes())
    whole[300] ^= 1
    damaged.write_bytes(whole)
    source, here = f"file://{store}", tmp_path / "here"
    for _ in range(2):
        report = fetched(here, source, delete_records=True, allow_damaged=True, workers=1)
        assert [path.name for path, _ in report.damages] == ["2-of-3.tfrecord"]
        assert [file.name for file in here.rglob("*.tfrecord")] == ["2-of-3.tfrecord"]
    assert numbers(here) == [*range(30), *range(31, 45)]
    assert report.files == 1
    # Those that were not fetched are none of its business.
    shutil.copytree(store / "small/train", tmp_path / "own/small/train", dirs_exist_ok=True)
    (store / "small/train/1-of-3.tfrecord").unlink()
    fetched(tmp_path / "own", source, delete_records=True, allow_damaged=True)
    assert (tmp_path / "own/small/train/1-of-3.tfrecord").exists()


def test_a_record_whose_shards_do_not_hold_it_stays(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_file = conversion.convert_file

    def careless(job):
        file = convert_file(job)
        for shard in file.shards[1:2]:
            data = bytearray((job.folder / shard.name).read_bytes())
            data[data.index(b"\xff\xd8\xff") + 300] ^= 1
            (job.folder / shard.name).write_bytes(data)
        return file

    monkeypatch.setattr(conversion, "convert_file", careless)
    with pytest.raises(DatasetError, match=r"0001.pt: does not hold what .*\.tfrecord does"):
        fetched(tmp_path / "here", f"file://{store}", delete_records=True)
    assert len(list((tmp_path / "here").rglob("*.tfrecord"))) >= 3


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sources(server, monkeypatch)["gs"]
    room = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(conversion, "disk_usage", lambda path: room)
    with pytest.raises(DatasetError, match=r"0.00 GB needed, 0.00 GB free: take fewer --files, --delete-records"):
        fetched(tmp_path / "here", source, progress=True)
    assert [name for name, _ in server.requests] == ["dataset.json"]
    assert f"{source}/small: 4 files, 0.00 GB to fetch; 0.00 GB needed of 0.00 free" in capsys.readouterr().out


def test_what_is_not_there_is_named(server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(server.root / "small")
    for kind, source in sources(server, monkeypatch).items():
        with pytest.raises(DatasetError, match="small: no dataset.json there, and not one of DeepMind's names"):
            fetched(tmp_path / kind, source)
    for source in ("nothing://x", "ftp-x://y"):
        with pytest.raises(DatasetError, match="no gs://, http://, https:// or file:// address"):
            fetched(tmp_path / "x", source)
    with pytest.raises(DatasetError, match="mazes: no record files there"):
        convert(tmp_path / "mazes", 4, progress=False, fetch=Fetch(f"file://{tmp_path}/none"))


def test_a_source_without_the_dataset_is_refused_although_record_files_are_here(store: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(store, here)
    for _ in range(2):  # converted or not
        done = run_script(SCRIPT, here, "small", "--batch", "4", "--fetch", "--source", "file:///nope")
        assert done.returncode == 1
        wanted = "file:///nope/small: no record files there: check --source and the dataset's name"
        assert done.stderr == f"tfrecord-converter: {wanted}\n"
        convert(here / "small", 4, workers=1, progress=False)
    with pytest.raises(DatasetError, match="no record files there"):
        convert(here / "small", 4, progress=False, splits=["test"], fetch=Fetch("file:///nope"))


def test_data_sh_fetches_through_a_kill(server: StoreServer, tmp_path: Path) -> None:
    shutil.rmtree(server.root / "small/train")
    (server.root / "small/train").mkdir()
    for number in range(1, 41):
        shutil.copy(server.root / "small/test/1-of-1.tfrecord", server.root / f"small/train/{number:02}-of-40.tfrecord")
    options = ["--fetch", "--workers", "1", "--source", "gs://gqn-dataset", "--files", "39", "--delete-records"]
    settings = {**environment(), "PYTHON": sys.executable, "STORAGE_EMULATOR_HOST": server.address}
    with Script(SCRIPT, tmp_path / "here", "small", "--batch", "4", *options, environment=settings) as run:
        while run.poll() is None and len(server.requests) < 12:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
    command = ["sh", str(REPOSITORY / "data.sh"), str(tmp_path / "here"), "4", "small", *options]
    again = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "gs://gqn-dataset/small: " in again.stdout
    assert numbers(tmp_path / "here") == list(range(50, 62)) * 39
    assert not list((tmp_path / "here").rglob("*.tfrecord*"))
    conversion = json.loads((tmp_path / "here/small/torch/conversion.json").read_text())
    assert conversion["splits"]["train"]["files"] == 39


@pytest.mark.parametrize("name", ["dataset.json", "train", "1-of-3.tfrecord"])
def test_a_server_that_sends_no_end_is_refused(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would fill the memory."""
    monkeypatch.setattr(fetching, "LONGEST_LISTING", 2**22)
    server.endless.add(name)
    began = time.monotonic()
    with pytest.raises(DatasetError, match=rf"{name}: (more than \d+ bytes come|the server does not tell its size)"):
        fetched(tmp_path / "here", server.address)
    assert time.monotonic() - began < 30
    assert not list((tmp_path / "here").rglob("*.tfrecord"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_body_ends_it_in_seconds(
    server: StoreServer, tmp_path: Path, number: signal.Signals
) -> None:
    server.stalls.add("2-of-3.tfrecord")
    options = ["--batch", "4", "--workers", "1", "--fetch", "--source", server.address]
    with Script(SCRIPT, tmp_path / "here", "small", *options) as run:
        assert server.stalled.wait(90)
        os.kill(run.pid, number)
        done = run.ended(20)
    assert done.returncode == 128 + number
    assert done.stderr.splitlines()[-1] == "tfrecord-converter: interrupted; run again to go on"
    assert "Traceback" not in done.stderr
    server.stalls.clear()
    fetched(tmp_path / "here", server.address)
    assert numbers(tmp_path / "here") == list(range(45))
