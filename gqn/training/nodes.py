"""Trained nodes that a run begins with, and what its frozen senses can encode beforehand."""

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gqn.core.distributed import Processes
from gqn.core.progress import Progress
from gqn.core.views import Views
from gqn.data.batches import Encoded, Scenes
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError, listed
from gqn.models.senses import Sense
from gqn.training import checkpoint


def take_weights(graph: RecursiveGQN, run: str) -> set[str]:
    """Give nodes the weights that a run's nodes of the same names have, and return the names. Raises GraphError."""
    source = checkpoint.load(run)
    both = [name for name, node in graph.spec.items() if name in source.spec and node.kind == source.spec[name].kind]
    if not both:
        raise GraphError(f"{run} has no node of this graph: it has {listed(source.spec)}")
    for name in both:
        try:
            graph.nodes[name].load_state_dict(resized(source.nodes[name].state_dict(), graph.nodes[name]))
        except RuntimeError as error:
            raise GraphError(
                f"'{name}' does not fit its weights in {run}: here it is {described(graph, name)}, "
                f"there {described(source, name)}"
            ) from error
    return set(both)


def resized(weights: dict[str, Tensor], node: nn.Module) -> dict[str, Tensor]:
    """Return weights with a generator's patterns of the camera at a node's size; all else of a volume knows no size.

    A latent of the scene that the weights are without begins untrained.
    """
    found = dict(weights)
    own_scene = {name: own for name, own in node.state_dict().items() if name.startswith("generator.scene.")}
    if not own_scene.keys() & weights.keys():
        found |= own_scene
    for name, own in node.state_dict().items():
        if name.endswith("place_camera.weight") and name in weights:
            found[name] = F.interpolate(weights[name], size=own.shape[2:], mode="nearest-exact")
    return found


def described(graph: RecursiveGQN, name: str) -> str:
    """Return a node's network and its options in a line."""
    node = graph.spec[name]
    return f"{node.network} ({', '.join(f'{option} {value}' for option, value in node.options.items())})"


@torch.no_grad()
def encode_scenes(
    graph: RecursiveGQN,
    scenes: Scenes,
    senses: Mapping[str, str],
    looks: int,
    folder: Path,
    group: Processes,
    bfloat16: bool,
) -> dict[str, Encoded]:
    """Return the features of every observation of every scene, by frozen sense, mapped from disk.

    A sense that joins its views gets nothing: r is of one choice of them.

    Args:
        looks: observations that training would encode otherwise; a sense for which that is less gets nothing.
        folder: where the disk has room; the files have no name and go with the process.
    """
    encoded: dict[str, Encoded] = {}
    graph = graph.to(group.device).eval()
    for name, data in senses.items():
        count = scenes.observations(data)
        if not graph.spec[name].frozen or cast(Sense, graph.nodes[name]).join or len(scenes) * count >= looks:
            continue
        for scene in Progress(range(len(scenes)), f"encoding {data} for {name}", unit="scenes", shown=group.leads):
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
    """Return a tensor of zeros in a file without a name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * dtype.itemsize)  # or a full disk is a bus error
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}, to encode scenes beforehand; --no-cache does not", str(folder)
            ) from None
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype).view(shape)
