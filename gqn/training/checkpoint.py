"""Checkpoints, and trained networks by any name: written whole or not at all, read without pickle."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import Tensor

from gqn.core.checked import checked
from gqn.core.errors import of_memory, unknown
from gqn.core.files import save_tensors
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError
from gqn.training import hub, saved
from gqn.training.config import Config, to_dict
from gqn.training.saved import CheckpointError

FORMAT = 2
FILE = "checkpoint.pt"
FILES = (".pt", ".safetensors")  # endings of weights
EVALUATED = "evaluated.pt"  # the last that was evaluated well, where a loss may have exploded since
SHIPPED = Path(__file__).parents[1] / "weights"
# That come with the library, as gqn/weights/NAME.
WEIGHTS = ("shepard-metzler-7-small", "jaco-small", "rooms-ring-small", "rooms-free-small", "mazes-small")


def save(
    file: Path,
    *,
    config: Config,
    step: int,
    seconds: float,
    network: RecursiveGQN,
    ema: RecursiveGQN,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write all that a run needs to go on; tensors and plain values only."""
    contents = {
        "format": FORMAT,
        "config": to_dict(config),
        "step": step,
        "seconds": seconds,
        "graph": network.to_dict(),
        "network": network.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_tensors(file, contents)


def found(path: str | Path) -> Path:
    """Return the file of weights by any name that `load` takes. Raises CheckpointError."""
    given = Path(hub.fetched(path)) if hub.is_address(path) else Path(path)
    file = given if given.suffix in FILES else given / FILE
    if file.is_file():
        return file
    if saved.is_saved(given):
        return given / saved.FILE
    # A folder of that name without weights, as an evaluation makes one, does not hide those of the library.
    if str(given) in WEIGHTS:
        return SHIPPED / given / saved.FILE
    shipped_too = f"; {unknown('shipped weights', str(given), WEIGHTS)}" if given.name == str(given) else ""
    raise CheckpointError(f"no checkpoint at {file}: name the folder of a run that saved one{shipped_too}")


def folder_of(path: Path) -> Path:
    """Return the folder of a run or of saved weights, of which `path` is the folder or the file in it."""
    return path.parent if path.suffix in FILES else path


def read(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint or a saved network, named as for `load`, with tensors on the CPU. Raises CheckpointError."""
    path = found(path)
    contents = saved.read(path.parent) if path.suffix == ".safetensors" else _checkpoint(path)
    kinds: dict[str, Any] = {"config": dict, "step": int, "seconds": (int, float), "graph": dict, "ema": dict}
    if wrong := [key for key, kind in kinds.items() if not isinstance(contents.get(key), kind)]:
        raise CheckpointError(f"{path} is a checkpoint without its {wrong[0]}: damaged, use another")
    return contents


def _checkpoint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:  # what can't be opened is not damaged
        try:
            contents = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # torch.load raises many types for a damaged file
            if of_memory(error):
                raise
            told = f"{path} can't be read as a checkpoint ({type(error).__name__}): use another"
            raise CheckpointError(told) from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of this version (format {FORMAT}): train anew")
    return contents


def resumable(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint that `read` reads, of which a run can go on. Raises CheckpointError for weights alone."""
    contents = read(path)
    if missing := {"network", "optimizer", "seconds"} - contents.keys():
        raise CheckpointError(
            f"{path} holds weights alone, without {min(missing)}: begin another run by --start {quote(str(path))}"
        )
    return contents


@checked
def load(path: str | Path) -> RecursiveGQN:
    """Return a trained network.

    Args:
        path: a run's folder; a checkpoint; a folder by `gqn.save`; the address of one on the Hugging Face Hub,
            hf://user/name or hf://user/name@revision; or a name of `WEIGHTS`, which come with the library.

    Returns:
        The network with EMA weights, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: where it can't be read.
    """
    contents = read(path)
    try:
        return trained(contents)
    except (GraphError, CheckpointError) as error:
        raise type(error)(f"{path}: {error}") from error


def trained(contents: dict[str, Any]) -> RecursiveGQN:
    """Return the trained network of a checkpoint that `read` gave."""
    with torch.device("meta"):  # a description of more than memory holds is refused before it is built
        check_weights(network_of(contents), contents["ema"])
    network = network_of(contents).to(memory_format=torch.channels_last)
    fit(network, contents["ema"])
    return network.eval()


def network_of(contents: dict[str, Any]) -> RecursiveGQN:
    """Return the untrained network of a checkpoint. Raises GraphError, which names the user's modules that it needs."""
    try:
        return RecursiveGQN.from_dict(contents["graph"])
    except GraphError as error:
        graph = contents["config"].get("graph")
        modules = graph.get("modules") if isinstance(graph, dict) else ()
        if not isinstance(modules, list | tuple) or not modules:
            raise
        named = " ".join(quote(str(module)) for module in modules)
        raise GraphError(f"{error}; it was trained with --import {named}: import that first") from error


def fit(network: RecursiveGQN, weights: Mapping[str, Any]) -> None:
    """Give a network the weights of its checkpoint. Raises CheckpointError where they are another network's."""
    check_weights(network, weights)
    network.load_state_dict(weights)


def check_weights(network: RecursiveGQN, weights: Mapping[str, Any]) -> None:
    """Raise CheckpointError where weights are not those of a network, by their names and shapes."""
    wanted = network.state_dict()
    wrong = [f"{name} is missing" for name in wanted if name not in weights]
    wrong += [f"{name} is none of them" for name in weights if name not in wanted]
    for name in (name for name in wanted if name in weights):
        given = weights[name]
        if not isinstance(given, Tensor) or given.is_floating_point() != wanted[name].is_floating_point():
            wrong.append(f"{name} has numbers of another kind")
        elif given.shape != wanted[name].shape:
            wrong.append(f"{name} is {tuple(given.shape)}, wanted {tuple(wanted[name].shape)}")
    if wrong:
        raise CheckpointError(f"the checkpoint's weights are not those of its graph ({wrong[0]}): damaged, use another")
