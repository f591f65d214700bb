"""The training loop."""

import copy
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from tqdm import tqdm

from gqn.core.distributed import Processes, processes
from gqn.core.files import whole_file, write_json
from gqn.core.provenance import provenance
from gqn.core.signals import Interrupted, caught_signals
from gqn.data.batches import StepBatches, TrainingBatches, check_views, evaluation_batches
from gqn.data.dataset import SceneDataset
from gqn.figures import predictions as plots
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.losses import averaging_decay, likelihood_floor, log_likelihood, residual_weights
from gqn.scenes import family_of
from gqn.training import checkpoint
from gqn.training.config import Config, from_dict, to_dict
from gqn.training.validation import evaluate, mean_image, scalars

METRICS = "metrics.json"


class TrainingError(RuntimeError):
    """A run that can't start or go on; the message says why and what to do."""


def train(config: Config, *, resume: bool = False) -> Path:
    """Train as `config` says and return the run's folder, runs/name.

    The folder holds config.json, metrics.json (evaluations, see `gqn.training.validation.evaluate`), predictions.png,
    TensorBoard logs and checkpoint.pt. resume: go on with the run in it, on the same curve as if it had not stopped.
    SIGTERM or Ctrl-C saves and raises Interrupted. Raises TrainingError, DatasetError, CheckpointError or ValueError
    with one line for the user.
    """
    with processes(config.device) as group:
        return Run(config, group, resume=resume).train()


class Run:
    """One training run: its data, its network, and how far it is."""

    names: tuple[str, ...] = ("negative_elbo", "negative_elbo_above_floor", "kl", "gradient_norm")  # what `learn` gives
    network: nn.Module
    averaged: nn.Module
    batches: StepBatches

    def __init__(self, config: Config, group: Processes, *, resume: bool) -> None:
        self.folder = Path(config.runs) / (config.name or free_name(Path(config.runs), config.preset))
        self.group, self.config = group, resolved(config, self.folder.name, group)
        config = self.config
        saved = checkpoint.read(self.folder) if resume else None
        self.bfloat16 = computes_in_bfloat16(config.precision, group.device)
        torch.set_float32_matmul_precision("high")
        torch.manual_seed(config.seed)
        self.prepare(saved)
        self.network.to(group.device)
        self.averaged = copy.deepcopy(self.network)
        learning = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, weight_decay=config.training.weight_decay, fused=True)
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        if saved is not None:
            self.restore(saved)
        elif group.leads:
            self.claim_folder()
        self.about = self.circumstances()

    def prepare(self, saved: dict[str, Any] | None) -> None:
        """Open the data and build the network; saved: the checkpoint that the run goes on from, if it does."""
        config = self.config
        check_named(config)
        if config.recursive.tasks or config.recursive.alternate:
            raise TrainingError("--tasks and --alternate are for a graph: name its file by --graph")
        self.scenes = SceneDataset(config.data, "train", fraction=config.fraction, size=config.size)
        self.held_out = held_out_scenes(config.data, self.scenes, warn=self.group.leads)
        check_views(self.held_out, config.evaluation.evaluation_context, 1, "--evaluation-context")
        self.batches = TrainingBatches(self.scenes, **self.drawing())
        self.baseline = mean_image(self.scenes)
        if saved is not None and saved["pixels"] != self.scenes.pixels:
            raise TrainingError(
                f"{self.folder} was trained on frames of {saved['pixels']} pixels, "
                f"{config.data} has {self.scenes.pixels}: name the dataset that it was trained on"
            )
        if (
            saved is not None
            and replace(from_dict(saved["config"]).model, recompute=config.model.recompute) != config.model
        ):
            raise TrainingError(f"{self.folder} holds a network of other sizes: leave the model's options as they were")
        warn_of_cameras(config, leads=self.group.leads)
        self.network = checkpoint.build(config, self.scenes.pixels)
        if config.recursive.start and saved is None:
            self.start_from(config.recursive.start)

    def start_from(self, run: str) -> None:
        """Take the weights of a trained flat network of the same sizes. Raises TrainingError for another."""
        known = checkpoint.read(Path(run))
        if known.get("graph"):
            raise TrainingError(f"--start {run}: it holds a graph: train one by --graph")
        try:
            self.network.load_state_dict(known["averaged"])
        except RuntimeError as error:
            raise TrainingError(
                f"--start {run}: a network of other sizes, for frames of {known['pixels']} pixels: take its preset and "
                "its model's options"
            ) from error

    def drawing(self) -> dict[str, Any]:
        """How batches are drawn."""
        training = self.config.training
        return {
            "batch": training.batch,
            "context_views": training.context_views,
            "queries": training.queries,
            "seed": self.config.seed,
            "rank": self.group.rank,
            "processes": self.group.count,
        }

    def train(self) -> Path:
        """The loop: learn, and every so often log, evaluate and save."""
        config, group, every = self.config, self.group, self.config.evaluation
        steps, limit = config.training.steps, 60 * config.training.minutes
        late = 0 < limit <= self.seconds
        due = self.evaluation_is_due() or (late and self.step > 0)
        overdue = due and not any(report["step"] == self.step for report in self.history)
        if self.step >= steps and not overdue:
            raise TrainingError(f"{self.folder} has had its {self.step} steps: ask for more with --steps")
        if late and not overdue:
            raise TrainingError(
                f"{self.folder} has had its {config.training.minutes:g} minutes: ask for more with --minutes"
            )
        parallel = self.parallel()
        loader = self.batches.loader(self.step, steps, workers=config.workers, pin_memory=group.device.type == "cuda")
        losses = Losses(group, self.names)
        if group.leads:
            print(
                f"{self.folder}: {self.about['parameters']:,} parameters, {self.about['precision']} on "
                f"{self.about['device']} ({group.count} x {self.about['threads']} threads), "
                f"{self.about['dataset']['training_scenes']} scenes of {config.data}"
            )
        with self.writer() as writer, self.progress() as bar, caught_signals() as caught:
            if overdue:  # stopped between the checkpoint and its evaluation
                self.evaluate(writer)
            if late:
                return self.folder
            begun = time.monotonic() - self.seconds
            for batch in loader:
                losses.add(self.learn(parallel, batch.to(group.device)))
                self.step += 1
                self.seconds = time.monotonic() - begun
                bar.update()
                log = self.step % every.log_every == 0
                # Processes must stop at the same step. Asking the others costs little on a CPU, but waits for a GPU.
                ask = log or group.count == 1 or group.device.type == "cpu" or self.step % 10 == 0
                interrupted = ask and group.any(bool(caught))
                last = self.step == steps or (ask and limit > 0 and group.any(self.seconds >= limit))
                if log or last or interrupted:
                    self.log(losses.means(self.step, self.folder), writer, bar)
                if last or interrupted or self.step % every.save_every == 0:
                    losses.check(self.step, self.folder)
                    self.save()
                if interrupted:
                    group.any(False)  # nobody leaves while another still writes
                    raise Interrupted(caught[0] if caught else signal.SIGTERM, self.step)
                if last or self.evaluation_is_due():
                    self.evaluate(writer)
                if last:
                    break
                begun = time.monotonic() - self.seconds  # what was not training does not count
        return self.folder

    def evaluation_is_due(self) -> bool:
        at_end = self.step >= self.config.training.steps
        return self.step > 0 and (at_end or self.step % self.config.evaluation.evaluate_every == 0)

    def parallel(self) -> nn.Module:
        """The network as `loss` calls it, on several processes with gradients averaged over them."""
        return self.group.parallel(self.compiled(self.network))

    def compiled(self, network: nn.Module) -> nn.Module:
        """The network for training steps, compiled where that is asked for; it shares its weights."""
        return cast(nn.Module, torch.compile(network)) if self.config.compile else network

    def learn(self, parallel: nn.Module, batch: Any) -> Tensor:
        """One training step; returns what `names` says."""
        settings = self.config.training
        # Noise follows from the seed, the step and the rank alone, so that a resumed run draws the same.
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * self.group.count + self.group.rank)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = settings.learning_rate_at(self.step)
        self.optimizer.zero_grad()
        found = torch.zeros(len(self.names) - 1, device=self.group.device)
        parts = batch.parts(settings.parts)
        for number, part in enumerate(parts, start=1):
            # Gradients of several processes are averaged once, with those of the last part.
            with nullcontext() if number == len(parts) else self.group.apart(parallel):
                loss, values = self.loss(parallel, part)
                (loss / len(parts)).backward()
            found += torch.stack(values).detach() / len(parts)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_gradient or float("inf"))
        self.optimizer.step()
        update_average(self.averaged, self.network, averaging_decay(self.step, settings.averaging))
        return torch.cat([found, norm.detach()[None]])

    def loss(self, parallel: nn.Module, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """The loss of a batch, and what `names` says but for the gradient's norm, in nats an image."""
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            prediction = parallel(batch)
        kl = prediction.kl.sum(dim=-1).mean()
        sigma = self.config.training.sigma_at(self.step)
        frames = batch.query.frames
        loss = found = kl - log_likelihood(frames, prediction.mean, sigma).mean()
        if self.config.training.residual_weights:
            weights = residual_weights(frames, prediction.mean)
            found = kl - log_likelihood(frames, prediction.mean, sigma, weights).mean()
        return found, [loss, loss - likelihood_floor(sigma, self.baseline.numel()), kl]

    def log(self, means: dict[str, float], writer: SummaryWriter | None, bar: tqdm) -> None:
        above = means["negative_elbo_above_floor"]
        bar.set_postfix({"-ELBO over floor": f"{above:.0f}", "KL": f"{means['kl']:.1f}"}, refresh=False)
        if writer:
            for name, value in {**means, "sigma": self.config.training.sigma_at(self.step - 1)}.items():
                writer.add_scalar(f"train/{name}", value, self.step)

    def evaluate(self, writer: SummaryWriter | None) -> None:
        """A report on held-out scenes by the averaged weights, into metrics.json, TensorBoard and a picture."""
        report = {"step": self.step, "seconds": round(self.seconds, 1), **self.report()}
        self.history.append(report)
        if writer:
            for name, value in scalars(report):
                writer.add_scalar(f"held_out/{name}", value, self.step)
            self.draw(writer)
            write_json(self.folder / METRICS, {**self.about, "history": self.history})

    def report(self) -> dict[str, Any]:
        """Likelihood and errors on held-out scenes."""
        settings = self.config.evaluation
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            return evaluate(
                cast(GenerativeQueryNetwork, self.averaged),
                self.held_out,
                self.baseline,
                context=settings.evaluation_context,
                samples=settings.samples,
                sigma=self.config.training.sigma_at(self.step - 1),
                seed=self.config.seed,
                processes=self.group,
                limit=settings.evaluation_scenes,
            )

    def draw(self, writer: SummaryWriter) -> None:
        """predictions.png, and the same in TensorBoard."""
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
            cast(GenerativeQueryNetwork, self.averaged),
            first.batch.to(device),
            first.foreign.to(device),
            samples=settings.samples,
        )
        with whole_file(self.folder / "predictions.png") as file:
            figure.savefig(file, format="png")
        writer.add_figure("held_out/predictions", figure, self.step)

    def circumstances(self) -> dict[str, Any]:
        """What a reader of the figures must know."""
        return {
            **provenance(self.group),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            **self.about_data(),
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }

    def about_data(self) -> dict[str, Any]:
        return {
            "dataset": {"name": self.scenes.name, "pixels": self.scenes.pixels, "training_scenes": len(self.scenes)},
            "evaluated_on": self.held_out.folder.name,
        }

    def kind(self) -> dict[str, Any]:
        """What a checkpoint says of the network beside its configuration."""
        return {"pixels": self.scenes.pixels, "graph": None}

    def save(self) -> None:
        if self.group.leads:
            checkpoint.save(
                self.folder,
                config=self.config,
                **self.kind(),
                step=self.step,
                seconds=self.seconds,
                network=self.network,
                averaged=self.averaged,
                optimizer=self.optimizer,
            )

    def claim_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A run that failed before its first checkpoint leaves its name to the next one.
        if (self.folder / checkpoint.FILE).exists():
            raise TrainingError(
                f"{self.folder} exists: --resume {self.folder} goes on with it, another --name makes another run"
            )

    def restore(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for parameters in self.optimizer.param_groups:
            parameters["weight_decay"] = self.config.training.weight_decay  # the checkpoint's may have been another
        self.step, self.seconds = saved["step"], saved["seconds"]
        if (self.folder / METRICS).exists():
            reports = json.loads((self.folder / METRICS).read_text())["history"]
            self.history = [report for report in reports if report["step"] <= self.step]

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

    def __init__(self, group: Processes, names: tuple[str, ...]) -> None:
        self.group, self.names = group, names
        self.clear()

    def clear(self) -> None:
        self.sum, self.count = torch.zeros(len(self.names), device=self.group.device), 0

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
        return dict(zip(self.names, means, strict=True))


def check_named(config: Config) -> None:
    if not config.data:
        raise TrainingError("no dataset: set `data` to a folder of converted scenes, or make one by `made_scenes`")


def warn_of_cameras(config: Config, *, leads: bool) -> None:
    """Tell who trains a volume on scenes that we draw otherwise than it is told."""
    family, told = family_of(Path(config.data)), config.model.field_of_view
    if leads and config.model.representation == "volume" and family and family.field_of_view != told:
        print(
            f"{config.data}: we draw such scenes with a field of view of {family.field_of_view:g} degrees, the volume "
            f"is told {told:g}: give --field-of-view and --radius, or take --representation tower",
            file=sys.stderr,
        )


def resolved(config: Config, name: str, group: Processes) -> Config:
    """The configuration as it holds for this run: what was left open spelled out, so that the run's folder tells it."""
    parts = config.training.parts
    share = parts * -(-config.training.batch // (group.count * parts))
    if share * group.count != config.training.batch and group.leads:
        divisors = f"{group.count} processes" + (f" of {parts} parts" if parts > 1 else "")
        print(
            f"a batch of {config.training.batch} scenes does not divide by {divisors}: taking {share * group.count}",
            file=sys.stderr,
        )
    training = replace(config.training.with_schedules(), batch=share * group.count)
    return replace(config, name=name, data=str(Path(config.data).resolve()) if config.data else "", training=training)


def free_name(runs: Path, preset: str) -> str:
    """The preset's name with the first number that no run has."""
    return next(name for number in count(1) if not (runs / (name := f"{preset}-{number}")).exists())


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged <- decay * averaged + (1 - decay) * network, for every weight; buffers are the network's."""
    for average, weight in zip(averaged.parameters(), network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    for copied, buffer in zip(averaged.buffers(), network.buffers(), strict=True):
        copied.copy_(buffer)


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
        return SceneDataset(directory, "test", size=training.pixels)
    if warn:
        print(f"{directory} has no test split: evaluation is on the training scenes", file=sys.stderr)
    return training
