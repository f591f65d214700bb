"""Configuration of a run: dataclasses with a default for everything, presets as differences from the paper's sizes."""

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_type_hints

import dacite

from gqn.core.checked import check_type
from gqn.core.errors import Error
from gqn.models.generator import MOST_STEPS
from gqn.models.losses import annealed


@dataclass(frozen=True)
class ModelConfig:
    """The network: arguments of `gqn.models.gqn.GenerativeQueryNetwork`."""

    representation: Literal["pyramid", "tower", "pool", "volume"] = "pool"
    """Representation network; a volume knows how cameras see (not in the paper)."""
    representation_channels: int | None = None
    """Channels of the representation r; of a volume, of each cell. Not given: 256; of volume 8."""
    aggregate: Literal["sum", "mean"] = "sum"
    """Way in which the context views' representations become one; the paper sums. A volume takes the mean anyway."""
    normalise: bool = False
    """Layer-normalise the aggregated representation (not in the paper)."""
    hidden: int = 128
    """Channels of the state of the generator's cores."""
    canvas: int = 128
    """Channels of the canvas."""
    latent: int = 3
    """Channels of the latent z of each step."""
    generation_steps: int = 12
    """Steps L of the generator."""
    shared_cores: bool = False
    """One pair of cores for all steps instead of a pair for each."""
    kernel: int = 5
    """Size of the cores' convolutions, odd."""
    scene_latent: bool = False
    """Add a latent of the scene that all its queries share, for a volume (not in the paper)."""
    field_of_view: float | None = None
    """Degrees, vertical, of the cameras, for a volume. Not given: what the dataset's description says."""
    centre: tuple[float, float, float] | None = None
    """Centre of the cube that a volume covers, in world units. Not given: what the description says."""
    radius: float | None = None
    """Half an edge, in world units, of the cube that a volume covers. Not given: what the description says."""
    height: float | None = None
    """Height of that cube in its edges, less than 1 for a flat world. Not given: what the description says."""
    beyond: float | None = None
    """Share of the cells for space beyond that cube. Not given: what the description says."""
    side: int = 32
    """Cells of a volume along an edge, a multiple of 8."""
    passes: int = 1
    """Times that a volume finds surfaces; from the second on, what those found before hide from a view counts less."""
    activation_checkpointing: bool = False
    """Compute the cores' activations again for the gradient instead of keeping them: less memory, more time."""

    def with_channels(self) -> "ModelConfig":
        """Return the same with the channels of the representation spelled out."""
        usual = 8 if self.representation == "volume" else 256
        return replace(self, representation_channels=self.representation_channels or usual)


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop."""

    steps: int = 2_000_000
    """Training steps."""
    minutes: float = 0.0
    """Stop after so many minutes of training even if steps are left, the schedules with them; 0 for no limit."""
    batch: int = 36
    """Scenes a step, over all processes together."""
    gradient_accumulation_steps: int = 1
    """Parts in which a process computes its share of a batch, one after another: less memory, the same gradient.

    Where only some answers of a graph's task are known, each part's mean counts alike, however many it knows."""
    queries: int = 1
    """Query views a scene; they share its representation."""
    context_views: tuple[int, int] = (1, 5)
    """Fewest and most context views of a scene; the number is drawn anew at each step."""
    learning_rate: float = 5e-4
    """Adam's learning rate at step 0."""
    final_learning_rate: float = 5e-5
    """Learning rate from step `learning_rate_steps` on; linear in between."""
    learning_rate_steps: int = 1_600_000
    """Steps over which the learning rate falls; 0 for all of `steps`."""
    warmup_steps: int = 0
    """Steps over which the learning rate first rises from 0 (not in the paper)."""
    sigma: float = 2.0
    """Standard deviation of the pixels at step 0, for pixel values of 0 to 1."""
    final_sigma: float = 0.7
    """Standard deviation of the pixels from step `sigma_steps` on; linear in between."""
    sigma_steps: int = 200_000
    """Steps over which the standard deviation changes; 0 for all of `steps`."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Adam as published, or Muon for matrices and kernels and Adam for the rest (not in the paper)."""
    residual_weights: bool = False
    """Weigh each pixel's squared error by its share of the frame's, for training alone (not in the paper)."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is Adam."""
    max_grad_norm: float = 100.0
    """Norm to which the gradient is clipped; 0 for no clipping."""
    ema_decay: float = 0.9995
    """Decay of the exponential moving average (EMA) of the weights, which evaluation and pictures use; 0 for none."""

    def learning_rate_at(self, step: int, position: float) -> float:
        """Return Adam's learning rate at a step, whose position in the schedules may be another."""
        rate = annealed(position, self.learning_rate, self.final_learning_rate, self.learning_rate_steps or self.steps)
        return rate * min(1.0, (step + 1) / max(1, self.warmup_steps))

    def sigma_at(self, position: float) -> float:
        """Return the standard deviation of the pixels at a step."""
        return annealed(position, self.sigma, self.final_sigma, self.sigma_steps or self.steps)

    def with_schedules(self) -> "TrainingConfig":
        """Return the same with the lengths of its schedules spelled out, so that `steps` may be raised later."""
        return replace(
            self,
            learning_rate_steps=self.learning_rate_steps or self.steps,
            sigma_steps=self.sigma_steps or self.steps,
        )


@dataclass(frozen=True)
class GraphConfig:
    """A graph in place of the flat network, and trained weights to begin with."""

    graph: str = ""
    """File of a graph (YAML or JSON) to train. Empty: the flat network that the model's options describe."""
    start: str = ""
    """Run, or checkpoint, with whose weights the nodes of the same names begin."""
    freeze: tuple[str, ...] = ()
    """Nodes that do not learn, beside those that the graph's file names."""
    tasks: tuple[str, ...] = ()
    """Tasks to train. Empty: all by which something learns."""
    alternate: bool = False
    """Train one task a step, in turn, instead of all at each step."""
    modules: tuple[str, ...] = ()
    """Modules of your own heads and senses, by name: to be imported before, here by --import, and never from a run."""
    cache: bool = True
    """Encode what frozen senses observe once, before training, where that is less work than at every step."""

    def __post_init__(self) -> None:
        for name in ("graph", "start"):
            if isinstance(value := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(value))


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out scenes while training."""

    eval_every: int = 20_000
    """Steps from one evaluation, with pictures, to the next; there is always one at the end."""
    eval_scenes: int = 256
    """Held-out scenes of an evaluation."""
    eval_context_views: int = 3
    """Context views of a scene at evaluation."""
    samples: int = 8
    """Prior samples of which the mean is evaluated."""
    save_every: int = 5_000
    """Steps from one checkpoint to the next."""
    log_every: int = 100
    """Steps from one line of scalars to the next."""


@dataclass(frozen=True)
class Config:
    """A training run."""

    preset: Literal["quick", "small", "paper", "best"] = "quick"
    """Sizes and schedules to start from; every other option is a difference from it."""
    data: str = ""
    """Dataset folder of converted scenes (DATA_DIR/DATASET of data.sh). Empty: make and convert scenes first.

    WORLD:endless draws training scenes of a world while it trains, none twice, and FOLDER:endless those of a drawn
    dataset's world, from its own on."""
    fraction: float = 1.0
    """Part of the training scenes to train on; a smaller part lies within a larger one."""
    size: int = 0
    """Pixels that frames are brought to (bilinear, each from all that it covers); 0 for their own."""
    runs: str = "runs"
    """Folder in which the run's own folder is made."""
    name: str = ""
    """Name of the run's folder. Empty: the preset's name and the first free number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device: cpu, cuda, or auto for CUDA where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 computes convolutions in bfloat16; auto does so where the device has instructions for it."""
    compile: bool = False
    """Compile the network first (torch.compile): takes minutes and a C++ compiler, and steps may become shorter."""
    seed: int = 0
    """Seed of the weights, the batches and the noise."""
    workers: int = 0
    """Processes that load data; 0 loads in the training process."""
    model: ModelConfig = field(default_factory=ModelConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name in ("data", "runs", "name"):  # a notebook has paths
            if isinstance(value := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(value))
        for part in (self, self.model, self.graph, self.training, self.evaluation):
            check_types(part)
            check_finite(part)
        t, m, e = self.training, self.model, self.evaluation
        checks = [
            ("fraction", 0 < self.fraction <= 1, "more than 0 and at most 1"),
            ("size", self.size >= 0, "0 or more"),
            ("steps", t.steps > 0, "at least 1"),
            ("minutes", t.minutes >= 0, "0 or more"),
            ("batch", t.batch > 0, "at least 1"),
            (
                "gradient_accumulation_steps",
                t.gradient_accumulation_steps > 0 and t.batch % t.gradient_accumulation_steps == 0,
                "a number that the batch divides by",
            ),
            ("queries", t.queries > 0, "at least 1"),
            ("context_views", 1 <= t.context_views[0] <= t.context_views[1], "two rising numbers from 1 on"),
            ("sigma", t.sigma > 0, "positive"),
            ("final_sigma", t.final_sigma > 0, "positive"),
            ("learning_rate", t.learning_rate > 0, "positive"),
            ("final_learning_rate", t.final_learning_rate >= 0, "0 or more"),
            ("learning_rate_steps", t.learning_rate_steps >= 0, "0 or more"),
            ("sigma_steps", t.sigma_steps >= 0, "0 or more"),
            ("warmup_steps", t.warmup_steps >= 0, "0 or more"),
            ("weight_decay", t.weight_decay >= 0, "0 or more"),
            ("max_grad_norm", t.max_grad_norm >= 0, "0 or more"),
            (
                "representation_channels",
                m.representation_channels is None or m.representation_channels > 0,
                "at least 1",
            ),
            ("hidden", m.hidden > 0, "at least 1"),
            ("canvas", m.canvas > 0, "at least 1"),
            ("latent", m.latent > 0, "at least 1"),
            ("field_of_view", m.field_of_view is None or 0 < m.field_of_view < 180, "between 0 and 180"),
            ("radius", m.radius is None or m.radius > 0, "positive"),
            ("height", m.height is None or 0 < m.height <= 1, "more than 0 and at most 1"),
            ("beyond", m.beyond is None or 0 < m.beyond < 1, "more than 0 and less than 1"),
            ("side", m.side > 0, "at least 1"),
            ("passes", m.passes > 0, "at least 1"),
            ("seed", 0 <= self.seed < 2**63, "from 0 to less than 2**63"),
            ("workers", self.workers >= 0, "0 or more"),
            ("ema_decay", 0 <= t.ema_decay < 1, "from 0 to less than 1"),
            ("generation_steps", 1 < m.generation_steps <= MOST_STEPS, f"from 2 to {MOST_STEPS}"),
            ("kernel", m.kernel > 0 and m.kernel % 2 == 1, "odd and positive"),
            ("eval_scenes", e.eval_scenes > 0, "at least 1"),
            ("eval_context_views", e.eval_context_views > 0, "at least 1"),
            ("samples", e.samples > 0, "at least 1"),
            ("eval_every", e.eval_every > 0, "at least 1"),
            ("save_every", e.save_every > 0, "at least 1"),
            ("log_every", e.log_every > 0, "at least 1"),
        ]
        check_options(checks)


def check_types(options: Any) -> None:
    """Raise Error for the first option of a dataclass that is not of its type."""
    for option, kind in get_type_hints(type(options)).items():
        check_type(f"--{option.replace('_', '-')}", getattr(options, option), kind)


def check_finite(options: Any) -> None:
    """Raise Error for the first option of a dataclass that is or holds a number that is not finite."""
    for option, value in vars(options).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise Error(f"--{option.replace('_', '-')} is {value}, must be finite")


def check_options(checks: Iterable[tuple[str, bool, str]]) -> None:
    """Raise Error for the first option that is not as it is wanted; checks: (name, whether it is, what is wanted)."""
    for name, holds, wanted in checks:
        if not holds:
            raise Error(f"--{name.replace('_', '-')} must be {wanted}")


PAPER = Config(preset="paper")
SMALL = replace(
    PAPER,
    preset="small",
    model=replace(
        PAPER.model,
        representation="volume",
        aggregate="mean",
        hidden=32,
        canvas=32,
        latent=8,
        generation_steps=4,
        shared_cores=True,
        kernel=3,
        side=48,
        passes=2,
    ),
    training=replace(
        PAPER.training,
        steps=2_400,
        batch=4,
        queries=4,
        context_views=(3, 5),
        optimizer="muon",
        residual_weights=True,
        learning_rate=8e-3,
        final_learning_rate=2e-4,
        learning_rate_steps=0,
        warmup_steps=100,
        sigma=0.4,
        final_sigma=0.25,
        sigma_steps=0,
        ema_decay=0.995,
    ),
    evaluation=replace(PAPER.evaluation, eval_every=1_000, save_every=250),
)
QUICK = replace(
    SMALL,
    preset="quick",
    model=replace(SMALL.model, side=32),
    training=replace(SMALL.training, steps=3_000, minutes=15.0, batch=8, queries=3),
    evaluation=replace(SMALL.evaluation, eval_every=500, save_every=250, log_every=20),
)
# The paper's budget by our recipe; nobody has spent it yet.
BEST = replace(
    SMALL,
    preset="best",
    model=replace(SMALL.model, representation_channels=16, hidden=128, canvas=128, generation_steps=8),
    training=replace(
        SMALL.training,
        steps=PAPER.training.steps,
        batch=PAPER.training.batch,
        learning_rate=4e-3,
        final_learning_rate=1e-4,
        warmup_steps=1_000,
        final_sigma=0.2,
        ema_decay=PAPER.training.ema_decay,
    ),
    evaluation=PAPER.evaluation,
)
#: Presets of `run-gqn.py` by name.
PRESETS: dict[str, Config] = {config.preset: config for config in (QUICK, SMALL, PAPER, BEST)}


def to_dict(config: Config) -> dict[str, Any]:
    """Return a configuration as plain values."""
    return asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """Return the configuration of plain values by `to_dict`. Raises Error for an unknown key or a bad value."""
    try:
        return dacite.from_dict(Config, values, dacite.Config(strict=True, cast=[tuple]))
    except dacite.DaciteError as error:
        raise Error(f"bad configuration: {error}") from None
