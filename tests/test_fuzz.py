"""Random command lines and random calls: each ends in success or in the library's own words, and in time.

In full: pytest tests/test_fuzz.py --fuzz 500.
"""

import copy
import json
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import REPOSITORY
from front_door import Script

import gqn
from gqn.core.errors import Error
from gqn.data.foreign import import_conversion

SEED = 0
DEADLINE = 60  # seconds of a call


def test_command_lines(tmp_path: Path, fuzz: int) -> None:
    (tmp_path / "lines").mkdir()
    with Script(REPOSITORY / "tests/fuzz_process.py", tmp_path / "lines", fuzz, SEED) as lines:
        run = lines.ended(60 + 30 * fuzz)
    assert run.returncode == 0, run.stderr
    *found, last = map(json.loads, run.stdout.splitlines())
    assert not found, json.dumps(found, indent=1)
    assert last["lines"] == fuzz
    assert last["succeeded"] > fuzz // 10


def calls(scenes: Path, folder: Path) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions, each with arguments that it takes."""
    dataset = gqn.SceneDataset(scenes, "train")
    network = gqn.GenerativeQueryNetwork(pixels=16, representation_channels=8, hidden=8, canvas=8, generation_steps=2)
    network.eval()
    context = gqn.Views(torch.rand(2, 3, 3, 16, 16), gqn.camera_vector(gqn.orbit(3, 30, 3)).expand(2, -1, -1))
    query = context.part(slice(1))
    batch = gqn.Batch({"vision": context}, {"render": query})
    cameras = np.zeros((2, 5), np.float32)

    def sense(**options: Any) -> None:
        gqn.RecursiveGQN().add_sense(**options)

    def task(**options: Any) -> None:
        copy.deepcopy(network).add_task(**options)

    return [
        (gqn.orbit, {"distance": 3.0, "elevation": 30.0, "count": 4}),
        (gqn.look_at, {"position": [1.0, 0.0, 0.0], "target": [0.0, 0.0, 0.0]}),
        (gqn.camera_vector, {"recorded": cameras}),
        (gqn.recorded_camera, {"vector": np.zeros((2, 7))}),
        (gqn.Views, {"frames": torch.rand(1, 2, 3, 8, 8), "cameras": torch.rand(1, 2, 7)}),
        (gqn.SceneDataset, {"directory": scenes, "split": "train", "fraction": 0.5, "size": 8}),
        (dataset.scene, {"index": 3, "views": [0, 1]}),
        (gqn.scene_labels, {"directory": scenes, "split": "test"}),
        (gqn.load, {"path": "shepard-metzler-7-small"}),
        (gqn.mean_image, {"scenes": gqn_scenes(dataset), "limit": 2}),
        (
            gqn.GenerativeQueryNetwork,
            {"pixels": 16, "representation": "tower", "representation_channels": 4, "hidden": 4},
        ),
        (network.encode, {"senses": context}),
        (network.sample, {"senses": context, "query": query.cameras, "samples": 1}),
        (gqn.predictions, {"network": network, "batch": batch, "shuffled": batch, "samples": 1, "seed": 0}),
        (gqn.canvases, {"network": network, "batch": batch, "seed": 0}),
        (
            gqn.flight,
            {"network": network, "context": context[:1], "recorded": gqn.orbit(3, 30, 3), "task": "", "samples": 2},
        ),
        (gqn.animation, {"frames": torch.rand(2, 3, 4, 4), "enlarged": 2, "milliseconds": 50}),
        (network.forward, {"batch": batch}),
        (gqn.Batch.of, {"context": context, "query": query}),
        (
            gqn.evaluate,
            {"network": network, "scenes": gqn_scenes(dataset), "context": 2, "samples": 1, "limit": 2, "seed": 0},
        ),
        (
            gqn.evaluation_batches,
            {"scenes": gqn_scenes(dataset), "batch": 2, "context": 2, "seed": 0, "limit": 3},
        ),
        (gqn.LabelledScenes, {"scenes": dataset, "labels": gqn.scene_labels(scenes, "train")}),
        (sense, {"name": "touch", "encoder": "vector", "frame": [16], "pose": 7, "channels": 8}),
        (
            task,
            {"name": "place", "head": "vector", "inputs": ["vision"], "target": [3], "data": "objects.0.position"},
        ),
        (gqn.Options, {"context": 3, "samples": 2, "importance": (1, 10), "limit": 5, "seed": 0}),
        (
            gqn.generate,
            {"family": "shepard_metzler_5_parts", "directory": folder / "drawn", "scenes": 1, "seed": 0, "size": 8}
            | {"views": 4, "workers": 1, "progress": False},
        ),
        (
            gqn.TrainingBatches,
            {"scenes": gqn_scenes(dataset), "batch": 2, "context_views": (1, 2), "queries": 1, "seed": 0},
        ),
        (gqn.Config, {"preset": "quick", "data": str(scenes), "fraction": 0.5, "seed": 1, "workers": 0}),
        (gqn.convert, {"directory": scenes, "batch": 8, "output": folder / "out", "workers": 1, "progress": False}),
        (import_conversion, {"source": folder / "none", "directory": folder / "imported", "progress": False}),
    ]


def gqn_scenes(dataset: gqn.SceneDataset) -> Any:
    from gqn.data.labelled_scenes import LabelledScenes

    return LabelledScenes(dataset)


WRONG = [
    *(
        None,
        True,
        -1,
        0,
        1,
        2**70,
        2.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "train",
        b"x",
        [],
        [1],
        {},
        (1, 2),
        (2, 1),
        object(),
    ),
    *(Path("nowhere"), np.zeros(3), np.zeros((2, 5)), np.zeros((0, 7)), np.int64(2), np.array(["a"], object)),
    *(torch.zeros(3), torch.zeros(2, 7), torch.zeros(2, 3, 7), torch.zeros(2, 3, 5, dtype=torch.int64), torch.zeros(0)),
    torch.zeros(2, 3, 3, 16, 16, dtype=torch.float64),
]


def test_calls(scenes: Path, tmp_path: Path, fuzz: int) -> None:
    chance, found, succeeded = random.Random(SEED), [], 0
    public = calls(scenes, tmp_path)
    for function, arguments in public:
        if function is not import_conversion:
            function(**arguments)  # nothing is wrong with these

    def late(*_: object) -> None:
        raise TimeoutError("a call passed its deadline")

    before = signal.signal(signal.SIGALRM, late)
    try:
        for _ in range(5 * fuzz):
            function, arguments = chance.choice(public)
            changed = dict(arguments)
            for name in chance.sample([*changed], chance.choice((0, 1, 1, 2)) if len(changed) > 1 else 1):
                changed[name] = chance.choice(WRONG)
            if chance.random() < 0.1 and function.__name__ not in ("Views", "forward"):
                del changed[chance.choice([*changed])]
            signal.alarm(DEADLINE)
            try:
                with warnings.catch_warnings(action="ignore"):
                    function(**changed)
                succeeded += 1
            except Error:
                pass
            except OSError as error:
                if error.filename is None:
                    found.append((function.__qualname__, changed, repr(error)))
            except Exception as error:
                found.append(
                    (function.__qualname__, {n: v for n, v in changed.items() if v is not arguments[n]}, repr(error))
                )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not found, "\n".join(f"{name}({changed}): {error}" for name, changed, error in found)
    assert succeeded > fuzz // 4
    assert not list(tmp_path.rglob("*.partial"))
