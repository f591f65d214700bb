"""Small modules that the networks share."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LSTMState(NamedTuple):
    """State of a convolutional LSTM cell."""

    hidden: Tensor  # (n, c, h, w)
    cell: Tensor  # (n, c, h, w)


class ConvLSTMCell(nn.Module):
    """Convolutional LSTM cell (Shi et al. 2015, without peepholes) whose unchanging inputs are convolved elsewhere.

    conv([a, b]) = conv(a) + conv(b), so what does not change over the steps enters as `static` gates, bias included.

    Args:
        inputs: channels of the inputs that change from step to step; the cell's own state comes after them.
        hidden: channels of the state.
        kernel: size of the convolution, odd.
        fan_in: channels that all convolutions into the gates have together, the static ones included (initial scale).
        first: the cell serves the first step alone, where the state is zero and needs no weights.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int, fan_in: int, *, first: bool = False) -> None:
        super().__init__()
        changing = inputs if first else inputs + hidden
        self.gates = nn.Conv2d(changing, 4 * hidden, kernel, padding=kernel // 2, bias=False) if changing else None
        if self.gates is not None:
            initialise_part(self.gates, fan_in)

    def forward(self, inputs: Sequence[Tensor], state: LSTMState | None, static: Tensor) -> LSTMState:
        """Take one step and return the new state.

        Args:
            inputs: (n, c_i, h, w) each. Without a state, inputs may be left out from the end: those are zeros too.
            state: of the step before; None stands for zeros.
            static: (n, 4 * hidden, h, w), gates from inputs that do not change.
        """
        known = [*inputs] if state is None else [*inputs, state.hidden]
        gates = static if self.gates is None or not known else static + convolve_known(self.gates, known)
        ingate, forget, output, candidate = gates.chunk(4, dim=1)
        cell = ingate.sigmoid() * candidate.tanh()
        if state is not None:
            cell = forget.sigmoid() * state.cell + cell
        return LSTMState(output.sigmoid() * cell.tanh(), cell)


def convolve_known(conv: nn.Conv2d, known: Sequence[Tensor]) -> Tensor:
    """Convolve a concatenation of which only the first channels are given and the others are zero."""
    x = torch.cat(list(known), dim=1)
    if x.shape[1] == conv.in_channels:
        return conv(x)
    return F.conv2d(x, conv.weight[:, : x.shape[1]], conv.bias, conv.stride, conv.padding)


class CameraConv2d(nn.Module):
    """The part of a convolution that comes from the camera's numbers, as planes beside its other inputs.

    It is a linear map of k numbers: the kernel is convolved with the plane pattern of each number once, for all
    cameras, and no input has an odd number of channels.
    """

    def __init__(self, numbers: int, out_channels: int, kernel: int, fan_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(numbers, out_channels, kernel, padding=kernel // 2, bias=False)
        initialise_part(self.conv, fan_in)

    def forward(self, cameras: Tensor, patterns: Tensor) -> Tensor:
        """Return (n, c, h, w) for cameras (n, k) and patterns (k, k, h, w), the planes that each number alone gives."""
        response = self.conv(patterns.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)  # (k, h, w, c)
        return (cameras @ response.flatten(1)).view(-1, *response.shape[1:]).permute(0, 3, 1, 2)


def constant_planes(numbers: int, height: int, width: int, like: Tensor) -> Tensor:
    """Return the patterns for `CameraConv2d` by which each number fills a plane of its own, (k, k, h, w)."""
    eye = torch.eye(numbers, device=like.device, dtype=like.dtype)
    return eye[:, :, None, None].expand(-1, -1, height, width)


def initialise_part(conv: nn.Conv2d, fan_in: int) -> None:
    """Give `conv`, a part of a convolution of `fan_in` channels, the initial scale that PyTorch gives the whole."""
    bound = 1 / math.sqrt(fan_in * conv.weight[0, 0].numel())
    nn.init.uniform_(conv.weight, -bound, bound)
    if conv.bias is not None:
        nn.init.uniform_(conv.bias, -bound, bound)
