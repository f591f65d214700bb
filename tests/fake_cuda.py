"""CUDA without a device: tensors that have a shape and a device but no numbers, and a step that waits for none of them.

Kernels do not run, so all that is known here is where tensors lie and what the host asks of them. A backward pass can't
be taken, since autograd's engine looks for the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gqn.core.views import Batch, Views

CUDA = torch.device("cuda", 0)
COPIES = {"_to_copy", "copy_"}


class Waits(AssertionError):
    """The host waits for the device, or mixes tensors of both."""


WAITS = (Waits, DataDependentOutputException, DynamicOutputShapeException, FakeTensorDeviceMismatchError)


class NeverWaits(TorchDispatchMode):
    """Refuses what makes the host wait for CUDA, and tensors on another device among those on CUDA.

    Fake tensors refuse by themselves what asks for a value (`item`, `nonzero`, a mask as an index). Here: copies from
    the device; copies to it but for those of pinned memory in the background; and tensors on the CPU as operands, save
    single numbers, which go with the kernel's launch.
    """

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        given = options or {}
        out = function(*arguments, **given)
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((arguments, given, out)) if isinstance(leaf, Tensor)]
        numbers_go_along = name not in COPIES and name != "where"
        places = {t.device.type for t in tensors if t.dim() or t.device.type == "cuda" or not numbers_go_along}
        background = name in COPIES and given.get("non_blocking") and out.device.type == "cuda"
        if len(places) > 1 and not background:
            raise Waits(f"{function}: {', '.join(f'{tuple(t.shape)} on {t.device}' for t in tensors)}")
        return out


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fake tensors, CUDA's autocast as where there is a device, and every operator under `NeverWaits`."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with FakeTensorMode() as fake, NeverWaits():
        yield fake


def to_cuda(network: nn.Module) -> None:
    """Put a network's weights and buffers on the fake device, in the formats that they have."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(_like(weight), requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CUDA)


def faked(batch: Batch, fake: FakeTensorMode) -> Batch:
    """A batch of fake tensors, on the CPU still."""
    return batch._each(lambda views: views._each(fake.from_tensor))


def devices(*found: object) -> set[torch.device]:
    """The devices of tensors in dictionaries, tuples, answers and views."""
    return set(chain.from_iterable(_devices(one) for one in found))


def _devices(found: object) -> Iterator[torch.device]:
    if isinstance(found, Tensor):
        yield found.device
    elif isinstance(found, dict | tuple | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _devices(part)
    elif isinstance(found, nn.Module | Views) or hasattr(found, "__dict__"):
        for part in vars(found).values():
            yield from _devices(part)
