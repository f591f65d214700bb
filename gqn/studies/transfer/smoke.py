"""The whole transfer study at toy size: to see that everything runs, not what comes out of it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from gqn.data.convert import convert
from gqn.data.generate import generate
from gqn.scenes.arm import TASKS
from gqn.studies.runner import make, write_report
from gqn.studies.transfer.experiment import CONDITIONS, Experiment
from gqn.studies.transfer.protocol import Transfer
from gqn.training.config import PRESETS
from gqn.training.trainer import train

TINY: dict[str, Any] = {
    "representation": "tower",
    "representation_channels": 16,
    "hidden": 16,
    "canvas": 16,
    "generation_steps": 2,
}


def smoke(folder: Path) -> str:
    """Draw scenes, train a layer 1, make a run of every condition and task for two seeds, and return their tables."""
    data = generate(
        "jaco",
        folder,
        40,
        seed=0,
        test_scenes=8,
        views=5,
        size=16,
        moving=(1, 2, 3),
        walls="plain",
        workers=1,
        progress=False,
    )
    convert(data, 50, workers=1, progress=False)
    quick = PRESETS["quick"]
    layer_1 = train(
        replace(
            quick,
            data=str(data),
            runs=str(folder / "runs"),
            name="layer-1",
            model=replace(quick.model, **TINY),
            training=replace(quick.training, steps=4, batch=4, context_views=(1, 3), queries=1),
            evaluation=replace(quick.evaluation, eval_scenes=4, samples=2),
        )
    )
    experiment = Experiment(
        conditions={name: [1e-3] for name in CONDITIONS},
        tasks=list(TASKS),
        seeds=[0, 1],
        pauses=[0, 3, 6],
        batch=4,
        held_out=8,
        executed=1,
        second_steps=3,
        autoencoder_steps=3,
        compare=[["layer-1", "pixels"], ["layer-2", "layer-1"]],
    )
    file = folder / "smoke.yaml"
    file.write_text(yaml.safe_dump(asdict(experiment), sort_keys=False))
    study = Transfer(file, data, layer_1, folder / "work")
    made = len(list(make(study, study.cells())))
    if made != len(study.cells()) or list(make(study, study.cells())):
        raise RuntimeError(f"{made} runs made of {len(study.cells())}, or made twice")
    write_report(study)
    return study.results.with_suffix(".md").read_text()
