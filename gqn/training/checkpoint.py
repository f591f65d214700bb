"""Checkpoints: written whole or not at all, read without pickle."""

from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from gqn.core.files import save_tensors
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.models.nodes import GraphError, listed
from gqn.training.config import Config, from_dict, to_dict

FORMAT = 1
FILE = "checkpoint.pt"
# Weights that come with the library, gqn/weights/NAME.pt, and their SHA-256.
WEIGHTS = {"shepard-metzler-5-small": "9b82f01ce181af1139d9bc7a4d0c70d73f6b382c9b8cbc1028229cdda450099f"}


class CheckpointError(ValueError):
    """A checkpoint that can't be read; the message names the file and what to do."""


def build(config: Config, pixels: int) -> GenerativeQueryNetwork:
    """The network of a configuration for frames of `pixels` pixels, untrained."""
    network = GenerativeQueryNetwork(pixels=pixels, **asdict(config.model))
    return network.to(memory_format=torch.channels_last)


def save(
    folder: Path,
    *,
    config: Config,
    pixels: int,
    step: int,
    seconds: float,
    network: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    graph: dict[str, Any] | None = None,
) -> None:
    """All that a run needs to go on; tensors and plain values only. graph: what the network is, where it is a graph."""
    contents = {
        "format": FORMAT,
        "config": to_dict(config),
        "pixels": pixels,
        "step": step,
        "seconds": seconds,
        "graph": graph,
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_tensors(folder / FILE, contents)


def found(path: Path) -> Path:
    """The file of a checkpoint that is named by it, its run's folder, or one of `WEIGHTS`. Raises CheckpointError."""
    if str(path) in WEIGHTS and not path.exists():
        path = shipped(str(path))
    path = path if path.suffix == ".pt" else path / FILE
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: name the folder of a run that saved one")
    return path


def read(path: Path) -> dict[str, Any]:
    """A checkpoint, named as `found` has it, with tensors on the CPU. Raises CheckpointError."""
    path = found(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for a damaged file
        raise CheckpointError(f"{path} can't be read as a checkpoint ({type(error).__name__}): use another") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of this version (format {FORMAT}): train anew")
    return contents


def shipped(name: str) -> Path:
    """The file of weights that come with the library. Raises CheckpointError where it is not what it was."""
    path = Path(__file__).parents[1] / "weights" / f"{name}.pt"
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != WEIGHTS[name]:
        raise CheckpointError(f"{path} is missing or damaged: its checksum is not {WEIGHTS[name]}; install gqn again")
    return path


def load(path: str | Path) -> GenerativeQueryNetwork:
    """The trained network (averaged weights, evaluation mode) of a run's folder or checkpoint.pt, or of `WEIGHTS`."""
    contents = read(Path(path))
    if contents.get("graph"):
        raise CheckpointError(f"{path} holds a graph: load it by gqn.load_graph")
    return trained(contents)


def trained(contents: dict[str, Any]) -> GenerativeQueryNetwork:
    """The trained flat network of a checkpoint that `read` gave."""
    network = build(from_dict(contents["config"]), contents["pixels"])
    network.load_state_dict(contents["averaged"])
    return network.eval()


def load_graph(path: str | Path) -> RecursiveGQN:
    """The trained graph (averaged weights, evaluation mode) of a run, or its flat network as a graph."""
    contents = read(Path(path))
    if not contents.get("graph"):
        graph = RecursiveGQN.from_flat(trained(contents))
        training = from_dict(contents["config"]).training
        cast(Render, graph.nodes["render"]).sigma.fill_(training.sigma_at(contents["step"] - 1))
        return graph
    graph = RecursiveGQN.from_dict(contents["graph"]).to(memory_format=torch.channels_last)
    graph.load_state_dict(contents["averaged"])
    return graph.eval()


def extract(run: str | Path, nodes: Iterable[str], file: str | Path) -> None:
    """Write some trained nodes of a run, averaged weights alone, to a small file for `load_graph`.

    Without nodes, the network as it is, in half precision, for `load`: a flat one.
    Raises CheckpointError, and GraphError where a node needs another that is left out.
    """
    wanted = set(nodes)
    if not wanted:
        contents, network = read(Path(run)), load(run)
        halves = {name: weight.half() for name, weight in network.state_dict().items()}
        save_tensors(file, {**_kept(contents), "graph": None, "averaged": halves})
        return
    contents, graph = read(Path(run)), load_graph(run)
    if unknown := wanted - set(graph.spec):
        raise GraphError(f"{run} has no node {listed(unknown)}; there are {listed(graph.spec)}")
    graph.remove(*(name for name in graph.spec if name not in wanted))
    save_graph(file, graph, contents)


def save_graph(file: str | Path, graph: RecursiveGQN, origin: dict[str, Any]) -> None:
    """Write a graph with its weights alone, to a small file for `load_graph`; origin: the checkpoint it grew from."""
    save_tensors(file, {**_kept(origin), "graph": graph.to_dict(), "averaged": graph.state_dict()})


def _kept(contents: dict[str, Any]) -> dict[str, Any]:
    kept = {key: contents[key] for key in ("format", "config", "pixels", "step", "seconds")}
    # The folders of the machine that it was trained on tell nobody else anything.
    return {**kept, "config": {**kept["config"], "data": "", "runs": Config.runs}}
