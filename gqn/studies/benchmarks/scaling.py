"""Many processes and large batches: what a second process costs, the memory of a step, what many GPUs would do."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from gqn.core.camera import SHEPARD_METZLER
from gqn.core.distributed import Processes, processes
from gqn.core.files import write_json
from gqn.data.batches import TrainingBatches
from gqn.data.convert import convert
from gqn.data.dataset import OPEN_SHARDS, SceneDataset
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.scenes import FAMILIES
from gqn.studies.benchmarks.timing import CPU, Step, Work, fastest, operations, random_batch
from gqn.training.config import PRESETS, Config
from gqn.training.setup import flat_network, resolved


@dataclass(frozen=True)
class Scaling:
    """Measure what a second process costs and what memory a step takes; compute what many GPUs would do."""

    parts: tuple[Literal["two_processes", "memory", "computed", "store"], ...] = (
        "two_processes",
        "memory",
        "computed",
        "store",
    )
    """Parts of the report: what a second process costs, a step's memory, many GPUs, and a large store beside them."""
    repeats: int = 5
    """Steps of which the fastest counts."""
    batches: tuple[int, ...] = (4, 8, 16)
    """Scenes a step, of which the memory is measured."""
    lengths: tuple[int, ...] = (4, 8, 12)
    """Steps L of the generator, of which the memory is measured."""
    pixels: int = 64
    """Height and width of the frames."""
    device: str = "cpu"
    """cpu or cuda, of what is measured; two processes need two CUDA devices."""
    gpu_tflops: float = 200.0
    """Assumed rate of one GPU, in TFLOP/s: half of what an H100 gives in a large bfloat16 product."""
    link_gbytes: float = 150.0
    """Assumed rate at which gradients travel between the GPUs of a machine, in GB/s."""
    network_gbytes: float = 25.0
    """Assumed rate between machines of 8 GPUs each, in GB/s."""
    terabytes: float = 100.0
    """Size of a store of JPEGs of which to compute what the loader does."""
    shard: int = 10_000
    """Scenes of a shard of that store."""
    output: Path | None = None
    """A JSON file to write the figures to."""


@dataclass(frozen=True)
class Task:
    """Measurement that a process of its own makes: steps of preset `small`."""

    pixels: int
    scenes: int
    length: int
    activation_checkpointing: bool
    repeats: int
    device: str


def measure_scaling(options: Scaling) -> dict[str, Any]:
    """Return the figures of many processes and large batches."""
    small = PRESETS["small"]
    task = Task(
        options.pixels,
        small.training.batch // 2,
        small.model.generation_steps,
        activation_checkpointing=False,
        repeats=options.repeats,
        device=options.device,
    )
    report: dict[str, Any] = {}
    if "two_processes" in options.parts:
        report["two_processes"] = two_processes(task)
        print(f"two processes, one thread each: {report['two_processes']}", flush=True)
    if "memory" in options.parts:
        report["memory_megabytes"] = memory(task, options)
    if "computed" in options.parts:
        report["assumed"] = {name: getattr(options, name) for name in ("gpu_tflops", "link_gbytes", "network_gbytes")}
        report["computed"] = [row for name in ("paper", "best") for row in computed(name, options)]
        print(json.dumps(report["computed"], indent=2), flush=True)
    if "store" in options.parts:
        report["store"] = store(options, report.get("computed", []))
        print(json.dumps(report["store"], indent=2))
    return report


def memory(task: Task, options: Scaling) -> list[dict[str, Any]]:
    """Return the memory of steps by scenes and by L, with and without activation checkpointing."""
    rows = []
    for again in (False, True):
        for scenes, length in [
            *((scenes, task.length) for scenes in options.batches),
            *((options.batches[0], length) for length in options.lengths if length != task.length),
        ]:
            asked = replace(task, scenes=scenes, length=length, activation_checkpointing=again, repeats=1)
            megabytes = measured(asked)["megabytes"]
            rows.append({"scenes": scenes, "L": length, "activation_checkpointing": again, "megabytes": megabytes})
            print(rows[-1], flush=True)
    return rows


def two_processes(task: Task) -> dict[str, float]:
    """Return what a second process costs: each works on the same number of scenes as one alone."""
    one, two = (measured(task, count)["seconds"] for count in (1, 2))
    return {
        "scenes_a_process": task.scenes,
        "seconds_alone": round(one, 3),
        "seconds_of_two": round(two, 3),
        "efficiency": round(one / two, 3),
    }


def computed(preset: str, options: Scaling) -> list[dict[str, Any]]:
    """Return the seconds of a step whose scenes are shared out, and the share of work in it, from operations and bytes.

    The preset's batch over the 8 GPUs of a machine, over 64 in eight machines, and eight times the batch over those,
    each rounded up as the trainer does. Every GPU works on its scenes, and once on the weights.
    Gradients, in float32, go round a ring of all GPUs, which is as fast as its slowest link, after all work is done:
    what overlaps makes it better.
    """
    config = PRESETS[preset]
    settings = config.training
    once, each = operations(config, Work(options.pixels, 1, sum(settings.context_views) // 2, settings.queries))
    weights = sum(weight.numel() for weight in flat_network(config.model, options.pixels, SHEPARD_METZLER).parameters())
    saved = checkpoint_bytes(config, options.pixels)
    rows = []
    for gpus, batch in ((8, settings.batch), (64, settings.batch), (64, 8 * settings.batch)):
        asked = replace(config, training=replace(settings, batch=batch))
        taken = resolved(asked, preset, Processes(1, gpus, CPU)).training.batch  # one that the GPUs divide
        compute = (once + each * taken / gpus) / (options.gpu_tflops * 1e12)
        rate = (options.link_gbytes if gpus <= 8 else options.network_gbytes) * 1e9
        exchange = 2 * (gpus - 1) / gpus * 4 * weights / rate
        row = {
            "preset": preset,
            "gpus": gpus,
            "batch": taken,
            "gflop_a_scene": round(each / 1e9, 1),
            "gflop_once": round(once / 1e9, 1),
            "weights_millions": round(weights / 1e6, 1),
            "checkpoint_megabytes": round(saved / 1e6),
            "seconds_of_work": round(compute, 5),
            "seconds_of_exchange": round(exchange, 5),
            "efficiency": round(compute / (compute + exchange), 3),
            "scenes_a_second": round(taken / (compute + exchange)),
            "hours_of_all_steps": round((compute + exchange) * settings.steps / 3600, 1),
        }
        rows.append(row)
    return rows


def checkpoint_bytes(config: Config, pixels: int) -> int:
    """Return the bytes of a checkpoint's tensors: the weights, their moving average and the optimizer's state."""
    step = Step(config, random_batch(Work(pixels, 1, 1, 1)), bfloat16=True)
    step.learn()
    states = step.learner.optimizer.state_dict()["state"].values()
    tensors = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    for network in (step.network, step.learner.ema):
        tensors += network.state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def store(options: Scaling, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what one thread of the loader does, measured, and what a large store and many GPUs ask of it, computed.

    The scenes are of shepard_metzler_5_parts; each is read from a shard that is open, or from one that must be opened.

    Args:
        rows: of `computed`, whose steps take scenes; none where that is left out.
    """
    torch.set_num_threads(1)
    count, settings = 2 * OPEN_SHARDS, PRESETS["paper"].training
    with tempfile.TemporaryDirectory() as name:
        drawn = generate("shepard_metzler_5_parts", name, count, 0, test_scenes=0, workers=1, progress=False)

        def rate(shard: int) -> float:
            convert(drawn, shard, workers=1, progress=False)
            scenes = LabelledScenes(SceneDataset(drawn, "train"))
            views, queries = settings.context_views, settings.queries
            batches = TrainingBatches(scenes, batch=count, context_views=views, queries=queries, seed=0)
            return count / fastest(partial(batches.__getitem__, 0), options.repeats, clock=time.process_time)

        opened = rate(count)
        each = sum(file.stat().st_size for file in drawn.glob("torch/train/*.pt")) / count
        to_open = rate(1)
        index = (drawn / "torch/train/index.json").stat().st_size / count
    held = options.terabytes * 1e12 / each
    asked = (sum(settings.context_views) / 2 + settings.queries) / FAMILIES["shepard_metzler_5_parts"]().views
    needs = []
    for row in rows:
        asks = row["scenes_a_second"]
        needs.append(
            {
                **{key: row[key] for key in ("preset", "gpus", "batch")},
                "scenes_a_second": asks,
                "megabytes_a_second": round(asks * asked * each / 1e6, 1),
                "loader_cores_a_gpu": round(asks / to_open / row["gpus"], 2),
            }
        )
    return {
        "scenes_a_second_from_an_open_shard": round(opened),
        "scenes_a_second_from_a_shard_to_open": round(to_open),
        "bytes_a_scene": round(each),
        "terabytes": options.terabytes,
        "scenes_millions": round(held / 1e6),
        "shards": round(held / options.shard),
        "index_megabytes": round(index * held / options.shard / 1e6),
        "order_of_an_epoch_gigabytes": round(8 * held / 1e9, 1),
        "what_gpus_ask": needs,
    }


def measured(task: Task, count: int = 1) -> dict[str, float]:
    """Return the figures of a task by a process of its own, or by the first of several; each has one thread."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"] if count > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        command = [sys.executable, "-m", *launcher, __name__, json.dumps(asdict(task)), str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"a measurement of {task} failed:\n{done.stderr}")
        return json.loads(out.read_text())


def measure(task: Task, out: Path) -> None:
    """Write the seconds and the memory of a task's steps, as a process of its own."""
    torch.set_num_threads(1)
    small = PRESETS["small"]
    sizes = replace(small.model, generation_steps=task.length, activation_checkpointing=task.activation_checkpointing)
    with processes(task.device) as group:
        cuda, before = group.device.type == "cuda", resident("VmRSS")
        batch = random_batch(Work(task.pixels, task.scenes, 3, small.training.queries))
        step = Step(replace(small, model=sizes), batch, group, bfloat16=True)
        seconds = fastest(step.learn, task.repeats, group.device)
        memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident("VmHWM") - before
        if group.leads:
            write_json(out, {"seconds": seconds, "megabytes": round(memory)})


def resident(which: str) -> float:
    """Return megabytes of this process's memory, as Linux has it: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


if __name__ == "__main__":
    measure(Task(**json.loads(sys.argv[1])), Path(sys.argv[2]))
