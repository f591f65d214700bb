"""Senses: encoders of one observation and the pose that it was made from, and the r that a scene's views make.

Each encoder maps frames (n, ...) and cameras (n, k) to (n, channels, h', w'). Vision's: `gqn.models.encoders`.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gqn.core.errors import Error
from gqn.core.views import EncodedViews, Views
from gqn.models.encoders import REPRESENTATIONS, Vision
from gqn.models.outputs import Output, Shape

Aggregate = Literal["sum", "mean"]


class VectorEncoder(nn.Module):
    """A vector of readings (touch, proprioception) and the probe's pose through three layers, to one cell."""

    def __init__(self, *, frame: Shape, pose: int, channels: int = 128, hidden: int = 256) -> None:
        super().__init__()
        if len(frame) != 1:
            raise Error(f"frames of shape {tuple(frame)}: a vector has one axis")
        self.layers = nn.Sequential(
            nn.Linear(frame[0] + pose, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
        )

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        return self.layers(torch.cat([frames, cameras], dim=1))[:, :, None, None]


class SpectrogramEncoder(nn.Module):
    """Sound as a map (channels, frequencies, times) and the listener's pose, to one cell.

    Three convolutions of stride 2; then the mean over time, but not over frequency, since pitch matters more than when.
    """

    def __init__(self, *, frame: Shape, pose: int, channels: int = 128, hidden: int = 256) -> None:
        super().__init__()
        if len(frame) != 3:
            raise Error(f"frames of shape {tuple(frame)}: a spectrogram has axes channels, frequencies, times")
        self.convolutions = nn.Sequential(
            nn.Conv2d(frame[0], 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        heard = 64 * -(-frame[1] // 8)
        self.layers = nn.Sequential(nn.Linear(heard + pose, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        heard = self.convolutions(frames).mean(dim=3).flatten(1)
        return self.layers(torch.cat([heard, cameras], dim=1))[:, :, None, None]


def vision(network: Vision) -> Callable[..., nn.Module]:
    """Return a network of `gqn.models.encoders` that takes the arguments of a sense, and its own."""

    def build(*, frame: Shape, pose: int, **options: Any) -> nn.Module:
        if len(frame) != 3 or frame[1] != frame[2]:
            raise Error(f"frames of shape {tuple(frame)}: vision takes (channels, pixels, pixels)")
        return network(pixels=frame[1], cameras=pose, frame_channels=frame[0], **options)

    return build


# Encoders by name, and the place to register one's own: keywords frame (shape of an observation), pose (numbers).
SENSES: dict[str, Callable[..., nn.Module]] = {
    **{name: vision(network) for name, network in REPRESENTATIONS.items()},
    "vector": VectorEncoder,
    "spectrogram": SpectrogramEncoder,
}


class Sense(nn.Module):
    """An encoder of views and what becomes of them: the first layer of a graph.

    Where the encoder has a module `join`, r is what that makes of the views' features and the views.

    aggregate, normalise: see `aggregate_views`; not for an encoder that joins.
    """

    def __init__(self, encoder: nn.Module, *, aggregate: Aggregate = "sum", normalise: bool = False) -> None:
        super().__init__()
        if aggregate not in ("sum", "mean"):
            raise Error(f"aggregate '{aggregate}': use sum or mean")
        self.encoder, self.aggregate, self.normalise = encoder, aggregate, normalise
        if normalise and self.join:
            raise Error("normalise: a volume is normalised where its views are joined, leave it out")

    @property
    def output(self) -> Output | None:
        """The kind of representation that the encoder says it gives; None where it does not say."""
        return cast(Output | None, getattr(self.encoder, "output", None))

    @property
    def join(self) -> nn.Module | None:
        """The encoder's module from features of the views, and the views, to r; None where r is the aggregate."""
        return cast(nn.Module | None, getattr(self.encoder, "join", None))

    def forward(self, views: Views) -> Tensor:
        """Return the representation of b scenes, (b, c, h', w'), from their views, which may be encoded already."""
        if isinstance(views, EncodedViews):
            return views.frames[:, 0] if self.join else self._aggregated(views.frames, views.present)
        # One scene after another on a processor, whose cache holds one.
        alone = self.join and len(views.cameras) > 1 and views.cameras.device.type == "cpu"
        if alone and not torch.compiler.is_compiling():
            return torch.cat([self(views[scene : scene + 1]) for scene in range(len(views.cameras))])
        features = encode_views(self.encoder, views)
        return self.join(features, views) if self.join else self._aggregated(features, views.present)

    def encoded(self, views: Views) -> EncodedViews:
        """Return views that `forward` takes in place of these: the features of each, or r as the one that there is."""
        if not self.join:
            return EncodedViews(encode_views(self.encoder, views), views.cameras, views.present)
        present = None if views.present is None else views.present.any(dim=1, keepdim=True)
        return EncodedViews(self(views)[:, None], views.cameras[:, :1], present)

    def _aggregated(self, features: Tensor, present: Tensor | None) -> Tensor:
        return aggregate_views(features, present, self.aggregate, self.normalise)


def encode_views(encoder: nn.Module, views: Views) -> Tensor:
    """Return the features of each view by itself, (b, m, c, h', w')."""
    frames = views.known().flatten(0, 1)
    if frames.dim() == 4:
        frames = frames.contiguous(memory_format=torch.channels_last)
    return encoder(frames, views.cameras.flatten(0, 1)).unflatten(0, views.cameras.shape[:2])


def aggregate_views(features: Tensor, present: Tensor | None, aggregate: Aggregate, normalise: bool) -> Tensor:
    """Return one representation of each scene from those of its views; the views' order does not matter.

    Args:
        features: (b, m, c, h', w').
        present: (b, m), the views that count; None for all. The aggregate of no views is zeros.
        aggregate: "sum" over views as published (supplementary section 2), or their "mean".
        normalise: layer normalisation of the result, without learned scale (not in the paper).

    Returns:
        (b, c, h', w').
    """
    if present is None:
        r = features.mean(dim=1) if aggregate == "mean" and features.shape[1] else features.sum(dim=1)
    else:
        r = torch.where(present[:, :, None, None, None], features, 0).sum(dim=1)
        if aggregate == "mean":
            r = r / present.sum(dim=1).clamp(min=1)[:, None, None, None]
    return F.layer_norm(r, r.shape[1:]) if normalise else r
