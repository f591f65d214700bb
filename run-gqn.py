#!/usr/bin/env python3
"""Train a Generative Query Network, on scenes that it makes itself where no data is named.

python run-gqn.py                                   quick start: make scenes, train, draw what was learned
python run-gqn.py --data DATA_DIR/DATASET --preset small
python run-gqn.py --resume runs/quick-1 --steps 20000
python run-gqn.py --graph diagrams/graphs/layer-2.yaml --start jaco-small --data DATA_DIR/jaco
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import argparse
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import tyro

from gqn.core.errors import Error
from gqn.core.extras import import_own
from gqn.data.prepare import made_scenes
from gqn.models.graph import RecursiveGQN
from gqn.training import checkpoint
from gqn.training.config import PRESETS, Config, from_dict, to_dict
from gqn.training.history import METRICS
from gqn.training.trainer import train


@dataclass(frozen=True)
class Options:
    """Train a Generative Query Network, on scenes that it makes itself where no data is named."""

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    resume: str = ""
    """Folder of a run to go on with; its own options hold unless others are given."""
    import_: Annotated[tuple[str, ...], tyro.conf.arg(name="import")] = ()
    """Modules to import first, which add heads or senses of your own."""
    dry_run: bool = False
    """Print the resolved configuration and leave."""


def main() -> None:
    options = parse(sys.argv[1:])
    import_own(options.import_)
    config = replace(options.config, graph=replace(options.config.graph, modules=options.import_))
    if options.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    if not config.data:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise Error("several processes need --data: make the scenes first, by scripts/generate-scenes.py")
        check(config, options.resume)  # before minutes of drawing
        config = replace(config, data=str(made_scenes(Path("data"))))
    folder = train(config, resume=options.resume or False)
    if int(os.environ.get("RANK", "0")) == 0:
        print(summary(folder))


def check(config: Config, resume: str) -> None:
    """Raise Error where a file that the run begins with is missing or is another."""
    if resume:
        checkpoint.resumable(resume)
    elif config.graph.graph:
        RecursiveGQN.from_file(config.graph.graph)
    if config.graph.start:
        checkpoint.read(config.graph.start)


def parse(arguments: list[str]) -> Options:
    """The command line over the preset that it names, or over the configuration of the run that it resumes."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=PRESETS, default="quick")
    first.add_argument("--resume", type=Path)
    known, _ = first.parse_known_args(arguments)
    base = PRESETS[known.preset]
    if known.resume:
        saved = from_dict(checkpoint.read(known.resume)["config"])
        folder = checkpoint.folder_of(known.resume.absolute())
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
            raise Error(f"--{name} can't be given with --resume: the run has its own")
    if options.config.graph.modules != base.graph.modules:
        raise Error("--modules is what --import was given: name them there")
    for name in ("graph", "start", "freeze", "tasks") if known.resume else ():
        if getattr(options.config.graph, name) != getattr(base.graph, name):
            raise Error(f"--{name} can't be given with --resume: the run has its own")
    return options


ROWS = {
    "reconstruction (saw the truth)": "reconstruction",
    "prior sample": "prior_sample",
    "mean of prior samples": "prior_mean",
    "mean image of the training scenes": "mean_image",
    "prior sample, shuffled context": "shuffled_sample",
    "mean of samples, shuffled context": "shuffled_mean",
}


def summary(folder: Path) -> str:
    """Return what a run learned, beside its baselines, what to open and what to try next."""
    metrics = json.loads((folder / METRICS).read_text())
    report = metrics["history"][-1]
    kind = "held-out" if metrics["evaluated_on"] == "test" else "training"
    lines = [f"\n{report['scenes']} {kind} scenes after {report['step']} steps, {report['seconds'] / 60:.1f} minutes:"]
    for name, found in report["tasks"].items():
        lines += [f"  {name}: {line}" for line in task_summary(found)]
    pictures = [name for name in ("predictions.png", "curves.png") if (folder / name).exists()]
    lines += [
        "",
        f"Open      {', '.join(f'{folder}/{name}' for name in (*pictures, METRICS))}",
        f"Go on     python run-gqn.py --resume {quote(str(folder))} --steps {2 * report['step']} --minutes 0",
        "Try       python run-gqn.py --help; docs/ has DeepMind's datasets and graphs of representations",
    ]
    return "\n".join(lines)


def task_summary(found: dict[str, Any] | None) -> list[str]:
    """Return the lines of one task: of frames their errors beside the baselines, of other answers nats and error."""
    if found is None:
        return ["no answer is known"]
    nats = f"{found['negative_elbo_above_floor']:.0f} nats above the floor, of which KL {found['kl']:.1f}"
    if "reconstruction" in found:
        lines = [
            f"{title:36} {found[key]['psnr_db']:6.2f} dB PSNR   {255 * found[key]['mae']:6.2f} of 255 mean error"
            for title, key in ROWS.items()
            if found[key]
        ]
        if found["context_gain_db"] is not None:
            lines.append(f"{'context gain':36} {found['context_gain_db']:6.2f} dB")
        if objects := found.get("objects"):
            lines.append(f"{'object gain':36} {objects['gain_db']:6.2f} dB")
        return [*lines, f"{'negative ELBO':36} {nats}"]
    measure, error = list(found.items())[-1]
    gain = "" if found["gain_nats"] is None else f", {found['gain_nats']:.2f} better than with a shuffled context"
    return [f"negative ELBO {found['negative_elbo']:.2f}{gain}; {measure.replace('_', ' ')} {error:.4g}"]


if __name__ == "__main__":
    with command("run again, or --resume, to go on"):
        main()
