"""The training loop: batches, losses, gradients, weights; and every so often a log, an evaluation and a checkpoint."""

import copy
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from tqdm import tqdm

from gqn.core.distributed import Processes, processes
from gqn.core.errors import Error
from gqn.core.files import whole_file, write_json
from gqn.core.modes import evaluating
from gqn.core.provenance import provenance
from gqn.core.signals import Interrupted, caught_signals
from gqn.core.views import Batch
from gqn.data.batches import FLAT, FRAMES, Asked, Scenes, TrainingBatches, check_data, evaluation_batches
from gqn.data.dataset import TWINS, SceneDataset
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.figures import predictions as plots
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.models.losses import averaging_decay, likelihood_floor
from gqn.models.nodes import GraphError, below, data_of, listed
from gqn.training import checkpoint
from gqn.training.config import Config, ModelConfig, to_dict
from gqn.training.muon import Muon
from gqn.training.nodes import encode_scenes, take_weights
from gqn.training.objective import Objective
from gqn.training.objects import object_gain
from gqn.training.validation import evaluate, head_of, mean_image, rendering, scalars

METRICS = "metrics.json"
GIVEN = "given"  # where a configuration names a graph's file or a dataset, that a notebook gave it instead


class TrainingError(Error):
    """A run that can't start or go on; the message says why and what to do."""


def train(
    config: Config,
    network: RecursiveGQN | None = None,
    *,
    scenes: Scenes | None = None,
    held_out: Scenes | None = None,
    resume: bool = False,
) -> Path:
    """Train as `config` says and return the run's folder, runs/name.

    The folder holds config.json, metrics.json (evaluations of every task on held-out scenes, see
    `gqn.training.validation.evaluate`), predictions.png of a task that renders frames, curves.png, graph.svg,
    TensorBoard logs and checkpoint.pt. SIGTERM or Ctrl-C saves and raises Interrupted.

    Args:
        config: every option of the run.
        network: in place of the one that `config` describes; it is trained as it stands, frozen nodes as they are.
        scenes, held_out: in place of the dataset that `config.data` names.
        resume: go on with the run in the folder, on the same curve as if it had not stopped.

    Returns:
        The run's folder.

    Raises:
        Error: with one line for the user.
    """
    with processes(config.device) as group:
        return Trainer(config, group, network=network, scenes=scenes, held_out=held_out, resume=resume).train()


class Trainer:
    """One training run: its data, its network, and how far it is."""

    def __init__(
        self,
        config: Config,
        group: Processes,
        *,
        network: RecursiveGQN | None = None,
        scenes: Scenes | None = None,
        held_out: Scenes | None = None,
        resume: bool = False,
    ) -> None:
        if network is not None:
            config = replace(config, graph=replace(config.graph, graph=config.graph.graph or GIVEN))
        self.folder = Path(config.runs) / (config.name or free_name(Path(config.runs), config.preset))
        self.group, self.config = group, resolved(config, self.folder.name, group)
        config = self.config
        saved = checkpoint.read(self.folder) if resume else None
        self.bfloat16 = computes_in_bfloat16(config.precision, group.device)
        torch.set_float32_matmul_precision("high")
        torch.manual_seed(config.seed)

        dataset = None if scenes is not None else self.open_dataset()
        self.network = self.build(network, saved, dataset).to(memory_format=torch.channels_last).train()
        self.tasks = chosen_tasks(self.network, config.graph.tasks)
        self.asked = asked_by(self.network, self.tasks)
        self.scenes, self.held_out, self.evaluated_on = self.open_scenes(scenes, held_out, dataset)
        self.twins = self.open_twins(dataset)
        check_data(self.held_out, self.asked, config.evaluation.eval_context_views, 1, "--eval-context-views")
        self.batches = TrainingBatches(
            self.scenes,
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
                self.network, self.scenes, self.asked.senses, looks, Path(config.runs), group, self.bfloat16
            )
        self.images = rendering(self.network, self.asked)
        self.baseline = mean_image(self.scenes) if self.images else None
        self.floors = {task: head_of(self.network, task).floor() for task in self.tasks}

        self.network.to(group.device)
        self.ema = copy.deepcopy(self.network)
        learning = [weight for weight in self.network.parameters() if weight.requires_grad]
        decay = config.training.weight_decay
        self.optimizer: torch.optim.Optimizer = (
            Muon(learning, weight_decay=decay)
            if config.training.optimizer == "muon"
            else torch.optim.AdamW(learning, weight_decay=decay, fused=True)
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        if saved is not None:
            self.restore(saved)
        elif group.leads:
            self.claim_folder()
        self.about = self.circumstances()

    def open_dataset(self) -> SceneDataset:
        """Return the training split of the dataset that the configuration names."""
        config = self.config
        if not config.data:
            raise TrainingError(
                "no dataset: set `data` to a folder of converted scenes, or make one by `gqn.made_scenes`"
            )
        return SceneDataset(config.data, "train", fraction=config.fraction, size=config.size)

    def open_scenes(
        self, scenes: Scenes | None, held_out: Scenes | None, dataset: SceneDataset | None
    ) -> tuple[Scenes, Scenes, str]:
        """Return the scenes to learn from, those to be tested on, and the split of the latter."""
        if scenes is not None or dataset is None:
            assert scenes is not None
            return scenes, held_out or scenes, "train" if held_out is None else "test"
        unseen = held_out_scenes(self.config.data, dataset, warn=self.group.leads)
        labelled = not {*self.asked.senses.values(), *self.asked.tasks.values()} <= {FRAMES, *dataset.further}
        seen, tested = (
            LabelledScenes(part, scene_labels(self.config.data, part.folder.name) if labelled else [])
            for part in (dataset, unseen)
        )
        return seen, tested, unseen.folder.name

    def open_twins(self, dataset: SceneDataset | None) -> Scenes | None:
        """Return the twins of the held-out scenes; None where there are none, or the network is no flat one."""
        drawn = dataset is not None and (Path(self.config.data) / "torch" / TWINS).exists()
        if not drawn or self.asked != FLAT or self.evaluated_on != "test":
            return None
        return LabelledScenes(SceneDataset(self.config.data, TWINS, size=self.config.size))

    def build(
        self, given: RecursiveGQN | None, saved: dict[str, Any] | None, dataset: SceneDataset | None
    ) -> RecursiveGQN:
        """Return the network of the checkpoint that the run goes on from, or that was given, or as configured."""
        config, started = self.config, set()
        if saved is not None:
            self.check_resumed(saved, dataset)
            network = RecursiveGQN.from_dict(saved["graph"])
            network.load_state_dict(saved["network"])  # frozen senses encode with it
            started = set(network.spec)
        elif given is not None:
            network, started = given, set(given.spec)
        elif config.graph.graph:
            network = RecursiveGQN.from_file(config.graph.graph)
        else:
            if config.graph.tasks or config.graph.alternate:
                raise TrainingError("--tasks and --alternate are for a graph: name its file by --graph")
            assert dataset is not None
            network = flat_network(config, dataset)
        if config.graph.start and saved is None:
            started = take_weights(network, config.graph.start)
        untrained = [name for name, node in network.spec.items() if node.frozen and name not in started]
        if untrained and self.group.leads:
            print(f"{listed(untrained)} keep random weights, being frozen: --start RUN has others", file=sys.stderr)
        network.check_whole()
        return network

    def check_resumed(self, saved: dict[str, Any], dataset: SceneDataset | None) -> None:
        """Raise TrainingError where the options or the dataset are not those of the run that is resumed."""
        before, now = ModelConfig(**saved["config"]["model"]), self.config.model
        if replace(before, activation_checkpointing=now.activation_checkpointing) != now:
            raise TrainingError(f"{self.folder} holds a network of other sizes: leave the model's options as they were")
        frames = [
            tuple(node["frame"])
            for name, node in saved["graph"].get("senses", {}).items()
            if node.get("data", "frames" if len(node.get("frame", ())) == 3 else name) == FRAMES
        ]
        if dataset is not None and any(frame[1] != dataset.pixels for frame in frames):
            raise TrainingError(
                f"{self.folder} was trained on frames of {frames[0][1]} pixels, {self.config.data} has "
                f"{dataset.pixels}: name the dataset that it was trained on"
            )

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
        return self.step > 0 and (at_end or self.step % self.config.evaluation.eval_every == 0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what `learn` returns: of each task its loss above the floor, whether it was asked, and its KL."""
        return (*(name for task in self.tasks for name in (task, f"{task} asked", f"{task} kl")), "gradient_norm")

    def parallel(self) -> nn.Module:
        """Return the objective as `loss` calls it, on several processes with gradients averaged over them."""
        objective: nn.Module = Objective(self.network, residual_weights=self.config.training.residual_weights)
        if self.config.compile:
            objective = cast(nn.Module, torch.compile(objective))
        # With several senses or tasks, what a batch asks and what is known of it decide which weights a step uses.
        partial = len(self.asked.senses) + len(self.asked.tasks) > 2
        return self.group.parallel(objective, partial=partial)

    def learn(self, parallel: nn.Module, batch: Batch) -> Tensor:
        """Take one training step and return what `names` says."""
        settings = self.config.training
        # Noise follows from the seed, the step and the rank alone, so that a resumed run draws the same.
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * self.group.count + self.group.rank)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = settings.learning_rate_at(self.scheduled_step())
        self.set_sigma(settings.sigma_at(self.scheduled_step()))

        # Accumulate gradients.
        self.optimizer.zero_grad()
        found = torch.zeros(len(self.names) - 1, device=self.group.device)
        parts = batch.parts(settings.gradient_accumulation_steps)
        for number, part in enumerate(parts, start=1):
            # Gradients of several processes are averaged once, with those of the last part.
            with nullcontext() if number == len(parts) else self.group.apart(parallel):
                loss, values = self.loss(parallel, part)
                (loss / len(parts)).backward()
            found += torch.stack(values).detach() / len(parts)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_grad_norm or float("inf"))

        # Update weights and their EMA.
        self.optimizer.step()
        update_ema(self.ema, self.network, averaging_decay(self.step, settings.ema_decay))
        return torch.cat([found, norm.detach()[None]])

    def scheduled_step(self) -> int:
        """Return the step that the schedules have come to: with a limit of minutes, by the share of them that is used.

        Several processes follow the steps alone, since their clocks differ.
        """
        settings = self.config.training
        if not settings.minutes or self.group.count > 1:
            return self.step
        return max(self.step, int(settings.steps * self.seconds / (60 * settings.minutes)))

    def set_sigma(self, sigma: float) -> None:
        """Set the standard deviation of the pixels of all tasks that render and learn."""
        for task in self.tasks:
            head = head_of(self.network, task)
            if isinstance(head, Render) and not self.network.spec[task].frozen:
                head.sigma.fill_(sigma)
                self.floors[task] = likelihood_floor(sigma, head.pixels)

    def loss(self, parallel: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return the sum of the tasks' losses by their weights, and what `names` says but for the gradient's norm."""
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found, nothing = parallel(batch)
        zero = torch.zeros((), device=self.group.device)
        total, values = zero if nothing is None else nothing, []
        for task in self.tasks:
            learned, loss, kl = found.get(task, (zero, zero, zero))
            total = total + self.network.spec[task].weight * learned
            asked = task in found
            values += [loss - self.floors[task] if asked else zero, zero + asked, kl]
        return total, values

    def log(self, means: dict[str, float], writer: SummaryWriter | None, bar: tqdm) -> None:
        """Show the means of the last steps in the progress bar and in TensorBoard."""
        shown = {}
        for task in self.tasks:
            if not means[f"{task} asked"]:
                continue
            above, kl = (means[name] / means[f"{task} asked"] for name in (task, f"{task} kl"))
            shown[f"{task}: -ELBO over floor"] = f"{above:.3g}"
            if kl:
                shown["KL"] = f"{kl:.1f}"
            if writer:
                writer.add_scalar(f"train/{task}/negative_elbo_above_floor", above, self.step)
                writer.add_scalar(f"train/{task}/kl", kl, self.step)
        bar.set_postfix(shown, refresh=False)
        if writer:
            writer.add_scalar("train/gradient_norm", means["gradient_norm"], self.step)
            writer.add_scalar("train/sigma", self.config.training.sigma_at(self.step - 1), self.step)

    def evaluate(self, writer: SummaryWriter | None) -> None:
        """Report on held-out scenes by the EMA weights, in metrics.json, TensorBoard and pictures."""
        settings = self.config.evaluation
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found = evaluate(
                self.ema,
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
                with evaluating(self.ema):
                    found["render"] = (found["render"] or {}) | {
                        "objects": object_gain(
                            lambda views, cameras: self.ema.sample(views, cameras)[0],
                            self.held_out,
                            self.twins,
                            context=settings.eval_context_views,
                            seed=self.config.seed,
                            limit=settings.eval_scenes,
                            device=self.group.device,
                        )
                    }
        scenes = min(len(self.held_out), settings.eval_scenes)
        report = {"step": self.step, "seconds": round(self.seconds, 1), "scenes": scenes, "tasks": found}
        self.history.append(report)
        if writer:
            for name, value in scalars(report):
                writer.add_scalar(f"held_out/{name}", value, self.step)
            self.draw(writer)
            write_json(self.folder / METRICS, {**self.about, "history": self.history})

    def draw(self, writer: SummaryWriter) -> None:
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
            figures["predictions"] = plots.predictions(self.ema, first.batch, first.shuffled, samples=settings.samples)
        for name, figure in figures.items():
            with whole_file(self.folder / f"{name}.png") as file:
                figure.savefig(file, format="png")
            writer.add_figure(f"held_out/{name}", figure, self.step)

    def circumstances(self) -> dict[str, Any]:
        """Return the circumstances that a reader of the figures must know."""
        dataset = {"name": GIVEN, "training_scenes": len(self.scenes)}
        if isinstance(self.scenes, LabelledScenes):
            dataset |= {"name": self.scenes.scenes.name, "pixels": self.scenes.scenes.pixels}
        return {
            **provenance(self.group),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "dataset": dataset,
            "evaluated_on": self.evaluated_on,
            "tasks": self.tasks,
            "encoded_beforehand": sorted(self.batches.encoded),
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }

    def save(self) -> None:
        """Write the checkpoint."""
        if self.group.leads:
            checkpoint.save(
                self.folder,
                config=self.config,
                step=self.step,
                seconds=self.seconds,
                network=self.network,
                ema=self.ema,
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
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for parameters in self.optimizer.param_groups:
            parameters["weight_decay"] = self.config.training.weight_decay  # the checkpoint's may have been another
        self.step, self.seconds = saved["step"], saved["seconds"]
        if (self.folder / METRICS).exists():
            reports = json.loads((self.folder / METRICS).read_text())["history"]
            self.history = [report for report in reports if report["step"] <= self.step]

    @contextmanager
    def writer(self) -> Iterator[SummaryWriter | None]:
        """Open the run's folder with its configuration and TensorBoard logs, on the process that leads."""
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
    """Means of what `Trainer.learn` returns, gathered on the device and read only when they are asked for."""

    def __init__(self, group: Processes, names: tuple[str, ...]) -> None:
        self.group, self.names = group, names
        self.clear()

    def clear(self) -> None:
        self.sum, self.count = torch.zeros(len(self.names), device=self.group.device), 0

    def add(self, values: Tensor) -> None:
        self.sum += values
        self.count += 1

    def check(self, step: int, folder: Path) -> None:
        """Raise TrainingError where a loss or a gradient since the last call of `means` was not finite."""
        if not self.sum.isfinite().all():
            raise TrainingError(
                f"loss or gradient not finite at step {step}: {folder}/checkpoint.pt, if there is one, is from before; "
                "go on from it with a lower --learning-rate or --max-grad-norm"
            )

    def means(self, step: int, folder: Path) -> dict[str, float]:
        """Return means over the steps since the last call and over the processes."""
        self.sum = self.group.total(self.sum)
        self.check(step, folder)
        means = (self.sum / (self.count * self.group.count)).tolist()
        self.clear()
        return dict(zip(self.names, means, strict=True))


def chosen_tasks(graph: RecursiveGQN, wanted: tuple[str, ...]) -> list[str]:
    """Return the tasks to train. Raises GraphError for one that there is not, or by which nothing would learn."""
    learning = graph.learning()
    if not learning:
        raise GraphError("nothing is left to learn: all nodes are frozen")
    for name in wanted:
        if name not in learning:
            why = "it and all that it reads are frozen" if name in graph.spec else "there is no such task"
            raise GraphError(f"task '{name}' can't be trained, {why}; there are {listed(learning)}")
    return [name for name in learning if not wanted or name in wanted]


def asked_by(network: RecursiveGQN, tasks: list[str]) -> Asked:
    """Return the data of some tasks and of the senses that they read."""
    spec = network.spec
    read = set().union(*(below(spec, task) for task in tasks))
    return Asked(
        {name: data_of(name, node) for name, node in spec.items() if node.kind == "sense" and name in read},
        {name: data_of(name, spec[name]) for name in tasks},
    )


def flat_network(config: Config, dataset: SceneDataset) -> GenerativeQueryNetwork:
    """Return the untrained flat network of a configuration for the frames and the cameras of a dataset.

    Raises:
        TrainingError: where neither the options nor the dataset's description say what a volume must know.
    """
    options = asdict(config.model)
    lens = {name: options.pop(name) for name in ("field_of_view", "centre", "radius")}
    side = options.pop("side")
    if config.model.representation == "volume":
        known = dataset.geometry
        said: dict[str, Any] = {"centre": (0.0, 0.0, 0.0)}
        if known:
            said = {
                "field_of_view": known.field_of_view,
                "centre": known.cube_centre,
                "radius": known.cube_radius,
            }
        options["volume"] = said | {name: value for name, value in lens.items() if value}
        options["volume"]["side"] = side
        if not lens.keys() <= options["volume"].keys():
            raise TrainingError(
                f"{config.data}: its description says neither the cameras' field of view nor where its world lies: "
                "give --field-of-view and --radius, or take --representation tower"
            )
    return GenerativeQueryNetwork(pixels=dataset.pixels, **options)


def resolved(config: Config, name: str, group: Processes) -> Config:
    """Return the configuration as it holds for this run, with options that were left open spelled out."""
    parts = config.training.gradient_accumulation_steps
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
    """Return the preset's name with the first number that no run has."""
    return next(name for number in count(1) if not (runs / (name := f"{preset}-{number}")).exists())


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Set ema <- decay * ema + (1 - decay) * network, for every weight; buffers are the network's."""
    for average, weight in zip(ema.parameters(), network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    for copied, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        copied.copy_(buffer)


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16; "auto" does where the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def held_out_scenes(directory: str, training: SceneDataset, *, warn: bool) -> SceneDataset:
    """Return the test split, or with a warning the training split where a dataset has no other."""
    if (Path(directory) / "torch" / "test").exists():
        return SceneDataset(directory, "test", size=training.pixels)
    if warn:
        print(f"{directory} has no test split: evaluation is on the training scenes", file=sys.stderr)
    return training
