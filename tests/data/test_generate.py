"""Datasets of drawn scenes: the same bytes each time, what is missing and no more, and clear refusals."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gqn.core.camera import axes
from gqn.core.extras import MissingExtra
from gqn.data import generate as generation
from gqn.data.convert import convert
from gqn.data.dataset import TWINS, DatasetError, SceneDataset, dataset_info
from gqn.data.generate import generate
from gqn.data.survey import survey
from gqn.data.tfrecord import decode_example, decode_jpeg, read_records
from gqn.scenes import jaco
from gqn.scenes.shepard_metzler import ShepardMetzler

REPOSITORY = Path(__file__).parents[2]


def scenes_of(path: Path) -> list[dict[str, list]]:
    return [decode_example(record) for record in read_records(path)]


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
    labels = {name.replace(".tfrecord", ".labels.json") for name in records}
    assert alone.keys() == records | labels | {"dataset.json"}
    assert len(set(alone.values())) == 9
    other = files_of(small(tmp_path / "seed", seed=4))
    assert all(other[file] != alone[file] for file in alone)


def test_ctrl_c_drops_files_of_minutes(tmp_path: Path) -> None:
    script = str(REPOSITORY / "scripts/generate-scenes.py")
    command = [sys.executable, script, "mazes", str(tmp_path), "--scenes", "200", "--seed", "0", "--workers", "2"]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while run.poll() is None and len(list(tmp_path.glob("mazes/train/*.partial"))) < 2:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, told = run.communicate(timeout=20)
    assert run.returncode == 130
    assert told.splitlines()[-1] == "generate-scenes: interrupted; run again to go on"
    assert "Traceback" not in told
    assert not list(tmp_path.glob("mazes/*/*.tfrecord"))


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_records_hold_the_scenes(tmp_path: Path) -> None:
    folder = small(tmp_path, cameras="ring")
    info = dataset_info(folder)
    assert (info.name, info.pixels, info.views) == ("shepard_metzler_5_parts", 16, 3)
    description = json.loads((folder / "dataset.json").read_text())
    chosen = ShepardMetzler(parts=5, size=16, views=3, cameras="ring")
    assert description["options"] == json.loads(json.dumps(asdict(chosen)))
    scenes = [scene for file in sorted((folder / "train").glob("*.tfrecord")) for scene in scenes_of(file)]
    assert [len(scene["frames"]) for scene in scenes] == [3] * 5
    family = ShepardMetzler(size=16, views=3, cameras="ring")
    drawn = family.scene(np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0, 4))))
    np.testing.assert_array_equal(np.array(scenes[4]["cameras"], np.float32).reshape(-1, 5), drawn.cameras)
    read = np.stack([decode_jpeg(jpeg) for jpeg in scenes[4]["frames"]]).transpose(0, 2, 3, 1).astype(float)
    assert np.abs(read.mean(axis=(1, 2)) - drawn.frames.mean(axis=(1, 2))).max() < 3


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_rerun_writes_only_what_is_missing(tmp_path: Path) -> None:
    folder = small(tmp_path)
    before = files_of(folder)
    kept = [file for file in folder.rglob("*.tfrecord") if file.name != "2-of-3.tfrecord"]
    for file in kept:
        file.write_bytes(b"not touched")
    (folder / "train/2-of-3.tfrecord").unlink()
    (folder / "test/1-of-1.labels.json").unlink()
    kept = [file for file in kept if file.parent.name != "test"]  # its labels are gone: written again as a whole
    small(tmp_path, workers=2)
    assert (folder / "train/2-of-3.tfrecord").read_bytes() == before["train/2-of-3.tfrecord"]
    assert {file.read_bytes() for file in kept} == {b"not touched"}


@pytest.mark.usefixtures("_two_scenes_a_file")
def test_twins_stand_beside_the_test_scenes_and_may_come_later(tmp_path: Path) -> None:
    folder = small(tmp_path, test_scenes=3)
    before = files_of(folder)
    assert not (folder / "twins").exists()
    small(tmp_path, test_scenes=3, twins=True)
    after = files_of(folder)
    assert {name: data for name, data in after.items() if not name.startswith("twins/")} == before
    test, twins = (
        [scene for file in sorted((folder / split).glob("*.tfrecord")) for scene in scenes_of(file)]
        for split in ("test", "twins")
    )
    assert len(twins) == 3
    for scene, twin in zip(test, twins, strict=True):
        assert twin["cameras"] == scene["cameras"]
        assert twin["frames"] != scene["frames"]
    family = ShepardMetzler(size=16, views=3)
    streams = [np.random.default_rng(np.random.SeedSequence(3, spawn_key=(split, 2))) for split in (1, 2)]
    labels = json.loads((folder / "twins/2-of-2.labels.json").read_text())[0]
    assert labels == json.loads(json.dumps(family.scene(*streams).labels, default=lambda value: value.tolist()))
    convert(folder, 2, workers=1, progress=False)
    assert len(SceneDataset(folder, TWINS)) == 3
    assert survey(folder).keys() == {"train", "test", TWINS}


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


def test_says_what_is_not_installed_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gqn.scenes.kinova.find_spec", lambda name: None)
    monkeypatch.setattr("gqn.scenes.jaco._arm", jaco._arm.__wrapped__)  # compiled once, and perhaps before
    with pytest.raises(MissingExtra, match=r"pip install 'gqn\[worlds\]'"):
        generate("jaco", tmp_path / "never", 1, 0, workers=1, progress=False)
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
        f"seven/{name}"
        for name in (
            "dataset.json",
            "train/1-of-1.tfrecord",
            "train/1-of-1.labels.json",
            "test/1-of-1.tfrecord",
            "test/1-of-1.labels.json",
        )
    }
    with pytest.raises(SystemExit) as stopped:
        run("teapots")
    line = str(stopped.value.code)  # a text makes Python print it and exit with 1
    assert line.startswith("generate-scenes: no family of scenes 'teapots'")
    assert "\n" not in line


@pytest.mark.parametrize(("family", "sign"), [("rooms_ring_camera", 1), ("shepard_metzler_5_parts", -1)])
def test_the_yaw_is_recorded_as_genuine_data_have_it_and_read_as_the_library_has_it(
    family: str, sign: int, tmp_path: Path
) -> None:
    folder = generate(family, tmp_path, 1, seed=0, test_scenes=0, size=8, views=4, workers=1, progress=False)
    (scene,) = scenes_of(folder / "train/1-of-1.tfrecord")
    recorded = np.array(scene["cameras"], np.float32).reshape(-1, 5)
    yaw, pitch = recorded[:, 3], recorded[:, 4]
    forward = [np.cos(pitch) * np.cos(yaw), sign * np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
    distance = np.linalg.norm(recorded[:, :3], axis=1)
    np.testing.assert_allclose(np.stack(forward, axis=1) * distance[:, None], -recorded[:, :3], atol=1e-5)
    convert(folder, 1, workers=1, progress=False)
    read = SceneDataset(folder, "train").scene(0)[1].numpy()
    np.testing.assert_allclose(read[:, :3], -distance[:, None] * axes(read)[0], atol=1e-5)
