"""Checkpoints: written whole or not at all, read without pickle."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from gqn.core.checked import checked
from gqn.core.errors import Error, of_memory, unknown
from gqn.core.files import save_tensors
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError, listed
from gqn.training.config import Config, to_dict

FORMAT = 2
FILE = "checkpoint.pt"
EVALUATED = "evaluated.pt"  # the last that was evaluated well, where a loss may have exploded since
# Weights that come with the library, gqn/weights/NAME.pt, and their SHA-256.
WEIGHTS = {"shepard-metzler-5-small": "e3517114ef4ff7b8d89b84b5d469e11ae6e1a413d3bf1a9be00e0ea6d00b8355"}


class CheckpointError(Error):
    """A checkpoint that can't be read; the message names the file and what to do."""


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
    """Return the file of a checkpoint by its name, its run's folder, or one of `WEIGHTS`. Raises CheckpointError."""
    given = Path(path)
    path = given if given.suffix == ".pt" else given / FILE
    if path.is_file():
        return path
    # A folder of that name without a checkpoint, as an evaluation makes one, does not hide the weights.
    if str(given) in WEIGHTS:
        return shipped(str(given))
    shipped_too = f"; {unknown('shipped weights', str(given), WEIGHTS)}" if given.name == str(given) else ""
    raise CheckpointError(f"no checkpoint at {path}: name the folder of a run that saved one{shipped_too}")


def read(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint, named as for `found`, with tensors on the CPU. Raises CheckpointError."""
    path = found(path)
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
    kinds = {"config": dict, "step": int, "graph": dict, "ema": dict}
    if wrong := [key for key, kind in kinds.items() if not isinstance(contents.get(key), kind)]:
        raise CheckpointError(f"{path} is a checkpoint without its {wrong[0]}: damaged, use another")
    return contents


def resumable(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint that `read` reads, of which a run can go on. Raises CheckpointError for weights alone."""
    contents = read(path)
    if missing := {"network", "optimizer", "seconds"} - contents.keys():
        raise CheckpointError(
            f"{path} holds weights alone, without {min(missing)}: begin another run by --start {quote(str(path))}"
        )
    return contents


def shipped(name: str) -> Path:
    """Return the file of weights that come with the library. Raises CheckpointError where its checksum is another."""
    path = Path(__file__).parents[1] / "weights" / f"{name}.pt"
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != WEIGHTS[name]:
        raise CheckpointError(f"{path} is missing or damaged: its checksum is not {WEIGHTS[name]}; install gqn again")
    return path


@checked
def load(path: str | Path) -> RecursiveGQN:
    """Return a trained network.

    Args:
        path: a run's folder, a checkpoint, or a name of `WEIGHTS`.

    Returns:
        The network with EMA weights, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: where it can't be read.
    """
    return trained(read(path))


def trained(contents: dict[str, Any]) -> RecursiveGQN:
    """Return the trained network of a checkpoint that `read` gave."""
    network = network_of(contents).to(memory_format=torch.channels_last)
    fit(network, contents["ema"])
    return network.eval()


def network_of(contents: dict[str, Any]) -> RecursiveGQN:
    """Return the untrained network of a checkpoint. Raises GraphError, which names the user's modules that it needs."""
    try:
        return RecursiveGQN.from_dict(contents["graph"])
    except GraphError as error:
        modules = contents["config"].get("graph", {}).get("modules", ())
        if not modules:
            raise
        named = " ".join(quote(str(module)) for module in modules)
        raise GraphError(f"{error}; it was trained with --import {named}: import that first") from error


def fit(network: RecursiveGQN, weights: dict[str, Any]) -> None:
    """Give a network the weights of its checkpoint. Raises CheckpointError where they are another network's."""
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        told = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"the checkpoint's weights are not those of its graph ({told}): damaged, use another"
        ) from error


def extract(run: str | Path, file: str | Path, nodes: Iterable[str] = (), *, half: bool = False) -> None:
    """Write the EMA weights of a run alone to a small file for `load`.

    Args:
        nodes: which to take; all by default.
        half: in half precision.

    Raises:
        CheckpointError: where the run can't be read.
        GraphError: where there is no such node, or one needs another that is left out.
    """
    contents = read(run)
    network, wanted = trained(contents), set(nodes)
    if unknown := wanted - set(network.spec):
        raise GraphError(f"{run} has no node {listed(unknown)}; there are {listed(network.spec)}")
    if wanted:
        network.remove(*(name for name in network.spec if name not in wanted))
    save_network(file, network, contents, half=half)


def save_network(file: str | Path, network: RecursiveGQN, origin: dict[str, Any], *, half: bool = False) -> None:
    """Write a network with its weights alone, to a small file for `load`; origin: the checkpoint that it grew from."""
    weights = {name: w.half() if half and w.dim() else w for name, w in network.state_dict().items()}
    # The folders of the machine that it was trained on tell nobody else anything.
    config = {**origin["config"], "data": "", "runs": Config.runs}
    kept = {key: origin[key] for key in ("format", "step", "seconds")}
    save_tensors(file, {**kept, "config": config, "graph": network.to_dict(), "ema": weights})
