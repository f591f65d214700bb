"""Time the data path by one thread: converting, beside TensorFlow and decoding alone; loading; two ways to store."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.extras import MissingExtra
from gqn.data.batches import Scenes, TrainingBatches
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset, dataset_info
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.shards import Job, convert_file
from gqn.data.tfrecord import decode_example, fill_frame, read_records, write_records
from gqn.studies.benchmarks.timing import CPU, Step, fastest
from gqn.training.config import PRESETS
from gqn.training.setup import computes_in_bfloat16

QUICK = PRESETS["quick"].training  # the fastest preset, which asks most of its batches


@dataclass(frozen=True)
class Data:
    """Time the data path by one thread: converting, beside TensorFlow and decoding alone; loading; two stores."""

    scenes: int = 400
    """Scenes of shepard_metzler_5_parts to draw and to read."""
    size: int = 64
    """Height and width of the frames."""
    repeats: int = 5
    """Runs of which the fastest counts."""
    large: int = 600
    """Millions of bytes of a record file of which the conversion's memory is measured."""
    output: Path | None = None
    """A JSON file to write the figures to."""


class Decoded:
    """Scenes from the alternative to JPEGs in the shards: frames uint8 (scenes, views, 3, h, w), mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self.shards = [torch.load(file, mmap=True, weights_only=True) for file in sorted(folder.glob("*.pt"))]
        self.count = len(self.shards[0]["frames"])  # of each but the last

    def __len__(self) -> int:
        return sum(len(shard["frames"]) for shard in self.shards)

    def observations(self, data: str) -> int:
        return self.shards[0]["cameras"].shape[1]

    def observe(self, data: str, scene: int, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        shard, row, views = self.shards[scene // self.count], scene % self.count, list(chosen)
        return shard["frames"][row][views].float() / 255, camera_vector(shard["cameras"][row][views])

    def answer(self, data: str, scene: int) -> None:
        return None


def time_data(options: Data, tensorflow_rate: Path) -> dict[str, Any]:
    """Return the figures of the data path.

    Args:
        tensorflow_rate: A script that prints the scenes a second of tf.data: FILE ... VIEWS REPEATS. It runs in a
            process of its own, which TensorFlow needs.
    """
    if find_spec("tensorflow") is None:
        raise MissingExtra("tensorflow is not installed: pip install 'gqn[tensorflow]'")
    report: dict[str, Any] = {"scenes": options.scenes, "size": options.size}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        family = "shepard_metzler_5_parts"
        directory = generate(family, folder, options.scenes, seed=0, test_scenes=0, size=options.size, progress=False)
        files = sorted((directory / "train").glob("*.tfrecord"))
        views = dataset_info(directory).views
        torch.set_num_threads(1)

        def rate(work: Callable[[], object]) -> float:
            return round(options.scenes / fastest(work, options.repeats), 1)

        (folder / "jpegs").mkdir()
        (folder / "decoded").mkdir()
        jobs = [Job(file, file.stat().st_size, folder / "jpegs", dataset_info(directory), 100) for file in files]
        tensorflow = [sys.executable, str(tensorflow_rate), *map(str, files), str(views), str(options.repeats)]
        told = subprocess.run(tensorflow, capture_output=True, text=True, check=True).stdout
        convert(directory, 100, workers=1, progress=False)
        scenes = LabelledScenes(SceneDataset(directory, "train"))
        report["scenes_a_second"] = rates = {
            "read, decode and write shards": rate(lambda: [convert_file(job) for job in jobs]),
            "read and decode": rate(
                lambda: [decoded_scene(r, options.size) for file in files for r in read_records(file)]
            ),
            "tf.data, read and decode": round(float(told), 1),
            "read, decode and write decoded shards": rate(
                lambda: write_decoded(files, folder / "decoded", options.size)
            ),
            "load from shards": rate_of_loading(scenes, options),
            "load from decoded shards": rate_of_loading(Decoded(folder / "decoded"), options),
        }
        report["bytes_a_scene"] = {
            kind: round(sum(file.stat().st_size for file in place) / options.scenes)
            for kind, place in (
                ("record files", files),
                ("shards", list((folder / "jpegs").iterdir())),
                ("decoded shards", list((folder / "decoded").iterdir())),
            )
        }
        report["memory"] = {
            "record file, MB": options.large,
            "most of the process, MB": converting_memory(files, folder, options),
            "most of one that only imports PyTorch, MB": memory("import torch"),
        }
        torch.set_num_threads(threads)
        consumed = steps_a_second(batches_of(scenes), options)
    converting = rates["read, decode and write shards"]
    loaded = rates["load from shards"] / QUICK.batch
    report["preset quick"] = {"steps_a_second": round(consumed, 2), "loader_batches_a_second": round(loaded, 1)}
    report["ratios"] = {
        "converting to tf.data": round(converting / rates["tf.data, read and decode"], 2),
        "converting to reading and decoding": round(converting / rates["read and decode"], 2),
        "loading to what preset quick consumes": round(loaded / consumed, 1),
    }
    for title in ("scenes_a_second", "bytes_a_scene", "memory", "preset quick", "ratios"):
        print(f"{title}:", *(f"  {what}: {value}" for what, value in report[title].items()), sep="\n")
    return report


def converting_memory(files: list[Path], folder: Path, options: Data) -> int:
    """Return the most memory, in MB, of a process that converts one large record file of the same records."""
    large = folder / "large"
    (large / "train").mkdir(parents=True)
    shutil.copy(files[0].parent.parent / "dataset.json", large)
    some = list(read_records(files[0]))
    count = int(options.large * 1e6 / sum(map(len, some))) + 1
    write_records(large / "train/1-of-1.tfrecord", (record for _ in range(count) for record in some))
    most = memory(f"from gqn.data.convert import convert; convert({json.dumps(str(large))}, 10000, workers=1)")
    shutil.rmtree(large)
    return most


# VmHWM and not rusage: rusage of a process includes the memory of the larger one that started it.
SAY = "; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def memory(program: str) -> int:
    """Return the most memory, in MB, that a Python program had resident. Linux only."""
    done = subprocess.run([sys.executable, "-c", program + SAY], capture_output=True, text=True, check=True)
    return round(int(done.stdout.split()[-1]) * 1024 / 1e6)


def batches_of(scenes: Scenes) -> TrainingBatches:
    """Return the batches of the preset `quick`."""
    return TrainingBatches(scenes, batch=QUICK.batch, context_views=QUICK.context_views, queries=QUICK.queries, seed=0)


def decoded_scene(record: bytes, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames (v, 3, h, w) and the cameras (v, 5) of a record."""
    scene = decode_example(record)
    frames = np.empty((len(scene["frames"]), size, size, 3), np.uint8)
    for frame, jpeg in zip(frames, scene["frames"], strict=True):
        fill_frame(jpeg, frame)
    return frames.transpose(0, 3, 1, 2), np.array(scene["cameras"], np.float32).reshape(-1, 5)


def write_decoded(files: list[Path], folder: Path, size: int) -> None:
    """Write shards of decoded frames."""
    for file in files:
        scenes = [decoded_scene(record, size) for record in read_records(file)]
        frames, cameras = (torch.from_numpy(np.stack(part)) for part in zip(*scenes, strict=True))
        torch.save({"frames": frames, "cameras": cameras}, folder / f"{file.stem}.pt")


def rate_of_loading(scenes: Scenes, options: Data) -> float:
    """Return the scenes a second that become batches of the preset `quick`, in the training process."""
    batches = batches_of(scenes)
    steps = max(1, options.scenes // batches.batch)
    best = fastest(lambda: [batches[step] for step in range(steps)], options.repeats)
    return round(steps * batches.batch / best, 1)


def steps_a_second(batches: TrainingBatches, options: Data) -> float:
    """Return the training steps a second of the preset `quick`, on a batch that is there already."""
    # The fewest context views: the least work, so the most batches a second.
    fewest = batches.context_views[0]
    batch = next(batches[step] for step in range(100) if batches[step].context.cameras.shape[1] == fewest)
    step = Step(PRESETS["quick"], batch, bfloat16=computes_in_bfloat16("auto", CPU))
    return 1 / fastest(step.learn, options.repeats)
