"""A trained network and the scenes to visit with it, or a graph to edit, by the names of their folders and files."""

from collections.abc import Callable
from pathlib import Path

from gqn.core.errors import Error
from gqn.data.batches import FRAMES
from gqn.data.dataset import DatasetError
from gqn.data.endless import folder_of
from gqn.data.labelled_scenes import LabelledScenes
from gqn.data.labels import scene_labels
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import data_of
from gqn.training import checkpoint
from gqn.training.config import from_dict
from gqn.training.setup import splits

FILES = (".yaml", ".yml", ".json")  # ends of the names of graphs' files


def is_file(name: str | Path) -> bool:
    """Return whether something is named as a graph's file is, and not as a run or weights are."""
    return Path(name).suffix in FILES


def graph_of(name: str | Path) -> RecursiveGQN:
    """Return the graph of a file, untrained, or of a run.

    Args:
        name: a graph's YAML or JSON file, a run's folder, a checkpoint, or weights that come with the library.

    Raises:
        Error: in a line for the user: a file or a checkpoint that can't be read.
    """
    return RecursiveGQN.from_file(name) if is_file(name) else checkpoint.load(name)


def opened(
    run: str | Path, dataset: str | Path | None, warn: Callable[[str], None]
) -> tuple[RecursiveGQN, LabelledScenes]:
    """Return a trained network and held-out scenes, with labels where tasks have answers and the dataset says them.

    Args:
        run: a run's folder, a checkpoint, or the name of weights that come with the library.
        dataset: folder of converted scenes; None for the one that the run was trained on.
        warn: is told in a line what is left out.

    Raises:
        Error: in a line for the user: a checkpoint or a dataset that can't be read.
    """
    saved = checkpoint.read(run)
    config, network = from_dict(saved["config"]), checkpoint.trained(saved)
    folder = Path(dataset or folder_of(config.data))
    if not (dataset or config.data):
        raise Error(f"{run} names no dataset: name a folder of converted scenes after it, DATA_DIR/DATASET")
    _, scenes = splits(folder, config.size)
    used = {data_of(name, node) for name, node in network.spec.items() if node.kind != "representation"}
    labels = []
    if used - {FRAMES, *scenes.further}:
        try:
            labels = scene_labels(folder, scenes.folder.name)
        except DatasetError as error:
            warn(f"answers are shown without the truth: {error}")
    return network, LabelledScenes(scenes, labels)
