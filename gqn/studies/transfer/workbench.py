"""Networks of the transfer study's conditions, and the short runs by which they learn a task.

All conditions end in the same head, on numbers that are standardised over scenes, so that no condition has it harder
only because what tells scenes apart is small beside what they share. They differ in what the head reads, and in what of
that is frozen. Of a volume the head itself standardises the cells, scene by scene, and a place is asked of each of them
(`gqn.models.heads.Place`). They are as coarse as CELLS says, so that those of thousands of scenes can be kept. What its
views say is joined before r, so that r is kept for one choice of views a scene, which all conditions then see.

The library's trainer serves runs of hours: a folder, checkpoints, logs. Here are hundreds of runs of seconds on data in
memory, evaluated at chosen steps; their batches are drawn so that all conditions of a seed see the same.
"""

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from gqn.core.progress import Progress
from gqn.core.views import Batch, EncodedViews, Views
from gqn.data.task_scenes import TaskScenes
from gqn.models.fusion import Fusion, Standardise
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import mean_loss
from gqn.models.outputs import Volume
from gqn.studies.transfer.experiment import HIDDEN, PLACES, Condition, Experiment

VISION, STATE, STANDARD, SECOND = "vision", "state", "standard", "arm"  # names of nodes
STANDARD_SCENES = 500  # from which the statistics are taken
SECOND_LAYER = {"channels": 128, "hidden": 256}
UNRELATED = 9  # numbers of the unrelated task's answer
OTHER_BATCHES = 10_000  # added to a seed, for the batches of a second layer
VIEWS_SEED = 0  # which views of a scene are shown where they are always the same
AUTOENCODER_BATCH = 64  # frames a step
PIECE = 4  # scenes that are encoded at once
CELLS = (16, 8)  # along an edge of a volume, as tasks read it: the first that its own are a multiple of
TOWER: dict[str, Any] = {"channels": 64, "aggregate": "mean", "normalise": True}  # of the published 256


@dataclass(frozen=True)
class Draw:
    """Batches as a function of the step: the same scenes and views for the same seed, whatever the condition.

    Attributes:
        targets: Answers to each task, (n, numbers), standardised, NaN where they are not known.
        features: What a frozen sense encodes beforehand, see `Workbench.features`; None to show frames.
        views: Of each scene the views that are shown, (n, m); None for others at each step.
        chosen: The numbers of the labelled scenes.
        batch: Scenes a step.
        context: Views of each scene.
    """

    scenes: TaskScenes
    condition: Condition
    targets: dict[str, Tensor]
    features: Tensor | None
    views: Tensor | None
    chosen: Tensor
    batch: int
    context: int
    seed: int

    def __call__(self, step: int) -> Batch:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        picked = self.chosen[torch.randint(len(self.chosen), (self.batch,), generator=random)]
        return self.batch_of(picked, some_views(self.batch, self.scenes, self.context, random))

    def batch_of(self, picked: Tensor, views: Tensor) -> Batch:
        """Return the batch of the scenes `picked` (b,) and the answers to their tasks.

        views: (b, m), of each scene, where not the same are always shown.
        """
        seen = picked.roll(1) if self.condition.shuffled == "scenes" else picked
        views = views if self.views is None else self.views[seen]
        if self.condition.sense == "state":
            senses = {STATE: Views(self.scenes.state[seen][:, None], torch.zeros(len(seen), 1, 0))}
        else:
            senses = {VISION: shown(self.scenes, seen[:, None], views, self.features)}
        tasks = {}
        for name, target in self.targets.items():
            answer = target[picked][:, None]
            known = answer.isfinite().all(dim=2)
            tasks[name] = Views(answer.nan_to_num(), torch.zeros(len(picked), 1, 0), known)
        return Batch(senses, tasks)


def some_views(count: int, scenes: TaskScenes, context: int, random: torch.Generator) -> Tensor:
    """Return different random views of each of `count` scenes, (count, context)."""
    return torch.rand(count, scenes.frames.shape[1], generator=random).argsort(dim=1)[:, :context]


def fixed_views(scenes: TaskScenes, context: int) -> Tensor:
    """Return for each scene the views by which all conditions are examined, (n, context)."""
    return some_views(len(scenes), scenes, context, torch.Generator().manual_seed(VIEWS_SEED))


def chosen_scenes(total: int, labelled: int, seed: int) -> Tensor:
    """Return the numbers of the labelled scenes of a seed; a smaller choice lies within a larger one."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:labelled]


def shown(scenes: TaskScenes, numbers: Tensor, views: Tensor, features: Tensor | None = None) -> Views:
    """Return views (b, m) of the scenes of some numbers (b, 1), encoded where there are features."""
    cameras = scenes.cameras[numbers, views]
    if features is None:
        return Views(scenes.frames[numbers, views].float() / 255, cameras)
    if features.shape[1] == 1:  # one r of all views of a scene
        return EncodedViews(features[numbers, 0].float(), cameras[:, :1])
    return EncodedViews(features[numbers, views].float(), cameras)


def learn(
    graph: RecursiveGQN,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    learning_rate: float,
    warm_up: int,
    bfloat16: bool,
    pause: Callable[[int], None] = lambda step: None,
) -> None:
    """Train what is not frozen by Adam, all tasks of the batches together; `pause` is called before each step.

    The learning rate rises over the first `warm_up` steps.
    """
    optimizer = torch.optim.Adam([p for p in graph.parameters() if p.requires_grad], lr=learning_rate)
    graph.train()
    for step in Progress(range(steps), "steps of a run", unit="steps", leave=False):
        pause(step)
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / warm_up)
        batch = batches(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            answers = graph(batch)
            loss = torch.stack([mean_loss(answer, batch.tasks[name]) for name, answer in answers.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pause(steps)
    graph.eval()


class Trained(NamedTuple):
    """A graph, and how many seconds of training made it what it is."""

    graph: RecursiveGQN
    seconds: float


class Workbench:
    """The graphs of conditions, built from a trained layer 1; what several of them share is kept.

    Args:
        experiment: How second layers and autoencoders are trained.
        scenes: Those to learn from.
        layer_1: A graph with a sense `vision`, and the seconds of its training.
        bfloat16: Compute in bfloat16.
    """

    def __init__(self, experiment: Experiment, scenes: TaskScenes, layer_1: Trained, bfloat16: bool) -> None:
        self.experiment, self.scenes, self.bfloat16 = experiment, scenes, bfloat16
        self.layer_1 = layer_to_read(layer_1.graph)
        self.seconds = layer_1.seconds
        self._autoencoded: Trained | None = None
        self._features: dict[tuple[str, int, int], Tensor] = {}
        self._second: dict[tuple[str, str, str, int], Trained] = {}

    def graph(self, condition: Condition, task: str, seed: int) -> tuple[RecursiveGQN, str]:
        """Return the graph of a condition before it learns the task, without a head, and the node for the head."""
        if condition.second != "none":
            return copy.deepcopy(self.second_layer(condition, task, seed).graph), SECOND
        if condition.sense == "state":
            torch.manual_seed(seed)
            graph = RecursiveGQN()
            graph.add_sense(STATE, "vector", frame=self.scenes.state.shape[1:], pose=0)
        else:
            graph = copy.deepcopy(self._vision(condition, seed).graph)
        (graph.freeze if condition.frozen else graph.unfreeze)()
        return graph, self._readable(graph, condition, seed)

    @torch.no_grad()
    def _readable(self, graph: RecursiveGQN, condition: Condition, seed: int) -> str:
        """Return the graph's one sense if it is a volume, else a new node: the sense as it is now, standardised."""
        (sense,) = graph.spec
        if is_volume(graph, sense):
            return sense
        graph.add_representation(STANDARD, [sense], "standardise", channels=graph.trials[sense].shape[0])
        some = dataclasses.replace(self.draw(condition, {}, seed), batch=STANDARD_SCENES)
        r = graph.encode(some(0).senses, sense)
        cast(Standardise, cast(Fusion, graph.nodes[STANDARD]).encoders[sense]).fit(r)
        return STANDARD

    def draw(
        self,
        condition: Condition,
        targets: dict[str, Tensor],
        seed: int,
        chosen: Tensor | None = None,
        scenes: TaskScenes | None = None,
    ) -> Draw:
        """Return batches of the chosen scenes, by default of all of those to learn from."""
        scenes, sizes = scenes or self.scenes, self.experiment
        chosen = torch.arange(len(scenes)) if chosen is None else chosen
        features = self.features(condition, scenes, seed)
        views = fixed_views(scenes, sizes.context) if is_volume(self.layer_1, VISION) else None
        return Draw(scenes, condition, targets, features, views, chosen, sizes.batch, sizes.context, seed)

    def seconds_before(self, condition: Condition, task: str, seed: int) -> float:
        """Return the seconds of training of all that a condition starts from."""
        seconds = 0.0 if condition.sense == "state" else self._vision(condition, seed).seconds
        if condition.second != "none":
            seconds += self.second_layer(condition, task, seed).seconds
        return seconds

    @torch.no_grad()
    def features(self, condition: Condition, scenes: TaskScenes, seed: int) -> Tensor | None:
        """Return what a frozen sense encodes beforehand; None where the sense learns.

        Of all views, (n, v, c, h, w); of a volume r by the views that are always shown, (n, 1, c, h, w).
        """
        if condition.sense != "vision" or not condition.frozen:
            return None
        key = condition.encoder, seed if condition.encoder == "untrained" else -1, id(scenes)
        if key not in self._features:
            # An untrained encoder's features serve one seed only, and are large: they are not kept.
            self._features = {k: v for k, v in self._features.items() if k[1] in (-1, seed)}
            graph = copy.deepcopy(self._vision(condition, seed).graph)
            graph.freeze()
            graph.eval()
            volume, every = is_volume(graph, VISION), torch.arange(scenes.frames.shape[1]).expand(len(scenes), -1)
            views = fixed_views(scenes, self.experiment.context) if volume else every
            parts = Progress(torch.arange(len(scenes)).split(PIECE), "encoding scenes", unit="pieces", leave=False)
            seen = ({VISION: shown(scenes, part[:, None], views[part])} for part in parts)
            kept = torch.float16 if volume else torch.float32
            self._features[key] = torch.cat([graph.encode_views(senses)[VISION].frames.to(kept) for senses in seen])
        return self._features[key]

    def _vision(self, condition: Condition, seed: int) -> Trained:
        """Return a graph of the sense alone."""
        graph = self.layer_1
        if is_volume(graph, VISION) and not condition.frozen:
            # No finer than it is read: all cells of all views of a step would take several times as long.
            graph = vision_of(graph, side=graph.trials[VISION].shape[1], pooled=0)
        if condition.encoder == "layer 1":
            return Trained(graph, self.seconds)
        if condition.encoder == "autoencoder":
            self._autoencoded = self._autoencoded or self._autoencoder()
            return self._autoencoded
        torch.manual_seed(seed)
        graph = copy.deepcopy(graph)
        if condition.encoder == "tower":
            graph.replace(VISION, "tower", **TOWER)
        else:
            graph.replace(VISION)
        return Trained(graph.to(memory_format=torch.channels_last), 0.0)

    def _autoencoder(self) -> Trained:
        """Return the same encoder, trained to give back the very frame that it sees, by a network without latents."""
        graph = self._vision(Condition(), 0).graph
        graph.add_task("frame", "picture", [VISION], target=self.scenes.frames.shape[2:])

        def batch(step: int) -> Batch:
            random = torch.Generator().manual_seed(step)
            scene, view = (
                torch.randint(n, (AUTOENCODER_BATCH,), generator=random) for n in self.scenes.frames.shape[:2]
            )
            seen = shown(self.scenes, scene[:, None], view[:, None])
            return Batch({VISION: seen}, {"frame": Views(seen.frames, seen.cameras[..., :0])})

        return self._trained(graph, batch, ["frame"], self.experiment.autoencoder_steps, 1e-3)

    def _trained(
        self, graph: RecursiveGQN, batches: Callable[[int], Batch], tasks: list[str], steps: int, rate: float
    ) -> Trained:
        """Return the graph after it learned tasks, without them."""
        begun = time.monotonic()
        warm_up = self.experiment.warm_up
        learn(graph, batches, steps=steps, learning_rate=rate, warm_up=warm_up, bfloat16=self.bfloat16)
        graph.remove(*tasks)
        return Trained(graph, time.monotonic() - begun)

    def second_layer(self, condition: Condition, task: str, seed: int) -> Trained:
        """Return a representation of the frozen sense, trained for other tasks, or as the condition says."""
        key = condition.second, task if condition.second != "unrelated" else "", condition.encoder, seed
        if key not in self._second:
            self._second = {k: graph for k, graph in self._second.items() if k[-1] == seed}
            first = dataclasses.replace(condition, second="none")
            graph, reads = self.graph(first, task, seed)
            torch.manual_seed(seed)
            graph.add_representation(SECOND, [reads], "mlp", **SECOND_LAYER)
            answers = {
                "other tasks": {name: a for name, a in self.scenes.answers.items() if name != task},
                "same task": {task: self.scenes.answers[task]},
                # Numbers that have nothing to do with the scene, the same each time that it is shown.
                "unrelated": {"numbers": torch.randn(len(self.scenes), UNRELATED)},
            }[condition.second]
            standards = {name: Standard.of(answer) for name, answer in answers.items()}
            targets = {name: standards[name].apply(answer) for name, answer in answers.items()}
            for name, standard in standards.items():
                add_head(graph, name, SECOND, standard, HIDDEN)
            draw = dataclasses.replace(self.draw(first, targets, seed), seed=seed + OTHER_BATCHES)
            steps, rate = self.experiment.second_steps, self.experiment.second_learning_rate
            self._second[key] = self._trained(graph, draw, list(targets), steps, rate)
            self._second[key].graph.freeze()
        return self._second[key]


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of answers, by which they are brought to one scale."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, answers: Tensor) -> "Standard":
        """Return that of the known answers (n, numbers); what never varies has deviation 1."""
        known = answers[answers.isfinite().all(dim=1)]
        deviation = known.std(dim=0, correction=0)
        return cls(known.mean(dim=0), torch.where(deviation > 1e-5, deviation, 1.0))

    def apply(self, answers: Tensor) -> Tensor:
        """Return the answers on one scale."""
        return (answers - self.mean) / self.deviation

    def undo(self, standardised: Tensor) -> Tensor:
        """Return the answers on their own scale."""
        return standardised * self.deviation + self.mean


def layer_to_read(graph: RecursiveGQN) -> RecursiveGQN:
    """Return a graph's vision alone; of a volume with cells as coarse as tasks read them."""
    if not is_volume(graph, VISION):
        return vision_of(graph)
    side = graph.trials[VISION].shape[1]
    return vision_of(graph, pooled=next(cells for cells in CELLS if side % cells == 0))


def vision_of(graph: RecursiveGQN, **options: Any) -> RecursiveGQN:
    """Return a graph's vision alone, with its weights, and other options of which none changes their sizes."""
    found = RecursiveGQN.from_dict({"senses": {VISION: {**graph.to_dict()["senses"][VISION], **options}}})
    found.nodes[VISION].load_state_dict(graph.nodes[VISION].state_dict())
    return found.to(memory_format=torch.channels_last)


def is_volume(graph: RecursiveGQN, node: str) -> bool:
    """Return whether a node gives the cells of a volume."""
    return isinstance(graph.trials[node].output, Volume)


def add_head(graph: RecursiveGQN, name: str, reads: str, standard: Standard, hidden: int) -> None:
    """Add the head that all conditions share, least squares on standardised answers; for a volume's place its own."""
    if is_volume(graph, reads) and name in PLACES:
        origin, unit = standard.mean.tolist(), standard.deviation.tolist()
        graph.add_task(name, "place", [reads], target=[3], origin=origin, unit=unit)
    else:
        graph.add_task(name, "vector", [reads], target=list(standard.mean.shape), hidden=hidden, sigma=1.0)
