"""Record files that several tests share: small ones of our own, the genuine one, and those of TensorFlow."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a worker has a core, and so has a process that it starts; torch reads this once

import numpy as np
import pytest
import torch
from front_door import empty_pictures

from gqn.data.convert import convert
from gqn.data.dataset import DATASETS, record_file_name
from gqn.data.generate import generate
from gqn.data.tfrecord import encode_jpeg, encode_scene, write_records

REPOSITORY = Path(__file__).parent.parent
GENUINE = REPOSITORY.parent / "shared/data/shepard_metzler_5_parts/train/001-of-900.tfrecord"
RecordWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def genuine() -> Path:
    """The record file of DeepMind's that holds one scene; it lies outside the repository."""
    if not GENUINE.is_file():
        pytest.skip(f"no genuine scene at {GENUINE}")
    return GENUINE


def small_scene(number: int, pixels: int = 8, views: int = 2) -> bytes:
    """A record that can be told from others: grey frames of brightness `number`, and x = `number`."""
    cameras = np.zeros((views, 5), np.float32)
    cameras[:, 0] = number
    return encode_scene([encode_jpeg(np.full((pixels, pixels, 3), number, np.uint8))] * views, cameras)


@pytest.fixture
def small_dataset(tmp_path: Path) -> RecordWriter:
    """Writes a dataset `small` of 8 pixels and 2 views: a record file of each split for each range of scene numbers."""

    def write(*, name: str = "small", **splits: list[range]) -> Path:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "dataset.json").write_text(json.dumps({"name": "small", "pixels": 8, "views": 2}))
        for split, ranges in splits.items():
            (directory / split).mkdir(exist_ok=True)
            for number, scenes in enumerate(ranges, 1):
                path = directory / split / record_file_name(number, len(ranges))
                write_records(path, (small_scene(scene) for scene in scenes))
        return directory

    return write


class TensorFlowFiles:
    """Files that TensorFlow wrote (`theirs`) or was given (`ours`), and what it reads in each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.datasets = {name: root / "theirs" / name for name in DATASETS}
        self.theirs = [
            self.datasets[name] / "train" / record_file_name(1, info.files["train"]) for name, info in DATASETS.items()
        ]
        self.zipped = self.datasets["jaco"] / "test" / f"{record_file_name(1, 400)}.gz"
        self.ours = [root / "ours" / "plain", root / "ours" / "zipped"]
        self.our_cameras = np.random.default_rng(0).normal(size=(2, 15, 5)).astype(np.float32)
        self.genuine = root / "genuine.tfrecord"
        self.sizes = (32, 100)  # pixels that the first of `theirs` is brought to

    def seen(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """frames uint8 (scenes, views, 3, h, w) and cameras float32 (scenes, views, 5) by TensorFlow."""
        with np.load(f"{path}.npz") as arrays:
            return arrays["frames"].transpose(0, 1, 4, 2, 3), arrays["cameras"]

    def resized(self, path: Path, size: int) -> np.ndarray:
        """frames float32 (scenes x views, 3, size, size) of 0 to 1 by TensorFlow."""
        with np.load(f"{path}.{size}.npz") as arrays:
            return arrays["frames"].transpose(0, 3, 1, 2)


@pytest.fixture(scope="session")
def tensorflow_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorFlowFiles]:
    """One run of TensorFlow, which crashes beside some libraries that other tests load, in a process of its own."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    files = TensorFlowFiles(tmp_path_factory.mktemp("tensorflow"))
    kind = {name: {"pixels": info.pixels, "views": info.views} for name, info in DATASETS.items()}
    write = [
        {"path": str(path), "scenes": 1 if name == "mazes" else 3, "gzip": False, **kind[name]}
        for name, path in zip(DATASETS, files.theirs, strict=True)
    ]
    write.append({"path": str(files.zipped), "scenes": 2, "gzip": True, **kind["jaco"]})
    read = [{name: value for name, value in job.items() if name != "scenes"} for job in write]
    (files.root / "ours").mkdir()
    random = np.random.default_rng(0)
    for path in files.ours:
        zipped = path.name == "zipped"
        frames = random.integers(0, 256, (2, 15, 64, 64, 3), np.uint8)
        jpegs = [[encode_jpeg(frame) for frame in scene] for scene in frames]
        records = [encode_scene(scene, cameras) for scene, cameras in zip(jpegs, files.our_cameras, strict=True)]
        write_records(path, records, gzip=zipped)
        read.append({"path": str(path), "gzip": zipped, **kind["shepard_metzler_5_parts"]})
    if GENUINE.is_file():
        shutil.copy(GENUINE, files.genuine)
        read.append({"path": str(files.genuine), "gzip": False, **kind["shepard_metzler_5_parts"]})
    jobs = files.root / "jobs.json"
    resize = [{"path": str(files.theirs[0]), "size": size} for size in files.sizes]
    jobs.write_text(json.dumps({"write": write, "read": read, "resize": resize}))
    script = Path(__file__).with_name("tensorflow_process.py")
    run = subprocess.run([sys.executable, script, jobs], capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    yield files
    shutil.rmtree(files.root)  # not kept for the next runs, as pytest would: the frames are many


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted dataset of 24 training and 5 test scenes of 16 pixels."""
    folder = tmp_path_factory.mktemp("data")
    dataset = generate("shepard_metzler_5_parts", folder, 24, seed=0, test_scenes=5, size=16, workers=1, progress=False)
    convert(dataset, 8, workers=1, progress=False)
    return dataset


@pytest.fixture(autouse=True)
def pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is trained in the tests' process leaves pictures only where a test has that mark."""
    with nullcontext() if request.node.get_closest_marker("pictures") else empty_pictures():
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=50, help="random command lines, kills, and a fifth of random calls")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
