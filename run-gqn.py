#!/usr/bin/env python3
"""Train a Generative Query Network, on scenes that it makes itself where no data is named.

python run-gqn.py                                   quick start: make scenes, train, draw what was learned
python run-gqn.py --data DATA_DIR/DATASET --preset small
python run-gqn.py --resume runs/quick-1 --steps 20000
python run-gqn.py --graph diagrams/graphs/layer-2.yaml --start runs/layer-1 --data DATA_DIR/jaco
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from gqn.core.signals import Interrupted
from gqn.data.dataset import DatasetError
from gqn.data.prepare import made_scenes
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, from_dict, to_dict
from gqn.training.graph_training import train_graph
from gqn.training.trainer import METRICS, TrainingError, train


@dataclass(frozen=True)
class Options:
    """Train a Generative Query Network, on scenes that it makes itself where no data is named."""

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    resume: str = ""
    """Folder of a run to go on with; its own options hold unless others are given."""
    dry_run: bool = False
    """Print the resolved configuration and leave."""


def main() -> None:
    options = parse(sys.argv[1:])
    config = options.config
    if options.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    if not config.data:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError("several processes need --data: make the scenes first, by scripts/generate-scenes.py")
        config = replace(config, data=str(made_scenes(Path("data"))))
    learn = train_graph if config.recursive.graph else train
    folder = learn(config, resume=bool(options.resume))
    if int(os.environ.get("RANK", "0")) == 0:
        print(summary(folder))


def parse(arguments: list[str]) -> Options:
    """The command line over the preset that it names, or over the configuration of the run that it resumes."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=PRESETS, default="quick")
    first.add_argument("--resume", type=Path)
    known, _ = first.parse_known_args(arguments)
    base = PRESETS[known.preset]
    if known.resume:
        saved = from_dict(checkpoint.read(known.resume)["config"])
        folder = known.resume.resolve()
        folder = folder.parent if folder.suffix == ".pt" else folder
        base = replace(saved, runs=str(folder.parent), name=folder.name)
    options = tyro.cli(
        Options,
        default=Options(config=base),
        args=arguments,
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    for name in ("preset", "name", "runs") if known.resume else ():
        if getattr(options.config, name) != getattr(base, name):
            raise ValueError(f"--{name} can't be given with --resume: the run has its own")
    for name in ("graph", "start", "tasks") if known.resume else ():
        if getattr(options.config.recursive, name) != getattr(base.recursive, name):
            raise ValueError(f"--{name} can't be given with --resume: the run has its own")
    return options


def summary(folder: Path) -> str:
    """What a run learned, beside its baselines, what to open and what to try next."""
    metrics = json.loads((folder / METRICS).read_text())
    report = metrics["history"][-1]
    kind = "held-out" if metrics["evaluated_on"] == "test" else "training"
    if "tasks" in report:
        return graph_summary(folder, report, kind)
    rows = {
        "reconstruction (saw the truth)": "reconstruction",
        "prior sample": "prior_sample",
        "mean of prior samples": "prior_mean",
        "mean image of the training scenes": "mean_image",
        "prior sample, another scene's context": "shuffled_sample",
        "mean of samples, another scene's context": "shuffled_mean",
    }
    lines = [f"\n{report['scenes']} {kind} scenes after {report['step']} steps, {report['seconds'] / 60:.1f} minutes:"]
    lines += [
        f"  {title:42} {report[key]['psnr_db']:6.2f} dB PSNR   {255 * report[key]['mae']:6.2f} of 255 mean error"
        for title, key in rows.items()
        if report[key]
    ]
    if report["context_gain_db"] is not None:
        lines.append(f"  {'context gain':42} {report['context_gain_db']:6.2f} dB")
    lines += [
        f"  {'negative ELBO above its floor':42} {report['negative_elbo_above_floor']:6.0f} nats, "
        f"of which KL {report['kl']:.1f}",
        "",
        f"Open      {folder}/predictions.png, {folder}/metrics.json",
        f"Go on     python run-gqn.py --resume {folder} --steps {2 * report['step']} --minutes 0",
        "Try       python run-gqn.py --help; the README's section on datasets has DeepMind's",
    ]
    return "\n".join(lines)


def graph_summary(folder: Path, report: dict[str, Any], kind: str) -> str:
    """What a graph learned, task by task, beside the same under another scene's observations."""
    lines = [f"\n{kind} scenes after {report['step']} steps, {report['seconds'] / 60:.1f} minutes; nats an answer:"]
    for name, found in report["tasks"].items():
        if found is None:
            lines.append(f"  {name:20} no answer is known")
            continue
        measure, error = list(found.items())[-1]
        lines.append(
            f"  {name:20} negative ELBO {found['negative_elbo']:10.2f}, {found['gain_nats']:8.2f} better than from "
            f"another scene; {measure.replace('_', ' ')} {error:.4g}"
        )
    lines += ["", f"Open      {folder}/curves.png, {folder}/graph.svg, {folder}/metrics.json"]
    lines += [f"Go on     python run-gqn.py --resume {folder} --steps {2 * report['step']} --minutes 0"]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except (TrainingError, DatasetError, checkpoint.CheckpointError, ValueError, OSError) as error:
        sys.exit(f"run-gqn.py: {error}")
    except torch.OutOfMemoryError as error:
        sys.exit(f"run-gqn.py: {str(error).splitlines()[0]}: lower --batch or --queries")
    except KeyboardInterrupt:
        sys.exit("run-gqn.py: interrupted; run again to go on")
    except Interrupted as stop:
        print(f"run-gqn.py: {stop}; --resume goes on", file=sys.stderr)
        sys.exit(128 + stop.signal)
