"""Training of a graph: the loop of `gqn.training.trainer`, with the losses of several tasks."""

import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from tqdm import tqdm

from gqn.core.distributed import Processes, processes
from gqn.core.files import whole_file
from gqn.core.views import GraphBatch, Views
from gqn.data.dataset import SceneDataset
from gqn.data.graph_batches import Asked, Encoded, GraphBatches, GraphScenes, check_data, graph_evaluation_batches
from gqn.data.graph_scenes import FRAMES, LabelledScenes
from gqn.data.labels import scene_labels
from gqn.figures import predictions as plots
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render, mean_known, mean_loss
from gqn.models.losses import likelihood_floor
from gqn.models.nodes import GraphError, below, data_of, listed
from gqn.training import checkpoint
from gqn.training.config import Config
from gqn.training.graph_evaluation import evaluate_graph, head_of
from gqn.training.trainer import Run, TrainingError, check_named, held_out_scenes

GIVEN = "given"  # where a configuration names a graph's file or a dataset, that a notebook gave it instead


def train_graph(
    config: Config,
    graph: RecursiveGQN | None = None,
    *,
    scenes: GraphScenes | None = None,
    held_out: GraphScenes | None = None,
    resume: bool = False,
) -> Path:
    """Train a graph as `config` says and return the run's folder, as `gqn.training.trainer.train` does.

    graph: in place of the file that `config.recursive` names; it is trained as it stands, frozen nodes as they are.
    scenes, held_out: in place of the dataset that `config.data` names. Beside what a run's folder holds, this one's has
    graph.svg and, for predictions.png, curves.png: every task's loss on held-out scenes, also under shuffled contexts.
    Raises GraphError too.
    """
    with processes(config.device) as group:
        return GraphRun(config, group, graph=graph, scenes=scenes, held_out=held_out, resume=resume).train()


class GraphRun(Run):
    """One training run of a graph."""

    network: RecursiveGQN
    averaged: RecursiveGQN
    batches: GraphBatches

    def __init__(
        self,
        config: Config,
        group: Processes,
        *,
        graph: RecursiveGQN | None,
        scenes: GraphScenes | None,
        held_out: GraphScenes | None,
        resume: bool,
    ) -> None:
        self.given, self.sources = graph, (scenes, held_out)
        # Whoever goes on with the run must see that it is a graph's.
        file = config.recursive.graph or GIVEN
        super().__init__(replace(config, recursive=replace(config.recursive, graph=file)), group, resume=resume)

    def prepare(self, saved: dict[str, Any] | None) -> None:
        training, options = self.config.training, self.config.recursive
        self.network = self.build(saved)
        self.tasks = chosen_tasks(self.network, options.tasks)
        self.floors = {task: head_of(self.network, task).floor() for task in self.tasks}
        self.names = (*(name for task in self.tasks for name in (task, f"{task} asked", f"{task} kl")), "gradient_norm")
        spec = self.network.spec
        read = set().union(*(below(spec, task) for task in self.tasks))
        self.asked = Asked(
            {name: data_of(name, node) for name, node in spec.items() if node.kind == "sense" and name in read},
            {name: data_of(name, spec[name]) for name in self.tasks},
        )
        self.open_scenes()
        check_data(self.unseen, self.asked, self.config.evaluation.evaluation_context, 1, "--evaluation-context")
        self.batches = GraphBatches(self.seen, self.asked, **self.drawing(), alternate=options.alternate)
        if options.cache and self.group.count == 1:
            looks = training.steps * training.batch * sum(training.context_views) // 2
            self.batches.encoded = encode_scenes(
                self.network, self.seen, self.asked.senses, looks, Path(self.config.runs), self.group, self.bfloat16
            )

    def build(self, saved: dict[str, Any] | None) -> RecursiveGQN:
        """The graph of the checkpoint that the run goes on from, or that was given, or of the file."""
        options = self.config.recursive
        if saved is not None:
            if not saved.get("graph"):
                raise TrainingError(f"{self.folder} holds no graph, but a flat network: go on with it without --graph")
            graph = RecursiveGQN.from_dict(saved["graph"])
            graph.load_state_dict(saved["network"])  # the cache is made of it
        else:
            graph = RecursiveGQN.from_file(options.graph) if self.given is None else self.given
            started = (
                take_weights(graph, options.start)
                if options.start
                else set(graph.spec if self.given is not None else ())
            )
            untrained = [name for name, node in graph.spec.items() if node.frozen and name not in started]
            if untrained and self.group.leads:
                print(f"{listed(untrained)} keep random weights, being frozen: --start RUN has others", file=sys.stderr)
        graph.check_whole()
        return graph.to(memory_format=torch.channels_last).train()

    def open_scenes(self) -> None:
        """The scenes to learn from and those to be tested on: given, or of the dataset."""
        seen, unseen = self.sources
        if seen is not None:
            self.seen, self.unseen, self.data = seen, unseen or seen, GIVEN
            self.evaluated_on = "train" if unseen is None else "test"
            return
        check_named(self.config)
        config = self.config
        training = SceneDataset(config.data, "train", fraction=config.fraction, size=config.size)
        held_out = held_out_scenes(self.config.data, training, warn=self.group.leads)
        self.data, self.evaluated_on = training.name, held_out.folder.name
        labelled = not {*self.asked.senses.values(), *self.asked.tasks.values()} <= {FRAMES, *training.further}
        self.seen, self.unseen = (
            LabelledScenes(part, scene_labels(self.config.data, part.folder.name) if labelled else [])
            for part in (training, held_out)
        )

    def parallel(self) -> nn.Module:
        # Which weights a step uses depends on what it asks, and on what is known.
        return self.group.parallel(self.compiled(Objective(self.network)), partial=True)

    def loss(self, parallel: nn.Module, batch: GraphBatch) -> tuple[Tensor, list[Tensor]]:
        """The sum of the tasks' losses by their weights; of each task its loss, whether it was asked, and its KL."""
        sigma = self.config.training.sigma_at(self.step)
        floors = dict(self.floors)
        for task in self.tasks:
            head = head_of(self.network, task)
            if isinstance(head, Render) and not self.network.spec[task].frozen:
                head.sigma.fill_(sigma)
                floors[task] = likelihood_floor(sigma, head.pixels)
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found, nothing = parallel(batch)
        zero = torch.zeros((), device=self.group.device)
        total, values = zero if nothing is None else nothing, []
        for task in self.tasks:
            loss, kl = found.get(task, (zero, zero))
            total = total + self.network.spec[task].weight * loss
            asked = task in found
            values += [loss - floors[task] if asked else zero, zero + asked, kl]
        return total, values

    def log(self, means: dict[str, float], writer: SummaryWriter | None, bar: tqdm) -> None:
        shown = {}
        for task in self.tasks:
            if means[f"{task} asked"]:
                shown[task] = means[task] / means[f"{task} asked"]
                if writer:
                    writer.add_scalar(f"train/{task}/negative_elbo_above_floor", shown[task], self.step)
                    writer.add_scalar(f"train/{task}/kl", means[f"{task} kl"] / means[f"{task} asked"], self.step)
        bar.set_postfix({task: f"{value:.3g}" for task, value in shown.items()}, refresh=False)
        if writer:
            writer.add_scalar("train/gradient_norm", means["gradient_norm"], self.step)
            writer.add_scalar("train/sigma", self.config.training.sigma_at(self.step - 1), self.step)

    def report(self) -> dict[str, Any]:
        settings = self.config.evaluation
        batches = graph_evaluation_batches(
            self.unseen,
            self.asked,
            batch=32,
            context=settings.evaluation_context,
            seed=self.config.seed,
            limit=settings.evaluation_scenes,
            rank=self.group.rank,
            processes=self.group.count,
        )
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            found = evaluate_graph(
                self.averaged, batches, tasks=self.tasks, seed=self.config.seed, processes=self.group
            )
        return {"tasks": found}

    def draw(self, writer: SummaryWriter) -> None:
        """graph.svg, and curves.png with the same in TensorBoard."""
        with whole_file(self.folder / "graph.svg") as file:
            file.write(self.network._repr_svg_().encode())
        figure = plots.curves(self.history)
        with whole_file(self.folder / "curves.png") as file:
            figure.savefig(file, format="png")
        writer.add_figure("held_out/curves", figure, self.step)

    def about_data(self) -> dict[str, Any]:
        return {
            "dataset": {"name": self.data, "training_scenes": len(self.seen)},
            "evaluated_on": self.evaluated_on,
            "tasks": self.tasks,
            "encoded_beforehand": sorted(self.batches.encoded),
        }

    def kind(self) -> dict[str, Any]:
        return {"pixels": 0, "graph": self.network.to_dict()}


class Objective(nn.Module):
    """A graph with the losses of its tasks, by name: the mean loss and the mean KL of the known answers to a batch.

    And a zero, by which the weights have a gradient, of zero, where a batch asks nothing.
    """

    def __init__(self, graph: RecursiveGQN) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, batch: GraphBatch) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
        found = {}
        for name, answer in self.graph(batch).items():
            asked = batch.tasks[name]
            found[name] = mean_loss(answer, asked), mean_known(answer.kl.sum(dim=-1), asked.present)
        if found:
            return found, None
        learning = (weight for weight in self.graph.parameters() if weight.requires_grad)
        return found, torch.stack([0 * weight.sum() for weight in learning]).sum()


def chosen_tasks(graph: RecursiveGQN, wanted: tuple[str, ...]) -> list[str]:
    """The tasks to train. Raises GraphError for one that there is not, or by which nothing would learn."""
    learning = graph.learning()
    if not learning:
        raise GraphError("nothing is left to learn: all nodes are frozen")
    for name in wanted:
        if name not in learning:
            why = "it and all that it reads are frozen" if name in graph.spec else "there is no such task"
            raise GraphError(f"task '{name}' can't be trained, {why}; there are {listed(learning)}")
    return [name for name in learning if not wanted or name in wanted]


def take_weights(graph: RecursiveGQN, run: str) -> set[str]:
    """Give nodes the weights that a run's nodes of the same names have; the names. Raises GraphError."""
    source = checkpoint.load_graph(run)
    both = [name for name, node in graph.spec.items() if name in source.spec and node.kind == source.spec[name].kind]
    if not both:
        raise GraphError(f"{run} has no node of this graph: it has {listed(source.spec)}")
    for name in both:
        try:
            graph.nodes[name].load_state_dict(source.nodes[name].state_dict())
        except RuntimeError as error:
            raise GraphError(
                f"'{name}' does not fit its weights in {run}: here it is {described(graph, name)}, "
                f"there {described(source, name)}"
            ) from error
    return set(both)


def described(graph: RecursiveGQN, name: str) -> str:
    """A node's network and its options in a line."""
    node = graph.spec[name]
    return f"{node.network} ({', '.join(f'{option} {value}' for option, value in node.options.items())})"


@torch.no_grad()
def encode_scenes(
    graph: RecursiveGQN,
    scenes: GraphScenes,
    senses: Mapping[str, str],
    looks: int,
    folder: Path,
    group: Processes,
    bfloat16: bool,
) -> dict[str, Encoded]:
    """What frozen senses make of every observation of every scene, by sense, mapped from disk.

    looks: observations that would be encoded in training otherwise; a sense for which that is less gets nothing.
    folder: where the disk has room; the files have no name and go with the process.
    """
    encoded: dict[str, Encoded] = {}
    graph = graph.to(group.device).eval()
    for name, data in senses.items():
        count = scenes.observations(data)
        if not graph.spec[name].frozen or len(scenes) * count >= looks:
            continue
        for scene in tqdm(
            range(len(scenes)), desc=f"encoding {data} for {name}", unit="scene", disable=not group.leads
        ):
            observed = scenes.observe(data, scene, range(count))
            if observed is None:
                continue
            views = Views(*(tensor[None] for tensor in observed)).to(group.device)
            with torch.autocast(group.device.type, torch.bfloat16, enabled=bfloat16):
                features = graph.encode_views({name: views})[name].frames[0].cpu()
            if name not in encoded:
                place = mapped((len(scenes), *features.shape), features.dtype, folder)
                encoded[name] = Encoded(place, torch.zeros(len(scenes), dtype=torch.bool))
            encoded[name].features[scene], encoded[name].present[scene] = features, True
    graph.train()
    return encoded


def mapped(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> Tensor:
    """A tensor of zeros in a file without a name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype).view(shape)
