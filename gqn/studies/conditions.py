"""What a task is learned from: the conditions that the transfer protocol compares, each as a graph.

All of them end in the same head, on numbers that are standardised over scenes, so that no condition has it harder only
because what tells scenes apart is small beside what they share. They differ in what the head reads, and in what of that
is frozen.
"""

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from gqn.core.views import EncodedViews, GraphBatch, Views
from gqn.data.task_scenes import TaskScenes
from gqn.models.fusion import Fusion, Standardise
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import mean_loss

VISION, STATE, STANDARD, SECOND = "vision", "state", "standard", "arm"  # names of nodes
STANDARD_SCENES = 500  # from which the statistics are taken
HIDDEN, WIDE = 128, 256  # of heads; a wide one on layer 1 has as many parameters as a second layer with its head
SECOND_LAYER = {"channels": 128, "hidden": 256}
UNRELATED = 9  # numbers of the unrelated task's answer
OTHER_BATCHES = 10_000  # added to a seed, for the batches of a second layer
WARM_UP = 100  # steps over which the learning rate rises
AUTOENCODER_BATCH = 64  # frames a step


@dataclass(frozen=True)
class Condition:
    """What the head of a task reads, and what it is trained on."""

    sense: Literal["vision", "state"] = "vision"
    """State is all that the answers follow from: the joints and the target's place."""
    encoder: Literal["untrained", "layer 1", "autoencoder"] = "untrained"
    """Weights that the sense starts from."""
    frozen: bool = True
    """Whether they stay."""
    second: Literal["none", "other tasks", "same task", "unrelated"] = "none"
    """What a second layer on the frozen sense was trained for before it was frozen too."""
    hidden: int = HIDDEN
    """Width of the head."""
    shuffled: Literal["nothing", "scenes", "answers"] = "nothing"
    """Show another scene's observations, or learn another scene's answers: controls that must fail."""


CONDITIONS = {
    "pixels": Condition(frozen=False),
    "random": Condition(),
    "autoencoder": Condition(encoder="autoencoder"),
    "layer-1": Condition(encoder="layer 1"),
    "fine-tuned": Condition(encoder="layer 1", frozen=False),
    "state": Condition(sense="state", frozen=False),
    "shuffled-scenes": Condition(encoder="layer 1", shuffled="scenes"),
    "shuffled-answers": Condition(encoder="layer 1", shuffled="answers"),
    "wide-head": Condition(encoder="layer 1", hidden=WIDE),
    "layer-2": Condition(encoder="layer 1", second="other tasks"),
    "layer-2-on-random": Condition(second="other tasks"),
    "layer-2-unrelated": Condition(encoder="layer 1", second="unrelated"),
    "layer-2-same": Condition(encoder="layer 1", second="same task"),
}


@dataclass(frozen=True)
class Draw:
    """Batches as a function of the step: the same scenes and views for the same seed, whatever the condition.

    targets: what is learned of each task, (n, numbers), standardised, NaN where it is not known. features: what a
    frozen sense makes of each view, (n, v, c, h, w), None to show frames. chosen: the numbers of the labelled scenes.
    """

    scenes: TaskScenes
    condition: Condition
    targets: dict[str, Tensor]
    features: Tensor | None
    chosen: Tensor
    batch: int
    context: int
    seed: int

    def __call__(self, step: int) -> GraphBatch:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        picked = self.chosen[torch.randint(len(self.chosen), (self.batch,), generator=random)]
        views = torch.rand(self.batch, self.scenes.frames.shape[1], generator=random).argsort(dim=1)[:, : self.context]
        return gather(self.scenes, self.condition, self.targets, self.features, picked, views)


def chosen_scenes(total: int, labelled: int, seed: int) -> Tensor:
    """The numbers of the labelled scenes of a seed; a smaller choice lies within a larger one."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:labelled]


def gather(
    scenes: TaskScenes,
    condition: Condition,
    targets: dict[str, Tensor],
    features: Tensor | None,
    picked: Tensor,
    views: Tensor,
) -> GraphBatch:
    """What a graph is shown of the scenes `picked` (b,) by their `views` (b, m), and what it is asked."""
    shown = picked.roll(1) if condition.shuffled == "scenes" else picked
    place = shown[:, None], views
    if condition.sense == "state":
        senses: dict[str, Views] = {STATE: Views(scenes.state[shown][:, None], torch.zeros(len(shown), 1, 0))}
    elif features is not None:
        senses = {VISION: EncodedViews(features[place], scenes.cameras[place])}
    else:
        senses = {VISION: Views(scenes.frames[place].float() / 255, scenes.cameras[place])}
    tasks = {}
    for name, target in targets.items():
        answer = target[picked][:, None]
        known = answer.isfinite().all(dim=2)
        tasks[name] = Views(answer.nan_to_num(), torch.zeros(len(picked), 1, 0), known)
    return GraphBatch(senses, tasks)


def learn(
    graph: RecursiveGQN,
    batches: Callable[[int], GraphBatch],
    *,
    steps: int,
    learning_rate: float,
    bfloat16: bool,
    pauses: Sequence[int] = (),
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Train what is not frozen by Adam, all tasks of the batches together; `pause` is called after so many steps."""
    optimizer = torch.optim.Adam([p for p in graph.parameters() if p.requires_grad], lr=learning_rate)
    graph.train()
    for step in range(steps + 1):
        if step in pauses:
            graph.eval()
            pause()
            graph.train()
        if step == steps:
            break
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / WARM_UP)
        batch = batches(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            answers = graph(batch)
            loss = torch.stack([mean_loss(answer, batch.tasks[name]) for name, answer in answers.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    graph.eval()


class Trained(NamedTuple):
    """A graph, and how many seconds of training made it what it is."""

    graph: RecursiveGQN
    seconds: float


class Workbench:
    """Builds the graphs of conditions from a trained layer 1, and keeps what several of them share.

    layer_1: a graph with a sense "vision"; layer_1_seconds: of its training. scenes: those to learn from.
    second_steps, autoencoder_steps: of training a second layer and an autoencoder. The other arguments are those of
    `Draw` and `learn`.
    """

    def __init__(
        self,
        layer_1: RecursiveGQN,
        scenes: TaskScenes,
        *,
        layer_1_seconds: float,
        second_steps: int,
        second_learning_rate: float,
        autoencoder_steps: int,
        batch: int,
        context: int,
        bfloat16: bool,
    ) -> None:
        self.scenes, self.bfloat16 = scenes, bfloat16
        self.second_steps, self.second_learning_rate = second_steps, second_learning_rate
        self.autoencoder_steps, self.batch, self.context = autoencoder_steps, batch, context
        self.layer_1 = copy.deepcopy(layer_1)
        self.layer_1.remove(*(name for name in layer_1.spec if name != VISION))
        self._encoders = {"layer 1": Trained(self.layer_1, layer_1_seconds)}
        self._features: dict[tuple[str, int, int], Tensor] = {}
        self._second: dict[tuple[str, str, str, int], Trained] = {}

    def graph(self, condition: Condition, task: str, seed: int) -> tuple[RecursiveGQN, str]:
        """The graph of a condition before it learned the task, without its head, and the node that the head reads."""
        if condition.second != "none":
            return copy.deepcopy(self.second_layer(condition, task, seed).graph), SECOND
        if condition.sense == "state":
            torch.manual_seed(seed)
            graph = RecursiveGQN()
            graph.add_sense(STATE, "vector", frame=self.scenes.state.shape[1:], pose=0)
        else:
            graph = copy.deepcopy(self._vision(condition.encoder, seed).graph)
        (graph.freeze if condition.frozen else graph.unfreeze)()
        self._standardise(graph, condition, seed)
        return graph, STANDARD

    @torch.no_grad()
    def _standardise(self, graph: RecursiveGQN, condition: Condition, seed: int) -> None:
        """Add a node that standardises the graph's one sense, as it is before it learns."""
        (sense,) = graph.spec
        graph.add_representation(STANDARD, [sense], "standardise", channels=graph.trials[sense].shape[0])
        some = dataclasses.replace(self.draw(condition, {}, seed), batch=STANDARD_SCENES)
        r = graph.encode(sense, some(0).senses)
        cast(Standardise, cast(Fusion, graph.nodes[STANDARD]).encoders[sense]).fit(r)

    def draw(self, condition: Condition, targets: dict[str, Tensor], seed: int, chosen: Tensor | None = None) -> Draw:
        """Batches to learn from; chosen: the labelled scenes, None for all."""
        chosen = torch.arange(len(self.scenes)) if chosen is None else chosen
        features = self.features(condition, self.scenes, seed)
        return Draw(self.scenes, condition, targets, features, chosen, self.batch, self.context, seed)

    def seconds_before(self, condition: Condition, task: str, seed: int) -> float:
        """How long what a condition starts from was trained for."""
        seconds = 0.0 if condition.sense == "state" else self._vision(condition.encoder, seed).seconds
        if condition.second != "none":
            seconds += self.second_layer(condition, task, seed).seconds
        return seconds

    def features(self, condition: Condition, scenes: TaskScenes, seed: int) -> Tensor | None:
        """What a frozen sense makes of all views, (n, v, c, h, w); None where the sense learns."""
        if condition.sense != "vision" or not condition.frozen:
            return None
        key = condition.encoder, seed if condition.encoder == "untrained" else -1, id(scenes)
        if key not in self._features:
            # An untrained encoder's serve one seed, and are large.
            self._features = {k: v for k, v in self._features.items() if k[1] in (-1, seed)}
            graph = copy.deepcopy(self._vision(condition.encoder, seed).graph)
            graph.freeze()
            self._features[key] = torch.cat([self._encode(graph.eval(), scenes, part) for part in _parts(scenes)])
        return self._features[key]

    def _encode(self, graph: RecursiveGQN, scenes: TaskScenes, part: slice) -> Tensor:
        views = Views(scenes.frames[part].float() / 255, scenes.cameras[part])
        return graph.encode_views({VISION: views})[VISION].frames.float()

    def _vision(self, encoder: str, seed: int) -> "Trained":
        """A graph of the sense alone."""
        if encoder == "untrained":
            torch.manual_seed(seed)
            graph = copy.deepcopy(self.layer_1)
            graph.replace(VISION)
            return Trained(graph.to(memory_format=torch.channels_last), 0.0)
        if encoder not in self._encoders:
            self._encoders[encoder] = self._train_autoencoder()
        return self._encoders[encoder]

    def _train_autoencoder(self) -> "Trained":
        """The same encoder, trained to give back the very frame that it is shown, by a network without latents."""
        graph = self._vision("untrained", 0).graph
        graph.add_task("frame", "picture", [VISION], target=self.scenes.frames.shape[2:])

        def batch(step: int) -> GraphBatch:
            random = torch.Generator().manual_seed(step)
            scene, view = (
                torch.randint(n, (AUTOENCODER_BATCH,), generator=random) for n in self.scenes.frames.shape[:2]
            )
            seen = Views(
                self.scenes.frames[scene, view][:, None].float() / 255, self.scenes.cameras[scene, view][:, None]
            )
            return GraphBatch({VISION: seen}, {"frame": Views(seen.frames, seen.cameras[..., :0])})

        begun = time.monotonic()
        learn(graph, batch, steps=self.autoencoder_steps, learning_rate=1e-3, bfloat16=self.bfloat16)
        graph.remove("frame")
        return Trained(graph, time.monotonic() - begun)

    def second_layer(self, condition: Condition, task: str, seed: int) -> "Trained":
        """A representation of the frozen sense, trained for other tasks than `task`, or as the condition says."""
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
            targets = {name: Standard.of(answer).apply(answer) for name, answer in answers.items()}
            for name, target in targets.items():
                add_head(graph, name, SECOND, target.shape[1], HIDDEN)
            draw = dataclasses.replace(self.draw(first, targets, seed), seed=seed + OTHER_BATCHES)
            begun = time.monotonic()
            learn(graph, draw, steps=self.second_steps, learning_rate=self.second_learning_rate, bfloat16=self.bfloat16)
            graph.remove(*targets)
            graph.freeze()
            self._second[key] = Trained(graph, time.monotonic() - begun)
        return self._second[key]


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of answers, by which they are brought to one scale."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, answers: Tensor) -> "Standard":
        """That of answers (n, numbers) without those that are not known; what never varies has deviation 1."""
        known = answers[answers.isfinite().all(dim=1)]
        deviation = known.std(dim=0, correction=0)
        return cls(known.mean(dim=0), torch.where(deviation > 1e-5, deviation, 1.0))

    def apply(self, answers: Tensor) -> Tensor:
        return (answers - self.mean) / self.deviation

    def undo(self, standardised: Tensor) -> Tensor:
        return standardised * self.deviation + self.mean


def add_head(graph: RecursiveGQN, name: str, reads: str, numbers: int, hidden: int) -> None:
    """The head that all conditions share: least squares on standardised answers."""
    graph.add_task(name, "vector", [reads], target=[numbers], hidden=hidden, sigma=1.0)


def _parts(scenes: TaskScenes) -> list[slice]:
    return [slice(first, first + 50) for first in range(0, len(scenes), 50)]
