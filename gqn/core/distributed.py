"""One process or many: torchrun's environment, the rank, sums over ranks. On one process all of it does nothing."""

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from gqn.core.errors import Error

GONE = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "Broken pipe")  # in torch's errors
T = TypeVar("T")
LOCAL = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}  # of torchrun: this process among those of its machine


@dataclass(frozen=True)
class Processes:
    """This process among all: its rank, how many there are, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the process that writes files and prints."""
        return self.rank == 0

    def parallel(self, network: nn.Module, *, partial: bool = False) -> nn.Module:
        """Return the network with gradients averaged over the processes; partial: a step may leave weights unused."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, gradient_as_bucket_view=True, find_unused_parameters=partial)

    def apart(self, parallel: nn.Module) -> AbstractContextManager[None]:
        """Return a block whose gradients stay with this process; the next `backward` after it averages them too."""
        return parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext()

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes, on all of them."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank, on all of them: plain values and tensors on the CPU."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def led(self, work: Callable[[], T]) -> T:
        """Return on all processes what work gives on the one that leads; its Error or OSError is raised on all."""
        found: T | Exception | None = None
        if self.leads:
            try:
                found = work()
            except (Error, OSError) as error:
                found = error
        found = self.gather(found)[0]
        if isinstance(found, Exception):
            raise found
        return cast(T, found)

    def lost(self, error: RuntimeError) -> bool:
        """Return whether an error says that another process is gone."""
        return self.count > 1 and any(sign in str(error) for sign in GONE)

    def of_leader(self, value: float) -> float:
        """Return the leading process's value, on all processes."""
        if self.count == 1:
            return value
        return self.total(torch.tensor(value if self.leads else 0.0, device=self.device, dtype=torch.float64)).item()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any process."""
        if self.count == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.device)).item())


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the group that torchrun started, or stand alone; leave it in order at the end.

    Args:
        device: "cpu", "cuda", or "auto" for CUDA where there is one. NCCL joins CUDA devices, gloo CPUs.

    Raises:
        Error: for another device, for CUDA where there is none or fewer than processes, and where some processes are
            on CUDA and others are not.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise Error(f"--device {device}: must be cpu, cuda or auto")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise Error("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    local, here = (int(os.environ.get(name, default)) for name, default in LOCAL.items())
    if cuda and here > (found := torch.cuda.device_count()):
        raise Error(
            f"--device {device}: {here} processes on this machine, where PyTorch finds {found} CUDA device(s): start "
            f"{found} (torchrun --nproc-per-node {found}), or take --device cpu"
        )
    place = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(place)
    if count == 1:
        yield Processes(0, 1, place)
        return
    # Its functions take the group that there is when it is imported for a default, and would keep it: imported by the
    # first DistributedDataParallel, they let the group's threads outlive it, into Python's end, which they may abort.
    import_module("torch.distributed.nn.functional")
    store, rank, _ = next(iter(distributed.rendezvous("env://")))
    store.set(f"device {rank}", place.type)
    if len({store.get(f"device {one}") for one in range(count)}) > 1:  # NCCL and gloo would wait for each other
        raise Error(f"--device {device}: some processes find CUDA and others do not: take --device cpu for all of them")
    distributed.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=rank, world_size=count, device_id=place if cuda else None
    )
    try:
        yield Processes(distributed.get_rank(), count, place)
        # gloo aborts a process that still talks to one that has left.
        distributed.barrier()
    except BaseException as error:
        _forget_frames(error)  # what a traceback holds would keep the group too
        raise
    finally:
        distributed.destroy_process_group()


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions held that an error, or one before it, has left."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
