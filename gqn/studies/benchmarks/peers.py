"""Time published implementations beside ours, in one run and by turns: a training step and a prior sample.

Their code is imported from checkouts that the user names; none of it is here.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Normal

from gqn.core.distributed import Processes, processes
from gqn.core.errors import Error
from gqn.core.provenance import commit
from gqn.core.views import Batch
from gqn.studies.benchmarks.timing import Step, Work, clock_of, random_batch, seconds
from gqn.training.config import PRESETS
from gqn.training.setup import computes_in_bfloat16

SIGMA = 0.7  # of the pixels


@dataclass(frozen=True)
class Peers:
    """Time a training step and a prior sample of published implementations beside ours, at their sizes and 64 x 64."""

    checkouts: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkouts of them; which each is follows from what lies in it."""
    batch: int = 4
    """Scenes a step."""
    context: int = 5
    """Context views of a scene."""
    generation_steps: int = 8
    """Steps L of the generator."""
    repeats: int = 7
    """Turns; ratios are those of each turn."""
    compiled: bool = False
    """Compile ours."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """cpu or cuda."""
    output: Path | None = None
    """A JSON file to write the figures to."""


class Peer(NamedTuple):
    """A published implementation: what tells its checkout, its sizes, and how it is called."""

    address: str
    files: tuple[str, ...]  # that lie in its checkout
    module: str  # that has the network
    latent: int
    shared_cores: bool
    network: Callable[[ModuleType, int], nn.Module]  # from the module and L
    loss: Callable[[nn.Module, Batch], Tensor]  # the negative ELBO, mean over the scenes
    sample: Callable[[nn.Module, Batch], Tensor]


def _wohlert_loss(network: nn.Module, batch: Batch) -> Tensor:
    (frames, cameras), (truth, camera) = _views(batch)
    mean, _, kl = network(frames, cameras, truth, camera)
    likelihood = Normal(mean, SIGMA).log_prob(truth).sum(dim=(1, 2, 3)).mean()
    return kl.sum(dim=(1, 2, 3)).mean() - likelihood


def _wohlert_sample(network: nn.Module, batch: Batch) -> Tensor:
    (frames, cameras), (_, camera) = _views(batch)
    return network.sample(frames, cameras, camera, SIGMA)  # type: ignore[operator]


def _ishohei_loss(network: nn.Module, batch: Batch) -> Tensor:
    (frames, cameras), (truth, camera) = _views(batch)
    return -network(frames, cameras, camera, truth, SIGMA).mean()


def _ishohei_sample(network: nn.Module, batch: Batch) -> Tensor:
    (frames, cameras), (_, camera) = _views(batch)
    return network.generate(frames, cameras, camera)  # type: ignore[operator]


PEERS = (
    Peer(
        "wohlert/generative-query-network-pytorch",
        ("shepardmetzler.py", "gqn/generator.py"),
        "gqn",
        latent=64,
        shared_cores=True,
        network=lambda module, steps: module.GenerativeQueryNetwork(
            x_dim=3, v_dim=7, r_dim=256, h_dim=128, z_dim=64, L=steps
        ),
        loss=_wohlert_loss,
        sample=_wohlert_sample,
    ),
    Peer(
        "iShohei220/torch-gqn",
        ("model.py", "conv_lstm.py", "gqn_dataset.py"),
        "model",
        latent=3,  # which its code holds fixed
        shared_cores=False,
        network=lambda module, steps: module.GQN(representation="pool", L=steps),
        loss=_ishohei_loss,
        sample=_ishohei_sample,
    ),
)


def time_peers(options: Peers) -> dict[str, Any]:
    """Return the figures of each checkout's implementation and of ours, by turns in this process.

    Raises:
        Error: for a folder that is no checkout of a known implementation, before any work.
    """
    known = [(peer_of(checkout), checkout) for checkout in options.checkouts]
    if not known:
        raise Error(f"no checkout named: clone {' or '.join(peer.address for peer in PEERS)}, and name its folder")
    with processes(options.device) as group:
        pass  # it is alone, and needs no other from here on
    bfloat16 = computes_in_bfloat16("auto", group.device)
    report: dict[str, Any] = {"precision": "bfloat16" if bfloat16 else "float32", "peers": {}}
    for peer, checkout in known:
        report["peers"][peer.address] = row = beside(peer, checkout, options, group, bfloat16)
        print(f"{peer.address}: {row}", flush=True)
    return report


def peer_of(checkout: Path) -> Peer:
    """Return which implementation lies in a checkout. Raises Error where it is none that is known."""
    for peer in PEERS:
        if all((checkout / file).is_file() for file in peer.files):
            return peer
    known = ", ".join(peer.address for peer in PEERS)
    raise Error(f"{checkout}: no checkout of an implementation that is known here: clone one of {known}")


def beside(peer: Peer, checkout: Path, options: Peers, group: Processes, bfloat16: bool) -> dict[str, Any]:
    """Return the figures of an implementation and of ours at its sizes."""
    sizes = replace(
        PRESETS["paper"].model,
        generation_steps=options.generation_steps,
        latent=peer.latent,
        shared_cores=peer.shared_cores,
    )
    config = replace(PRESETS["paper"], model=sizes, compile=options.compiled)
    batch, device = random_batch(Work(64, options.batch, options.context, 1)), group.device
    ours = Step(config, batch, group, bfloat16=bfloat16)
    with imported(checkout, peer.module) as module:
        theirs = peer.network(module, options.generation_steps).to(device)
    optimizer, there = torch.optim.Adam(theirs.parameters(), lr=5e-5), batch.to(device)

    def learn() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = peer.loss(theirs, there)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def sample() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            peer.sample(theirs, there)

    return {
        "checkout": commit(checkout),
        "sizes": {
            "L": options.generation_steps,
            "hidden": sizes.hidden,
            "latent": peer.latent,
            "shared_cores": peer.shared_cores,
            "parameters": {
                "ours": sum(weight.numel() for weight in ours.network.parameters()),
                "theirs": sum(weight.numel() for weight in theirs.parameters()),
            },
        },
        "training_step": by_turns(ours.learn, learn, options, device),
        "prior_sample": by_turns(ours.sample, sample, options, device),
    }


def by_turns(
    ours: Callable[[], None], theirs: Callable[[], None], options: Peers, device: torch.device
) -> dict[str, Any]:
    """Return the seconds a scene of both, the fastest of their turns, and the ratio of each turn: median and ends."""
    clock = clock_of(device)
    for work in (ours, theirs):
        work()
    turns = [(seconds(ours, device, clock), seconds(theirs, device, clock)) for _ in range(options.repeats)]
    ratios = sorted(other / own for own, other in turns)
    fastest = [min(column) / options.batch for column in zip(*turns, strict=True)]
    return {
        "ours_seconds_a_scene": round(fastest[0], 4),
        "theirs_seconds_a_scene": round(fastest[1], 4),
        "times_as_fast": round(median(ratios), 2),
        "of_turns_from_to": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


@contextmanager
def imported(checkout: Path, name: str) -> Iterator[ModuleType]:
    """Yield a module of a checkout, whose modules may have the names of ours: they are gone when the block ends.

    Raises:
        Error: where the checkout's code can't be imported.
    """
    names = {path.stem for path in checkout.iterdir()}

    def taken() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}

    ours = taken()
    for loaded in ours:
        del sys.modules[loaded]
    sys.path.insert(0, str(checkout.resolve()))
    try:
        yield import_module(name)
    except (ImportError, SyntaxError) as error:
        raise Error(f"{checkout}: its module {name} can't be imported: {error}") from error
    finally:
        sys.path.remove(str(checkout.resolve()))
        for loaded in taken():
            del sys.modules[loaded]
        sys.modules.update(ours)


def _views(batch: Batch) -> Sequence[tuple[Tensor, Tensor]]:
    """Return frames and cameras of the context, (b, m, ...), and of the query, (b, ...)."""
    context, query = batch.context, batch.query
    return (context.frames, context.cameras), (query.frames[:, 0], query.cameras[:, 0])
