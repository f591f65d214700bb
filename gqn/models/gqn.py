"""The Generative Query Network: one sense, one representation, one task (render)."""

from typing import Any

import torch
from torch import Tensor, nn

from gqn.core.camera import CAMERA_NUMBERS
from gqn.core.views import Batch, Views
from gqn.models.encoders import REPRESENTATIONS
from gqn.models.generator import Generator, Prediction
from gqn.models.senses import Aggregate, aggregate_views, encode_views
from gqn.models.volume import FIELD_OF_VIEW, RADIUS


class GenerativeQueryNetwork(nn.Module):
    """Representation network and generator (Eslami et al. 2018, figure 1).

    representation: "pyramid", "tower", "pool" or "volume"; representation_channels: its width, of a volume that of each
        cell. field_of_view, radius: what a volume must know of the cameras and the world (`gqn.models.volume`).
    aggregate: "sum" over context views as published, or their "mean".
    normalise: layer normalisation of the aggregated representation, without learned scale (not in the paper).
    The other arguments are those of `Generator`.
    """

    def __init__(
        self,
        *,
        pixels: int,
        representation: str = "pool",
        representation_channels: int = 256,
        aggregate: Aggregate = "sum",
        normalise: bool = False,
        hidden: int = 128,
        canvas: int = 128,
        latent: int = 3,
        generation_steps: int = 12,
        shared: bool = False,
        kernel: int = 5,
        field_of_view: float = FIELD_OF_VIEW,
        radius: float = RADIUS,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        frame = (3, pixels, pixels)
        cores: dict[str, Any] = {
            "hidden": hidden,
            "canvas": canvas,
            "latent": latent,
            "generation_steps": generation_steps,
            "shared": shared,
            "kernel": kernel,
            "recompute": recompute,
        }
        sees: dict[str, Any] = {"channels": representation_channels}
        if representation == "volume":
            world = {"field_of_view": field_of_view, "radius": radius}
            sees, cores = {**sees, **world}, {**cores, "look": True, **world}
        # The same network as a sense and a task of `gqn.models.graph.RecursiveGQN`.
        self.sense: dict[str, Any] = {
            "encoder": representation,
            "frame": frame,
            **sees,
            "aggregate": aggregate,
            "normalise": normalise,
        }
        self.render: dict[str, Any] = {"target": frame, "query": CAMERA_NUMBERS, **cores}
        self.aggregate: Aggregate = aggregate
        self.normalise = normalise
        self.representation = REPRESENTATIONS[representation](pixels=pixels, **sees)
        self.generator = Generator(
            pixels=pixels,
            representation_channels=self.representation.channels,
            representation_grid=self.representation.grid,
            **cores,
        )

    def encode(self, context: Views) -> Tensor:
        """Representation of b scenes, (b, c, h', w'), from m context views each; their order does not matter.

        Without views it is zero.
        """
        features = encode_views(self.representation, context)
        return aggregate_views(features, context.present, self.aggregate, self.normalise)

    def forward(self, batch: Batch) -> Prediction:
        """Predictions of the query frames with latents from the posterior, which sees them: for training."""
        return self.generator(batch.query.cameras, self.encode(batch.context), batch.query.frames)

    @torch.no_grad()
    def sample(self, context: Views, cameras: Tensor, samples: int = 1) -> Tensor:
        """Means of the frames at `cameras` (b, q, k) with latents from the prior, (samples, b, q, c, h, w)."""
        r = self.encode(context)
        return torch.stack([self.generator(cameras, r).mean for _ in range(samples)])  # one at a time: memory
