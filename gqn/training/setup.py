"""Beginning of a run: its scenes, its network with the weights that it starts from, its options spelled out."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gqn.core.camera import Geometry
from gqn.core.distributed import Processes
from gqn.core.errors import Error
from gqn.data.batches import FLAT, FRAMES, Asked, Scenes
from gqn.data.dataset import SPLITS, TWINS, SceneDataset
from gqn.data.endless import begun, folder_of, is_endless
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError, data_of, listed
from gqn.training import checkpoint
from gqn.training.config import Config, ModelConfig
from gqn.training.folder import TrainingError
from gqn.training.nodes import take_weights


def open_dataset(config: Config) -> SceneDataset:
    """Return the training split of the dataset that the configuration names."""
    if not config.data:
        raise TrainingError("no dataset: set `data` to a folder of converted scenes, or make one by `gqn.made_scenes`")
    return SceneDataset(folder_of(config.data), "train", fraction=config.fraction, size=config.size)


def begin_endless(config: Config, folder: Path, group: Processes) -> Config:
    """Return the configuration with an endless world's name replaced by the folder of its first scenes, drawn once.

    Raises:
        Error: on all processes, where there is no such world or the leading process could not draw it.
    """
    if not is_endless(config.data):
        return config
    if config.fraction < 1:
        raise TrainingError("--fraction: an endless world has no part, leave it out")
    scenes = config.evaluation.eval_scenes
    drawn = group.led(lambda: begun(config.data, folder / "scenes", seed=config.seed, test_scenes=scenes))
    return replace(config, data=drawn)


def open_scenes(config: Config, dataset: SceneDataset, asked: Asked, *, warn: bool) -> tuple[Scenes, Scenes, str]:
    """Return the scenes to learn from, those to be tested on, and the split of the latter."""
    folder = folder_of(config.data)
    unseen = held_out_scenes(folder, dataset, warn=warn)
    labelled = not {*asked.senses.values(), *asked.tasks.values()} <= {FRAMES, *dataset.further}
    seen, tested = (
        LabelledScenes(part, scene_labels(folder, part.folder.name) if labelled else []) for part in (dataset, unseen)
    )
    return seen, tested, unseen.folder.name


def open_twins(config: Config, asked: Asked) -> Scenes | None:
    """Return the twins of the held-out scenes; None where there are none, or the network is no flat one."""
    folder = Path(folder_of(config.data))
    if asked != FLAT or not (folder / "torch" / TWINS).exists():
        return None
    return LabelledScenes(SceneDataset(folder, TWINS, size=config.size))


def build(
    config: Config,
    folder: Path,
    given: RecursiveGQN | None,
    saved: dict[str, Any] | None,
    dataset: SceneDataset | None,
    *,
    warn: bool,
) -> RecursiveGQN:
    """Return the network of the checkpoint that the run goes on from, or that was given, or as configured."""
    started: set[str] = set()
    if saved is not None:
        check_resumed(config, folder, saved)
        network = checkpoint.network_of(saved)
        if dataset is not None:
            check_pixels(network, dataset, str(folder))
        checkpoint.fit(network, saved["network"])  # frozen senses encode with it
        started = set(network.spec)
    elif given is not None:
        network, started = given, set(given.spec)
    elif config.graph.graph:
        network = RecursiveGQN.from_file(config.graph.graph)
    else:
        if config.graph.tasks or config.graph.alternate:
            raise TrainingError("--tasks and --alternate are for a graph: name its file by --graph")
        assert dataset is not None
        network = flat_network(config.model, dataset.pixels, dataset.geometry, data=config.data)
    if config.graph.start and saved is None:
        started = take_weights(network, config.graph.start)
    if config.graph.freeze and saved is None:
        network.freeze(*config.graph.freeze)
    untrained = [name for name, node in network.spec.items() if node.frozen and name not in started]
    if untrained and warn:
        print(f"{listed(untrained)} keep random weights, being frozen: --start RUN has others", file=sys.stderr)
    network.check_whole()
    return network


def check_resumed(config: Config, folder: Path, saved: dict[str, Any]) -> None:
    """Raise TrainingError where the options are not those of the run that is resumed."""
    before, now = ModelConfig(**saved["config"]["model"]), config.model.with_channels()
    if replace(before, activation_checkpointing=now.activation_checkpointing) != now:
        raise TrainingError(f"{folder} holds a network of other sizes: leave the model's options as they were")


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


def flat_network(
    model: ModelConfig, pixels: int, geometry: Geometry | None = None, *, data: str = "the dataset"
) -> GenerativeQueryNetwork:
    """Return the untrained flat network of some sizes.

    Args:
        model: its options; what of cameras and world they leave open is that of `geometry`.
        pixels: height and width of the frames.
        geometry: of the dataset, where its description says one.
        data: what an error calls the dataset.

    Raises:
        TrainingError: where neither the options nor the geometry say what a volume must know.
    """
    options = asdict(model.with_channels())
    lens = {name: options.pop(name) for name in ("field_of_view", "centre", "radius", "height", "beyond")}
    cells = {name: options.pop(name) for name in ("side", "passes")}
    if model.representation == "volume":
        known: dict[str, Any] = {"centre": (0.0, 0.0, 0.0)}
        if geometry:
            known = {
                "field_of_view": geometry.field_of_view,
                "centre": geometry.cube_centre,
                "radius": geometry.cube_radius,
                "height": geometry.cube_height,
                "beyond": geometry.beyond,
            }
        volume = known | {name: value for name, value in lens.items() if value is not None}
        if not volume.keys() >= {"field_of_view", "radius"}:
            raise TrainingError(
                f"{data}: its description says neither the cameras' field of view nor where its world lies: give "
                "--field-of-view and --radius, or take --representation tower"
            )
        options["volume"] = volume | cells
    return GenerativeQueryNetwork(pixels=pixels, **options)


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
    data = str(Path(config.data).resolve()) if config.data else ""
    return replace(config, name=name, data=data, model=config.model.with_channels(), training=training)


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16; "auto" does where the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def splits(dataset: str | Path, size: int = 0) -> tuple[SceneDataset, SceneDataset]:
    """Return the training and the test split of a dataset; both are the same where it has one alone."""
    there = [split for split in SPLITS if (Path(dataset) / "torch" / split / "index.json").exists()] or ["test"]
    return SceneDataset(dataset, there[0], size=size), SceneDataset(dataset, there[-1], size=size)


def check_pixels(network: RecursiveGQN, scenes: SceneDataset, name: str) -> None:
    """Raise Error where a network, of a name, sees or renders frames of another size than those of scenes."""
    for key, node in network.spec.items():
        if node.kind == "representation" or data_of(key, node) != FRAMES:
            continue
        shape = node.options.get("frame", node.options.get("target", ()))
        if len(shape) == 3 and shape[1] != scenes.pixels:
            raise Error(
                f"{name} was trained on frames of {shape[1]} pixels, {scenes.folder.parents[1]} has {scenes.pixels}: "
                "name a dataset of that size"
            )


def held_out_scenes(directory: str, training: SceneDataset, *, warn: bool) -> SceneDataset:
    """Return the test split, or with a warning the training split where a dataset has no other."""
    if (Path(directory) / "torch" / "test").exists():
        return SceneDataset(directory, "test", size=training.pixels)
    if warn:
        print(f"{directory} has no test split: evaluation is on the training scenes", file=sys.stderr)
    return training
