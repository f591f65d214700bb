"""The training loop."""

import copy
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from tqdm import tqdm

from gqn import checkpoint, plots
from gqn.batch import Batch
from gqn.config import Config, TrainingConfig, to_dict
from gqn.data.batches import TrainingBatches, evaluation_batches
from gqn.data.dataset import SceneDataset
from gqn.distributed import Processes, processes
from gqn.evaluation import evaluate, mean_image, scalars
from gqn.files import whole_file, write_json
from gqn.objective import annealed, averaging_decay, likelihood_floor, log_likelihood
from gqn.provenance import provenance


class TrainingError(RuntimeError):
    """A run that can't start or go on; the message says why and what to do."""


class Interrupted(Exception):
    """A run that a signal stopped and that saved itself; `signal` is its number."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step} by {signal.Signals(number).name} and saved")
        self.signal = number


def train(config: Config, *, resume: bool = False) -> Path:
    """Train as `config` says and return the run's folder, runs/name.

    The folder holds config.json, metrics.json (evaluations, see `gqn.evaluation.evaluate`), predictions.png,
    TensorBoard logs and checkpoint.pt. resume: go on with the run in it, on the same curve as if it had not stopped.
    SIGTERM or Ctrl-C saves and raises Interrupted. Raises TrainingError, DatasetError, CheckpointError or ValueError
    with one line for the user.
    """
    with processes(config.device) as group:
        return Run(config, group, resume=resume).train()


class Run:
    """One training run: its data, its network, and how far it is."""

    def __init__(self, config: Config, group: Processes, *, resume: bool) -> None:
        self.folder = Path(config.runs) / (config.name or free_name(Path(config.runs), config.preset))
        self.config, self.group = replace(config, name=self.folder.name), group
        self.scenes = SceneDataset(config.data, "train")
        self.held_out = held_out_scenes(config.data, self.scenes, warn=group.leads)
        self.batches = TrainingBatches(
            self.scenes,
            batch=config.training.batch,
            context_views=config.training.context_views,
            queries=config.training.queries,
            seed=config.seed,
            rank=group.rank,
            processes=group.count,
        )
        self.baseline = mean_image(self.scenes)
        self.bfloat16 = computes_in_bfloat16(config.precision, group.device)
        torch.set_float32_matmul_precision("high")
        torch.manual_seed(config.seed)
        self.network = checkpoint.build(config, self.scenes.pixels).to(group.device)
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=config.training.weight_decay, fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        if resume:
            self.restore(checkpoint.read(self.folder / "checkpoint.pt"))
        elif group.leads:
            self.claim_folder()

    def train(self) -> Path:
        """The loop: learn, and every so often log, evaluate and save."""
        config, group, every = self.config, self.group, self.config.evaluation
        steps = config.training.steps
        if self.step >= steps:
            raise TrainingError(f"{self.folder} has had its {self.step} steps: ask for more with --steps")
        parallel = group.parallel(self.network)
        loader = self.batches.loader(self.step, steps, workers=config.workers, pin_memory=group.device.type == "cuda")
        losses = Losses(group)
        if group.leads:
            about = self.circumstances()
            print(
                f"{self.folder}: {about['parameters']:,} parameters, {about['precision']} on {about['device']} "
                f"({about['processes']} x {about['threads']} threads), {len(self.scenes)} scenes of {config.data}"
            )
        with self.writer() as writer, self.progress() as bar, caught_signals() as caught:
            begun = time.monotonic() - self.seconds
            for batch in loader:
                losses.add(self.learn(parallel, batch.to(group.device)))
                self.step += 1
                self.seconds = time.monotonic() - begun
                bar.update()
                log = self.step % every.log_every == 0
                # Processes must stop at the same step; asking the others costs an exchange, so several ask at the log.
                ask = log or group.count == 1
                interrupted = ask and group.any(bool(caught))
                limit = 60 * config.training.minutes
                last = self.step == steps or (ask and limit > 0 and group.any(self.seconds >= limit))
                if log or last or interrupted:
                    self.log(losses.means(self.step, self.folder), writer, bar)
                if last or (self.step % every.evaluate_every == 0 and not interrupted):
                    self.evaluate(writer)
                if last or interrupted or self.step % every.save_every == 0:
                    losses.check(self.step, self.folder)
                    self.save()
                if interrupted:
                    raise Interrupted(caught[0] if caught else signal.SIGTERM, self.step)
                if last:
                    break
                begun = time.monotonic() - self.seconds  # what was not training does not count
        return self.folder

    def learn(self, parallel: nn.Module, batch: Batch) -> Tensor:
        """One training step; returns negative ELBO and KL in nats an image, and the norm of the gradient."""
        settings = self.config.training
        # Noise follows from the seed, the step and the rank alone, so that a resumed run draws the same.
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * self.group.count + self.group.rank)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate(settings, self.step)
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            prediction = parallel(batch)
        kl = prediction.kl.sum(dim=-1).mean()
        loss = kl - log_likelihood(batch.query.frames, prediction.mean, sigma(settings, self.step)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_gradient or float("inf"))
        self.optimizer.step()
        update_average(self.averaged, self.network, averaging_decay(self.step, settings.averaging))
        return torch.stack([loss.detach(), kl.detach(), norm])

    def log(self, means: dict[str, float], writer: SummaryWriter | None, bar: tqdm) -> None:
        deviation = sigma(self.config.training, self.step - 1)
        above = means["negative_elbo"] - likelihood_floor(deviation, self.baseline.numel())
        bar.set_postfix({"-ELBO over floor": f"{above:.0f}", "KL": f"{means['kl']:.1f}"}, refresh=False)
        if writer:
            for name, value in {**means, "negative_elbo_above_floor": above, "sigma": deviation}.items():
                writer.add_scalar(f"train/{name}", value, self.step)

    def evaluate(self, writer: SummaryWriter | None) -> None:
        """Errors on held-out scenes by the averaged weights, into metrics.json, TensorBoard and predictions.png."""
        settings = self.config.evaluation
        report = {"step": self.step, "seconds": round(self.seconds, 1)} | evaluate(
            self.averaged,
            self.held_out,
            self.baseline,
            context=settings.evaluation_context,
            samples=settings.samples,
            sigma=sigma(self.config.training, self.step - 1),
            seed=self.config.seed,
            processes=self.group,
            limit=settings.evaluation_scenes,
        )
        self.history.append(report)
        if writer:
            for name, value in scalars(report):
                writer.add_scalar(f"held_out/{name}", value, self.step)
            self.draw(writer)
            write_json(self.folder / "metrics.json", {**self.circumstances(), "history": self.history})

    def draw(self, writer: SummaryWriter) -> None:
        settings = self.config.evaluation
        first = next(
            evaluation_batches(
                self.held_out,
                batch=8,
                context=settings.evaluation_context,
                queries=1,
                seed=self.config.seed,
                limit=settings.evaluation_scenes,
            )
        )
        device = self.group.device
        figure = plots.predictions(
            self.averaged, first.batch.to(device), first.foreign.to(device), samples=settings.samples
        )
        with whole_file(self.folder / "predictions.png") as file:
            figure.savefig(file, format="png")
        writer.add_figure("held_out/predictions", figure, self.step)

    def circumstances(self) -> dict[str, Any]:
        """What a reader of the figures must know."""
        return {
            **provenance(self.group),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "dataset": {"name": self.scenes.name, "pixels": self.scenes.pixels, "training_scenes": len(self.scenes)},
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }

    def save(self) -> None:
        if self.group.leads:
            checkpoint.save(
                self.folder / "checkpoint.pt",
                config=self.config,
                pixels=self.scenes.pixels,
                step=self.step,
                seconds=self.seconds,
                history=self.history,
                network=self.network,
                averaged=self.averaged,
                optimizer=self.optimizer,
            )

    def claim_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            raise TrainingError(
                f"{self.folder} exists: --resume {self.folder} goes on with it, another --name makes another run"
            ) from None

    def restore(self, saved: dict[str, Any]) -> None:
        if saved["pixels"] != self.scenes.pixels:
            raise TrainingError(
                f"{self.folder} was trained on frames of {saved['pixels']} pixels, "
                f"{self.config.data} has {self.scenes.pixels}: name the dataset that it was trained on"
            )
        if saved["config"]["model"] != to_dict(self.config)["model"]:
            raise TrainingError(f"{self.folder} holds a network of other sizes: leave the model's options as they were")
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]

    @contextmanager
    def writer(self) -> Iterator[SummaryWriter | None]:
        """The run's folder with its configuration and TensorBoard logs, on the process that leads."""
        if not self.group.leads:
            yield None
            return
        write_json(self.folder / "config.json", to_dict(self.config))
        with SummaryWriter(str(self.folder), purge_step=self.step + 1) as writer:
            yield writer

    def progress(self) -> tqdm:
        steps = self.config.training.steps
        return tqdm(total=steps, initial=self.step, unit=" steps", disable=not self.group.leads, smoothing=0.05)


class Losses:
    """Means of what `Run.learn` returns, gathered on the device and read only when they are asked for."""

    NAMES = ("negative_elbo", "kl", "gradient_norm")

    def __init__(self, group: Processes) -> None:
        self.group = group
        self.clear()

    def clear(self) -> None:
        self.sum, self.count = torch.zeros(len(self.NAMES), device=self.group.device), 0

    def add(self, values: Tensor) -> None:
        self.sum += values
        self.count += 1

    def check(self, step: int, folder: Path) -> None:
        """Raises TrainingError where a loss or a gradient since the last call of `means` was not finite."""
        if not self.sum.isfinite().all():
            raise TrainingError(
                f"loss or gradient not finite at step {step}: {folder}/checkpoint.pt, if there is one, is from before; "
                "go on from it with a lower --learning-rate or --clip-gradient"
            )

    def means(self, step: int, folder: Path) -> dict[str, float]:
        """Means over the steps since the last call and over the processes."""
        self.sum = self.group.total(self.sum)
        self.check(step, folder)
        means = (self.sum / (self.count * self.group.count)).tolist()
        self.clear()
        return dict(zip(self.NAMES, means, strict=True))


def free_name(runs: Path, preset: str) -> str:
    """The preset's name with the first number that no run has."""
    return next(name for number in count(1) if not (runs / (name := f"{preset}-{number}")).exists())


def learning_rate(settings: TrainingConfig, step: int) -> float:
    """Adam's learning rate at a step."""
    steps = settings.learning_rate_steps or settings.steps
    rate = annealed(step, settings.learning_rate, settings.final_learning_rate, steps)
    return rate * min(1.0, (step + 1) / max(1, settings.warm_up_steps))


def sigma(settings: TrainingConfig, step: int) -> float:
    """Standard deviation of the pixels at a step."""
    return annealed(step, settings.sigma, settings.final_sigma, settings.sigma_steps or settings.steps)


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged <- decay * averaged + (1 - decay) * network, for every weight."""
    for average, weight in zip(averaged.parameters(), network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """What "auto" means on this device: bfloat16 where it has instructions for it, else it would be slower."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def held_out_scenes(directory: str, training: SceneDataset, *, warn: bool) -> SceneDataset:
    """The test split, or with a warning the training split where a dataset has no other."""
    if (Path(directory) / "torch" / "test").exists():
        return SceneDataset(directory, "test")
    if warn:
        print(f"{directory} has no test split: evaluation is on the training scenes", file=sys.stderr)
    return training


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C end up in a list instead of ending the process; a second Ctrl-C does end it."""
    caught: list[int] = []

    def catch(number: int, frame: object) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
