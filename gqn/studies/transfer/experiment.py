"""Experiments of the transfer study: conditions, tasks, numbers of labelled scenes, seeds."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gqn.scenes.arm import TASKS
from gqn.studies.runner import StudyError
from gqn.training.config import check_options

HIDDEN, WIDE = 128, 256  # of heads; a wide one on layer 1 has as many parameters as a second layer with its head
PLACES = ("locate",)  # tasks whose answer is a place
ALL = 0  # labelled scenes: as many as there are


@dataclass(frozen=True)
class Condition:
    """Condition of a run: what the head of a task reads, and what it is trained on."""

    sense: Literal["vision", "state"] = "vision"
    """State is all that the answers follow from: the joints and the target's place."""
    encoder: Literal["untrained", "tower", "layer 1", "autoencoder"] = "untrained"
    """Weights that the sense starts from: of layer 1's network or, untrained too, of the published one."""
    frozen: bool = True
    """Keep these weights as they are."""
    second: Literal["none", "other tasks", "same task", "unrelated"] = "none"
    """Training of a second layer on the frozen sense, before it is frozen too."""
    hidden: int = HIDDEN
    """Width of the head."""
    shuffled: Literal["nothing", "scenes", "answers"] = "nothing"
    """Show another scene's observations, or learn another scene's answers: controls that must fail."""


CONDITIONS = {
    "pixels": Condition(frozen=False),
    "tower": Condition(encoder="tower", frozen=False),
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
class Cell:
    """One run: what it learns from, what, from how many labelled scenes, at which learning rate, and its seed."""

    condition: str
    task: str
    labelled: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Experiment:
    """Cells to run, their options, and the conditions to compare."""

    conditions: dict[str, list[float]]
    """Learning rates of Adam by condition (`CONDITIONS`); several where they are tuned."""
    tasks: list[str]
    """Names of `gqn.scenes.arm.TASKS`."""
    seeds: list[int]
    """Of the networks' weights, of the batches and of the choice of labelled scenes."""
    pauses: list[int]
    """Steps after which a run is evaluated; the last one ends it."""
    labelled: list[int] = field(default_factory=lambda: [ALL])
    """Numbers of labelled scenes; 0 for all."""
    batch: int = 32
    """Scenes a step."""
    context: int = 3
    """Views of a scene."""
    held_out: int = 250
    """Scenes on which a run is evaluated."""
    executed: int = 24
    """Scenes of them in which the last answers of a task that needs physics are carried out."""
    warm_up: int = 100
    """Steps over which the learning rate rises."""
    second_steps: int = 2000
    """Steps of training a second layer."""
    second_learning_rate: float = 1e-3
    """Its learning rate."""
    autoencoder_steps: int = 2000
    """Steps of training the autoencoder."""
    thresholds: list[float] = field(default_factory=lambda: [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    """Errors to get below, as shares of the error of an answer that looks at nothing."""
    compare: list[list[str]] = field(default_factory=list)
    """Pairs of conditions, of which the first may save steps over the second."""

    def __post_init__(self) -> None:
        for kind, names, known in (("condition", self.conditions, CONDITIONS), ("task", self.tasks, TASKS)):
            for name in names:
                if name not in known:
                    raise StudyError(f"no {kind} '{name}': there are {', '.join(known)}")
        for name in (name for pair in self.compare for name in pair):
            if name not in self.conditions:
                raise StudyError(f"compare: '{name}' is no condition of it: there are {', '.join(self.conditions)}")
        check_options(
            [
                ("seeds", len(set(self.seeds)) == len(self.seeds) > 0, "different numbers"),
                ("pauses", self.pauses == sorted(set(self.pauses)) and len(self.pauses) > 1, "two or more, rising"),
                ("warm_up", self.warm_up > 0, "1 or more"),
                ("labelled", all(count >= 0 for count in self.labelled) and bool(self.labelled), "0 or more"),
                ("compare", all(len(pair) == 2 for pair in self.compare), "pairs of conditions"),
            ]
        )

    def cells(self) -> list[Cell]:
        """Return all runs, in an order in which those that share something follow one another."""
        return [
            Cell(condition, task, labelled, rate, seed)
            for seed in self.seeds
            for condition, rates in self.conditions.items()
            for rate in rates
            for labelled in self.labelled
            for task in self.tasks
        ]

    def second_layers(self) -> bool:
        """Return whether some condition has a second layer."""
        return any(CONDITIONS[name].second != "none" for name in self.conditions)

    def autoencoders(self) -> bool:
        """Return whether some condition has an autoencoder."""
        return any(CONDITIONS[name].encoder == "autoencoder" for name in self.conditions)

    def tuned(self) -> bool:
        """Return whether some condition has several learning rates."""
        return any(len(rates) > 1 for rates in self.conditions.values())

    def shared(self) -> dict[str, Any]:
        """Return what all its runs share: the steps of evaluations, and every option that is a number."""
        return {"pauses": self.pauses} | {k: v for k, v in asdict(self).items() if isinstance(v, int | float)}
