"""Try all that a CUDA device is needed for, and write down what to send back: one JSON file and one picture."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.image
import torch

from gqn.core.distributed import processes
from gqn.core.errors import Error
from gqn.core.extras import MissingExtra
from gqn.core.figure import Figure, save_png
from gqn.data.dataset import SceneDataset
from gqn.figures.curves import label
from gqn.studies.benchmarks.scaling import Task, measured, two_processes
from gqn.studies.benchmarks.training import Train, convolution_rate, preset
from gqn.training import checkpoint
from gqn.training.config import PRESETS

EXPECT = """\
Nothing here was ever run on a GPU: this run is the first of its kind, and a failure is a finding.
It takes about {minutes:.0f} minutes and sends nothing anywhere. What a step takes on a CPU stands in
docs/training.md, what `small` learned there in gqn/weights/shepard-metzler-7-small/README.md.
Send back {output} and {picture}, whatever they say."""


@dataclass(frozen=True)
class Check:
    """Try what needs a CUDA device: tests, speed, memory, a run that is killed and goes on, two processes."""

    data: Path
    """A dataset's folder of converted scenes."""
    device: str = "cuda"
    """cuda; or cpu, to try the check itself."""
    minutes: float = 10.0
    """How long preset `small` trains."""
    repeats: int = 10
    """Steps of which the fastest counts."""
    presets: tuple[str, ...] = ("quick", "small")
    """Presets of which to time a step, in float32 and in bfloat16."""
    compile: tuple[str, ...] = ("quick", "small")
    """Presets of which to time a compiled step too."""
    batches: tuple[int, ...] = (8, 16, 32, 64)
    """Scenes a step of `small`, of which the memory is measured."""
    output: Path = Path("gpu-check.json")
    """The JSON file; the picture lies beside it, as .png."""


def check_device(options: Check, repository: Path) -> dict[str, Any]:
    """Return what was found, by piece; a piece that fails says why, and the others go on.

    Args:
        repository: The checkout, whose tests and run-gqn.py are run.
    """
    pixels = SceneDataset(options.data, "train").pixels
    picture = options.output.with_suffix(".png")
    print(EXPECT.format(minutes=options.minutes + 15, output=options.output, picture=picture), flush=True)
    small = PRESETS["small"]
    task = Task(
        pixels,
        small.training.batch,
        small.model.generation_steps,
        activation_checkpointing=False,
        repeats=options.repeats,
        device=options.device,
    )
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        pieces: dict[str, Callable[[], Any]] = {
            "tests": lambda: run_tests(repository),
            "speed": lambda: speed(options),
            "memory_megabytes": lambda: {n: measured(replace(task, scenes=n))["megabytes"] for n in options.batches},
            "small": lambda: killed_and_resumed(options, repository, runs),
            "two_processes": lambda: in_two_processes(options, repository, runs, task),
        }
        report: dict[str, Any] = {name: tried(name, piece) for name, piece in pieces.items()}
        report["failed"] = [name for name, found in report.items() if "error" in found]
        figure = drawn(report, runs / "small/predictions.png")
    save_png(figure, picture)
    return report


def tried(name: str, piece: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a piece finds, or its error."""
    begun = time.monotonic()
    try:
        found = piece()
    except Exception as error:  # whatever a device that nobody has tried makes of it
        found = {"error": f"{type(error).__name__}: {error}"}
    print(f"{name}, {time.monotonic() - begun:.0f} s: {json.dumps(found)}", flush=True)
    return found


def run_tests(repository: Path) -> dict[str, Any]:
    """Run the tests that need a device, and return their last line. Raises Error where one fails."""
    if find_spec("pytest") is None:
        raise MissingExtra("pytest is not installed: pip install 'gqn[test]'")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
    return {"summary": finished(command, repository).strip().splitlines()[-1]}


def speed(options: Check) -> dict[str, Any]:
    """Return the figures of the presets' steps by precision, eager and compiled."""
    found = {}
    timed = Train(repeats=options.repeats, device=options.device, presets=options.presets, compile=options.compile)
    with processes(options.device) as group:
        pass  # it is alone, and needs no other from here on
    for dtype in (torch.float32, torch.bfloat16):
        rates = {"convolution": round(convolution_rate(group.device, dtype) / 1e9)}
        rows = {name: preset(name, timed, group, dtype is torch.bfloat16, rates) for name in options.presets}
        found[str(dtype).removeprefix("torch.")] = {"gflop_a_second": rates, **rows}
    return found


def killed_and_resumed(options: Check, repository: Path, runs: Path) -> dict[str, Any]:
    """Train preset `small`, kill it as soon as it has saved, let it go on to its end; return its evaluations."""
    command = [sys.executable, str(repository / "run-gqn.py")]
    begin = [
        *command,
        *training(options, runs, "small", steps=1_000_000),
        f"--minutes={options.minutes}",
        "--save-every=1",
    ]
    saved = runs / "small" / checkpoint.FILE
    with (runs / "log").open("w") as log:
        first = subprocess.Popen(begin, stdout=log, stderr=log)
        try:
            while first.poll() is None and not saved.exists():
                time.sleep(0.05)
        finally:
            first.kill()
            first.wait()
    if not saved.exists():
        raise Error(f"the run ended before it saved: {(runs / 'log').read_text()[-2000:]}")
    step = checkpoint.read(saved)["step"]
    finished([*command, f"--resume={saved.parent}", "--save-every=250"], repository)
    return {"killed_after_step": step, **json.loads((saved.parent / "metrics.json").read_text())}


def in_two_processes(options: Check, repository: Path, runs: Path, task: Task) -> dict[str, Any]:
    """Return what a second process costs, after a run of a few steps on two; nothing where there is one device."""
    if options.device == "cuda" and torch.cuda.device_count() < 2:
        return {"left_out": "there is one CUDA device"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    several = [*training(options, runs, "two", steps=4), "--eval-scenes=8"]
    finished([*torchrun, str(repository / "run-gqn.py"), *several], repository)
    return two_processes(task)


def training(options: Check, runs: Path, name: str, steps: int) -> list[str]:
    """Return the options of run-gqn.py for a run of preset `small`."""
    workers = 4 if options.device == "cuda" else 0
    given = {
        "data": options.data.resolve(),
        "runs": runs,
        "name": name,
        "device": options.device,
        "workers": workers,
        "steps": steps,
    }
    return ["--preset=small", *(f"--{option}={value}" for option, value in given.items())]


def finished(command: list[str], folder: Path) -> str:
    """Return what a command prints. Raises Error with the end of it where it fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        told = re.sub(r".*\r", "", done.stdout)  # progress bars
        raise Error(f"{' '.join(command[1:4])} ended with {done.returncode}: {told[-2000:]}")
    return done.stdout


def drawn(report: dict[str, Any], predictions: Path) -> Figure:
    """Draw the pieces that did not fail: seconds a step, memory, the context gain over time, predictions."""
    figure = Figure(figsize=(11, 8), dpi=110, layout="constrained")
    steps, memory, gain, shown = figure.subplots(2, 2).flat
    rows = {
        f"{name}, {dtype}{', compiled' if row is not found else ''}": row["seconds_a_step"]
        for dtype, rates in report["speed"].items()
        if dtype != "error"
        for name, found in rates.items()
        if name != "gflop_a_second"
        for row in (found, found.get("compiled"))
        if row
    }
    steps.barh(list(rows), list(rows.values()))
    label(steps, "seconds a step", "")
    megabytes = {} if "error" in report["memory_megabytes"] else report["memory_megabytes"]
    memory.plot(list(megabytes), list(megabytes.values()), "o-")
    label(memory, "scenes a step of `small`", "MB")
    history = report["small"].get("history", [])
    gains = [found["tasks"]["render"]["context_gain_db"] for found in history]
    gain.plot([found["seconds"] / 60 for found in history], gains, "o-")
    label(gain, "minutes of `small`", "context gain (dB)")
    shown.axis("off")
    if predictions.exists():
        shown.imshow(matplotlib.image.imread(predictions))
    figure.suptitle(f"failed: {', '.join(report['failed'])}" if report["failed"] else "all pieces worked", fontsize=9)
    return figure
