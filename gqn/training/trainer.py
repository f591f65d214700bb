"""The training loop: batches and steps, and every so often a log, an evaluation and a checkpoint."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from gqn.core.checked import checked
from gqn.core.distributed import Processes, processes
from gqn.core.errors import Error
from gqn.core.figure import save_png
from gqn.core.files import whole_file, write_json
from gqn.core.modes import evaluating
from gqn.core.progress import Progress, note
from gqn.core.provenance import provenance
from gqn.core.signals import Caught, Interrupted, Stop, caught_signals
from gqn.data.batches import ENDLESS, Scenes, TrainingBatches, check_data, evaluation_batches
from gqn.data.endless import EndlessScenes, folder_of, is_endless
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.loading import loading
from gqn.figures import predictions as plots
from gqn.models.graph import RecursiveGQN
from gqn.training import checkpoint
from gqn.training.config import Config, to_dict
from gqn.training.folder import TrainingError, run_folder
from gqn.training.history import METRICS, read_history, sound
from gqn.training.learner import Learner
from gqn.training.logs import Logs
from gqn.training.losses import Losses
from gqn.training.nodes import encode_scenes
from gqn.training.objects import object_gain
from gqn.training.probes import probe_representations
from gqn.training.setup import (
    begin_endless,
    build,
    chosen_tasks,
    computes_in_bfloat16,
    open_dataset,
    open_scenes,
    open_twins,
    resolved,
)
from gqn.training.validation import asked_by, evaluate, mean_image, rendering, scalars

GIVEN = "given"  # where a configuration names a graph's file or a dataset, that a notebook gave it instead


@checked
def train(
    config: Config,
    network: RecursiveGQN | None = None,
    *,
    scenes: Scenes | None = None,
    held_out: Scenes | None = None,
    resume: bool | str | Path = False,
) -> Path:
    """Train as `config` says and return the run's folder, runs/name.

    The folder holds config.json, metrics.json (evaluations of every task on held-out scenes, see
    `gqn.training.validation.evaluate`), predictions.png of a task that renders frames, curves.png, graph.svg,
    TensorBoard logs and checkpoint.pt. SIGTERM or Ctrl-C saves and raises Interrupted.

    Args:
        config: every option of the run.
        network: in place of the one that `config` describes; it is trained as it stands, frozen nodes as they are.
        scenes, held_out: in place of the dataset that `config.data` names.
        resume: true to go on with the run in the folder, on the same curve as if it had not stopped; or a checkpoint's
            file in that folder, to go on from it in place of the last.

    Returns:
        The run's folder.

    Raises:
        Error: for an option, a dataset, a checkpoint or a loss that cannot be used; one line for the user.
        Interrupted: at SIGTERM or Ctrl-C, after it saved.
    """
    with processes(config.device) as group, run_folder(config, group, resume=bool(resume)) as folder:
        trainer = Trainer(config, folder, group, network=network, scenes=scenes, held_out=held_out, resume=resume)
        return trainer.train()


class Trainer:
    """One training run: its data, its network, and how far it is."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        group: Processes,
        *,
        network: RecursiveGQN | None = None,
        scenes: Scenes | None = None,
        held_out: Scenes | None = None,
        resume: bool | str | Path = False,
    ) -> None:
        if network is not None:
            config = replace(config, graph=replace(config.graph, graph=config.graph.graph or GIVEN))
        config = begin_endless(config, folder, group)
        self.folder, self.group, self.config = folder, group, resolved(config, folder.name, group)
        config = self.config
        saved = checkpoint.resumable(self.folder if resume is True else resume) if resume else None
        self.bfloat16 = computes_in_bfloat16(config.precision, group.device)
        torch.set_float32_matmul_precision("high")
        torch.manual_seed(config.seed)

        dataset = None if scenes is not None else open_dataset(config)
        self.network = (
            build(config, folder, network, saved, dataset, warn=group.leads)
            .to(memory_format=torch.channels_last)
            .train()
        )
        tasks = chosen_tasks(self.network, config.graph.tasks)
        self.asked = asked_by(self.network, tasks)
        if dataset is not None:
            self.scenes, self.held_out, self.evaluated_on = open_scenes(config, dataset, self.asked, warn=group.leads)
        else:
            assert scenes is not None
            self.scenes, self.held_out = scenes, held_out or scenes
            self.evaluated_on = "train" if held_out is None else "test"
        self.twins = open_twins(config, self.asked) if dataset is not None and self.evaluated_on == "test" else None
        check_data(self.held_out, self.asked, config.evaluation.eval_context_views, 1, "--eval-context-views")
        learned = self.scenes
        if isinstance(learned, LabelledScenes) and is_endless(config.data):
            learned = EndlessScenes(learned)
        self.batches = TrainingBatches(
            learned,
            self.asked,
            batch=config.training.batch,
            context_views=config.training.context_views,
            queries=config.training.queries,
            seed=config.seed,
            rank=group.rank,
            processes=group.count,
            alternate=config.graph.alternate,
        )
        if config.graph.cache and group.count == 1:
            looks = config.training.steps * config.training.batch * sum(config.training.context_views) // 2
            self.batches.encoded = encode_scenes(
                self.network, self.batches.scenes, self.asked.senses, looks, Path(config.runs), group, self.bfloat16
            )
        self.images = rendering(self.network, self.asked)
        self.baseline = mean_image(self.scenes) if self.images else None

        self.network.to(group.device)
        self.learner = Learner(self.network, self.asked, config, group, bfloat16=self.bfloat16)
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        if saved is not None:
            self.restore(saved)
        self.saved_step = self.step
        self.clock = self.seconds  # of the schedules: the leading process's seconds, on all of them
        self.about = self.circumstances()

    def train(self) -> Path:
        """Run the loop: learn, and every so often log, evaluate and save. Returns the run's folder."""
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
        pin_memory = group.device.type == "cuda"
        loader = loading(self.batches, range(self.step, steps), workers=config.workers, pin_memory=pin_memory)
        losses = Losses(group, self.learner.names)
        if group.leads:
            note(
                f"{self.folder}: {self.about['parameters']:,} parameters, {self.about['precision']} on "
                f"{self.about['device']} ({group.count} x {self.about['threads']} threads), "
                f"{self.about['dataset']['training_scenes']} scenes of {config.data}"
            )
            if len(self.batches.scenes) == ENDLESS and not config.workers:
                note("scenes are drawn between the steps: --workers 1 or more draw them meanwhile")
        with (
            self.writer() as writer,
            self.progress() as bar,
            caught_signals() as caught,
            self.saved_at_failure(losses),
            loader as batches,
        ):
            if overdue:  # stopped between the checkpoint and its evaluation
                self.evaluate(writer, caught, last=late or self.step >= steps)
            if late:
                return self.folder
            begun = time.monotonic() - self.seconds
            for batch in batches:
                losses.add(self.learner.step(batch.to(group.device), self.step, self.position()))
                self.step += 1
                self.seconds = time.monotonic() - begun
                bar.update()
                log = self.step % every.log_every == 0
                # Processes must stop at the same step. Asking the others costs little on a CPU, but waits for a GPU.
                ask = log or group.count == 1 or group.device.type == "cpu" or self.step % 10 == 0
                interrupted = ask and group.any(bool(caught))
                if ask and limit:
                    self.clock = group.of_leader(self.seconds)
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
                    self.evaluate(writer, caught, last=last)
                if last:
                    break
                before, begun = begun, time.monotonic() - self.seconds  # what was not training does not count
                bar.pause(begun - before)
        return self.folder

    def evaluation_is_due(self) -> bool:
        at_end = self.step >= self.config.training.steps
        return self.step > 0 and (at_end or self.step % self.config.evaluation.eval_every == 0)

    def position(self) -> float:
        """Return how far the schedules are, in steps: by the steps taken or by the minutes used, whichever is further.

        So they end when the run does, on a slow machine too.
        """
        steps, limit = self.config.training.steps, 60 * self.config.training.minutes
        return max(self.step, steps * min(1.0, self.clock / limit)) if limit else self.step

    def log(self, means: dict[str, float], writer: Logs | None, bar: Progress) -> None:
        """Show the means of the last steps in the progress bar and in TensorBoard."""
        shown = {}
        for task in self.asked.tasks:
            if not means[f"{task} asked"]:
                continue
            above, kl = (means[name] / means[f"{task} asked"] for name in (task, f"{task} kl"))
            shown[f"{task}: -ELBO over floor"] = f"{above:.3g}"
            if kl:
                shown["KL"] = f"{kl:.1f}"
            if writer:
                writer.scalar(f"train/{task}/negative_elbo_above_floor", above, self.step)
                writer.scalar(f"train/{task}/kl", kl, self.step)
        bar.set_postfix(shown, refresh=False)
        if writer:
            writer.scalar("train/gradient_norm", means["gradient_norm"], self.step)
            writer.scalar("train/sigma", self.learner.sigma, self.step)

    def evaluate(self, writer: Logs | None, caught: Caught, *, last: bool) -> None:
        """Evaluate, and keep a checkpoint of what was evaluated well; a signal saves and ends it at once."""
        try:
            with caught.raised(at_once=self.group.count == 1):  # many processes stop together, at a step
                self.report(writer, last=last)
        except Stop:
            if self.step > self.saved_step:
                self.save()
            raise Interrupted(caught[0], self.step) from None
        if sound(self.history):
            self.save(checkpoint.EVALUATED)

    def report(self, writer: Logs | None, *, last: bool) -> None:
        """Report on held-out scenes by the EMA weights, in metrics.json, TensorBoard and pictures; last by probes."""
        settings = self.config.evaluation
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found = evaluate(
                self.learner.ema,
                self.held_out,
                self.asked,
                self.baseline,
                context=settings.eval_context_views,
                samples=settings.samples,
                seed=self.config.seed,
                processes=self.group,
                limit=settings.eval_scenes,
            )
            if self.twins is not None and writer:
                with evaluating(self.learner.ema):
                    found["render"] = (found["render"] or {}) | {
                        "objects": object_gain(
                            lambda views, cameras: self.learner.ema.sample(views, cameras)[0],
                            self.held_out,
                            self.twins,
                            context=settings.eval_context_views,
                            seed=self.config.seed,
                            limit=settings.eval_scenes,
                            device=self.group.device,
                        )
                    }
            read = self.probed() if last and self.evaluated_on == "test" else {}
        scenes = min(len(self.held_out), settings.eval_scenes)
        report = {"step": self.step, "seconds": round(self.seconds, 1), "scenes": scenes, "tasks": found, **read}
        self.history.append(report)
        if writer:
            for name, value in scalars(report):
                writer.scalar(f"held_out/{name}", value, self.step)
            self.draw(writer)
            write_json(self.folder / METRICS, {**self.about, "history": self.history})

    def probed(self) -> dict[str, Any]:
        """Return what probes read from the representations of frames, where the scenes' ground truth is known."""
        if not (isinstance(self.scenes, LabelledScenes) and isinstance(self.held_out, LabelledScenes)):
            return {}
        settings = self.config.evaluation
        with evaluating(self.learner.ema):
            found = probe_representations(
                self.learner.ema,
                self.asked,
                (self.scenes, self.held_out),
                Path(folder_of(self.config.data)),
                context=settings.eval_context_views,
                seed=self.config.seed,
                processes=self.group,
                limit=settings.eval_scenes,
            )
        return {"probes": found} if found else {}

    def draw(self, writer: Logs) -> None:
        """Draw graph.svg, curves.png and, of the first task that renders frames, predictions.png."""
        with whole_file(self.folder / "graph.svg") as file:
            file.write(self.network._repr_svg_().encode())
        figures = {"curves": plots.curves(self.history)}
        if self.images:
            settings = self.config.evaluation
            first = next(
                evaluation_batches(
                    self.held_out,
                    asked_by(self.network, self.images[:1]),
                    batch=8,
                    context=settings.eval_context_views,
                    seed=self.config.seed,
                    limit=settings.eval_scenes,
                )
            ).to(self.group.device)
            figures["predictions"] = plots.predictions(
                self.learner.ema, first.batch, first.shuffled, samples=settings.samples
            )
        for name, figure in figures.items():
            path = self.folder / f"{name}.png"
            save_png(figure, path)
            writer.picture(f"held_out/{name}", path, self.step)

    def circumstances(self) -> dict[str, Any]:
        """Return the circumstances that a reader of the figures must know."""
        scenes = len(self.batches.scenes)
        dataset = {"name": GIVEN, "training_scenes": "endless" if scenes == ENDLESS else scenes}
        if isinstance(self.scenes, LabelledScenes):
            dataset |= {"name": self.scenes.scenes.name, "pixels": self.scenes.scenes.pixels}
        return {
            **provenance(self.group),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "dataset": dataset,
            "evaluated_on": self.evaluated_on,
            "tasks": list(self.asked.tasks),
            "encoded_beforehand": sorted(self.batches.encoded),
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }

    @contextmanager
    def saved_at_failure(self, losses: Losses) -> Iterator[None]:
        """Save what was learned where the block fails for a worker that read scenes, or for another process."""
        try:
            yield
        except (Error, RuntimeError) as error:
            lost = not isinstance(error, Error) and self.group.lost(error)
            if isinstance(error, TrainingError) or not (lost or isinstance(error, Error)):
                raise
            if self.step > self.saved_step and losses.sum.isfinite().all():
                self.save()
            why = "another process of the run ended" if lost else str(error)
            goes_on = f"; step {self.saved_step} is saved: --resume {quote(str(self.folder))} goes on"
            kept = goes_on if self.saved_step else ""
            raise TrainingError(f"{why}{kept}") from error

    def save(self, name: str = checkpoint.FILE) -> None:
        """Write a checkpoint."""
        if name == checkpoint.FILE:
            self.saved_step = self.step
        if self.group.leads:
            checkpoint.save(
                self.folder / name,
                config=self.config,
                step=self.step,
                seconds=self.seconds,
                network=self.network,
                ema=self.learner.ema,
                optimizer=self.learner.optimizer,
            )

    def restore(self, saved: dict[str, Any]) -> None:
        checkpoint.fit(self.learner.ema, saved["ema"])
        try:
            self.learner.optimizer.load_state_dict(saved["optimizer"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{self.folder}: the checkpoint's optimizer is another's ({error}): damaged") from error
        for parameters in self.learner.optimizer.param_groups:
            parameters["weight_decay"] = self.config.training.weight_decay  # the checkpoint's may have been another
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.history = [report for report in read_history(self.folder) if report["step"] <= self.step]

    @contextmanager
    def writer(self) -> Iterator[Logs | None]:
        """Open the run's folder with its configuration and TensorBoard logs, on the process that leads."""
        if not self.group.leads:
            yield None
            return
        write_json(self.folder / "config.json", to_dict(self.config))
        with Logs(self.folder, self.step + 1) as writer:
            yield writer

    def progress(self) -> Progress:
        training = self.config.training
        return Progress(
            title="training",
            unit="steps",
            total=training.steps,
            initial=self.step,
            shown=self.group.leads,
            limit=max(0.0, 60 * training.minutes - self.seconds),
            slow_start=True,
            smoothing=0.05,
        )
