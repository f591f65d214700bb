"""The Generative Query Network: the smallest graph, of one sense, one representation and one task (render)."""

from typing import Any, cast

from gqn.core.camera import CAMERA_NUMBERS
from gqn.core.checked import checked
from gqn.models.generator import Generator
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Render
from gqn.models.senses import Aggregate


class GenerativeQueryNetwork(RecursiveGQN):
    """Representation network and generator (Eslami et al. 2018, figure 1), as sense `vision` and task `render`. ::

        context views --vision--> r --render--> frames at the query cameras

    With `Batch.of(context, query)` for a batch: `network(batch)["render"]` predicts the query frames with latents from
    the posterior, which sees them; `network.encode(context)` is r; `network.sample(context, cameras)` imagines frames
    with latents from the prior. All of it is `RecursiveGQN`'s, and so is the way to grow further nodes on this network.

    Args:
        pixels: height and width of the frames, a multiple of 4.
        representation: "pyramid", "tower", "pool" or "volume".
        representation_channels: width of r; of a volume that of each cell.
        aggregate: "sum" over context views as published, or their "mean"; a volume takes the mean, whatever this says.
        normalise: layer normalisation of the aggregated representation, without learned scale (not in the paper).
        volume: arguments of `gqn.models.volume.VolumeEncoder` alone: field_of_view, centre, radius, height, beyond,
            side, passes.
        generator: other arguments, those of `gqn.models.generator.Generator`.

    Raises:
        GraphError: where the sizes do not fit.
    """

    @checked
    def __init__(
        self,
        *,
        pixels: int,
        representation: str = "pool",
        representation_channels: int = 256,
        aggregate: Aggregate = "sum",
        normalise: bool = False,
        volume: dict[str, Any] | None = None,
        **generator: Any,
    ) -> None:
        super().__init__()
        frame = (3, pixels, pixels)
        self.add_sense(
            "vision",
            representation,
            frame=frame,
            channels=representation_channels,
            aggregate=aggregate,
            normalise=normalise,
            **(volume or {}),
        )
        self.add_task("render", "render", ["vision"], target=frame, query=CAMERA_NUMBERS, **generator)

    @property
    def generator(self) -> Generator:
        """The ConvDRAW generator of the task `render`."""
        return cast(Render, self.nodes["render"]).generator
