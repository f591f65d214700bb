"""Representations of representations: an encoder for each input, and how the inputs become one.

A product of experts multiplies the Gaussians that the inputs vote for with a prior expert N(0, 1) (Hinton 2002; Wu and
Goodman 2018, section 2.1; Lim et al. 2019, section 3). An input that knows nothing of a scene has no vote.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gqn.core.errors import Error
from gqn.models.outputs import Output
from gqn.models.readers import reader


class Value(NamedTuple):
    """The representation of b scenes that a node gives."""

    r: Tensor  # (b, c, h, w)
    present: Tensor  # (b,), False for a scene of which it was shown nothing


class MLP(nn.Module):
    """A reader of the whole of a representation (`gqn.models.readers`), and a layer, to one cell."""

    def __init__(self, *, inputs: Output, channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(reader(inputs, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, r: Tensor) -> Tensor:
        return self.layers(r)[:, :, None, None]


class Convolution(nn.Module):
    """Two convolutions that keep the grid; of one cell they are two layers."""

    def __init__(self, *, inputs: Output, channels: int, hidden: int = 256, kernel: int = 3) -> None:
        super().__init__()
        width, *sides = inputs.shape
        kernel = kernel if sides[0] > 1 else 1
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, kernel, padding=kernel // 2),
        )

    def forward(self, r: Tensor) -> Tensor:
        return self.layers(r)


class Standardise(nn.Module):
    """Standardise each number to mean 0 and deviation 1 over scenes, so that a head also reads those that vary little.

    It has no weights; `fit` says over which scenes, before that it changes nothing.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, inputs: Output, channels: int) -> None:
        super().__init__()
        if channels != inputs.shape[0]:
            raise Error(f"channels {channels}: to standardise {inputs.shape[0]} channels gives as many")
        self.register_buffer("mean", torch.zeros(inputs.shape))
        self.register_buffer("deviation", torch.ones(inputs.shape))

    def fit(self, r: Tensor) -> None:
        """Take the statistics of representations (n, c, h, w); a number that never varies stays undivided."""
        deviation = r.std(dim=0, correction=0)
        self.mean.copy_(r.mean(dim=0))
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))

    def forward(self, r: Tensor) -> Tensor:
        return (r - self.mean) / self.deviation


# Encoders by name, and the place to register one's own: keywords inputs (what r is) and channels.
ENCODERS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "convolution": Convolution, "standardise": Standardise}


class Fusion(nn.Module):
    """A representation of one or several nodes below it.

    Differs from the papers: of a product of experts its mean is passed on, not a sample.

    Args:
        inputs: the kinds of representation that the nodes below give, by name.
        encoder: a name of `ENCODERS`.
        channels: of the result; an input of one cell is laid on every cell of a grid.
        fusion: "sum" of the inputs' encodings, or "product" of the Gaussians that they vote for and a prior expert.
        dropout: in training, the probability that an input which is there is left out for a scene; one always stays.
        options: the encoder's own.

    Raises:
        Error: for another fusion, or a dropout that is no probability below 1.
    """

    def __init__(
        self,
        inputs: Mapping[str, Output],
        *,
        encoder: str = "mlp",
        channels: int = 128,
        fusion: Literal["sum", "product"] = "sum",
        dropout: float = 0.0,
        **options: object,
    ) -> None:
        super().__init__()
        if fusion not in ("sum", "product"):
            raise Error(f"fusion '{fusion}': use sum or product")
        if not 0 <= dropout < 1:
            raise Error(f"dropout {dropout}: a probability below 1")
        self.fusion, self.dropout = fusion, dropout
        outputs = channels if fusion == "sum" else 2 * channels
        self.encoders = nn.ModuleDict(
            {name: ENCODERS[encoder](inputs=given, channels=outputs, **options) for name, given in inputs.items()}
        )

    def forward(self, inputs: Mapping[str, Value]) -> Value:
        """Return this representation's value from those of the inputs by name; their order does not matter."""
        present = torch.stack([inputs[name].present for name in self.encoders], dim=1)  # (b, inputs)
        voting = self._drop(present) if self.training and self.dropout else present
        encoded = [network(inputs[name].r) for name, network in self.encoders.items()]
        votes = [v[:, None, None, None] for v in voting.unbind(dim=1)]
        if self.fusion == "sum":
            r = reduce(torch.add, [torch.where(vote, x, 0) for vote, x in zip(votes, encoded, strict=True)])
        else:
            experts = [x.chunk(2, dim=1) for x in encoded]
            # Bounded, so that no expert silences the others for good.
            precisions = [
                torch.where(vote, log_precision.clamp(-6, 6).exp(), 0)
                for vote, (_, log_precision) in zip(votes, experts, strict=True)
            ]
            weighted = [precision * mean for precision, (mean, _) in zip(precisions, experts, strict=True)]
            r = reduce(torch.add, weighted) / (1 + reduce(torch.add, precisions))
        return Value(r, present.any(dim=1))

    def _drop(self, present: Tensor) -> Tensor:
        """Leave some inputs of each scene out at random, but never the last one that is there."""
        kept = present & (torch.rand(present.shape, device=present.device) >= self.dropout)
        # Where none was kept, the one that is there and draws the highest number stays.
        rescued = (torch.rand_like(kept, dtype=torch.float32) * present).argmax(dim=1)
        rescue = nn.functional.one_hot(rescued, present.shape[1]).bool() & present
        return torch.where(kept.any(dim=1, keepdim=True), kept, rescue)
