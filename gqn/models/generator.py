"""The ConvDRAW generator: from a representation and a query camera to a frame, through a sequence of latents.

Eslami et al. 2018, supplementary section 2 and figure S2. One recurrence serves training and sampling: at each step the
latent z comes from the posterior where the target frame is given, and from the prior where it is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gqn.core.camera import CAMERA_NUMBERS
from gqn.core.errors import Error
from gqn.models.layers import CameraConv2d, ConvLSTMCell, LSTMState, initialise_part
from gqn.models.losses import Gaussian, Latent, promote
from gqn.models.outputs import Grid, Output, Volume
from gqn.models.rays import LookThrough, Painter
from gqn.models.scene_latent import SceneLatent

MOST_STEPS = 256  # with many thousands, trying a network before it is built would take hours
CELL = Grid(256)  # what a pool or a pyramid gives at the published size


@dataclass(frozen=True)
class Prediction:
    """A prediction of q query views of b scenes."""

    mean: Tensor  # (b, q, c, h, w) mean of the frames' normal distribution, in pixel values of 0 to 1
    kl: Tensor  # (b, q, L) KL of posterior to prior of each latent, in nats; zero where no target was given


@dataclass(frozen=True)
class Step:
    """One step of the recurrence, for n = b * q frames."""

    latent: Latent  # z, (n, latent, h', w')
    canvas: Tensor  # after this step, (n, hidden, h', w'); `Generator.paint` makes frames of it
    seen: Tensor | None  # what the query's camera sees of a volume, (n, c, h, w); None for other representations


class Generator(nn.Module):
    """ConvDRAW, L steps of: prior, inference core, posterior, z, generation core, canvas.

    Inputs that do not change over the steps (r, camera, frame) are convolved once for all steps, and the canvas is kept
    as the sum of hidden states: growing it is linear, so growing and shrinking it is one linear map of each cell.
    tests/reference.py has the literal form, which gives the same numbers.

    Differs from the paper: the layers that place r and the camera, grow and shrink the canvas, and read the prior and
    the posterior are shared by all steps, whether or not the cores are.

    Args:
        pixels: height and width of the frames, a multiple of 4; the cores work on a grid of a quarter of it.
        inputs: the kind of r. One cell is placed on the cores' grid by a learned transposed convolution, as the camera
            is. Each query's camera looks through a volume (`gqn.models.rays`).
        hidden: channels of the cores' states.
        canvas: channels of the canvas.
        latent: channels of z.
        generation_steps: steps L.
        shared_cores: one pair of cores for all steps, else a pair for each.
        kernel: size of the cores' convolutions, odd.
        cameras: numbers k of a camera.
        frame_channels: channels of a frame.
        seen_channels: channels of the view of a volume, on the cores' grid.
        scene_latent: add a latent of the scene that all its queries share (`gqn.models.scene_latent`), for a volume.
        activation_checkpointing: compute the cores' activations again for the gradient instead of keeping them: less
            memory, more time.

    Raises:
        Error: where the sizes do not fit.
    """

    SCALE = 4

    def __init__(
        self,
        *,
        pixels: int,
        inputs: Output = CELL,
        hidden: int = 128,
        canvas: int = 128,
        latent: int = 3,
        generation_steps: int = 12,
        shared_cores: bool = False,
        kernel: int = 5,
        cameras: int = CAMERA_NUMBERS,
        frame_channels: int = 3,
        seen_channels: int = 128,
        scene_latent: bool = False,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < generation_steps <= MOST_STEPS:
            raise Error(f"{generation_steps} generation steps: it is from 1 to {MOST_STEPS} of them, 12 in the paper")
        if pixels % self.SCALE:
            raise Error(f"frames of {pixels} pixels: the generator needs a multiple of {self.SCALE}")
        grid = pixels // self.SCALE
        self.look: LookThrough | None = None
        self.painter: Painter | None = None
        self.scene: SceneLatent | None = None
        if scene_latent and not isinstance(inputs, Volume):
            raise Error("scene_latent: it lies in the cells of a volume, and there is none")
        if isinstance(inputs, Volume):
            self.look = LookThrough(inputs, pixels=pixels, out_channels=seen_channels, grid=grid, cameras=cameras)
            if scene_latent:
                self.scene = SceneLatent(inputs)
            self.painter = Painter(canvas=hidden, seen=inputs.channels, frame_channels=frame_channels)
        elif inputs.shape[1:] not in ((1, 1), (grid, grid)):
            raise Error(
                f"a representation on a grid of {inputs.height} x {inputs.width}: the generator takes 1 x 1 or "
                f"{grid} x {grid}"
            )
        representation_channels = inputs.channels if self.look is None else seen_channels
        cores = 1 if shared_cores else generation_steps
        padding = kernel // 2
        static = representation_channels + cameras
        inference_inputs = hidden + canvas + frame_channels + static + hidden
        generation_inputs = latent + static + hidden
        self.hidden, self.generation_steps, self.shared_cores = hidden, generation_steps, shared_cores
        self.activation_checkpointing = activation_checkpointing

        self.place_camera = nn.ConvTranspose2d(cameras, cameras, grid, bias=False)
        self.place_representation: nn.Module = nn.Identity()
        if isinstance(inputs, Grid) and inputs.height == 1:
            self.place_representation = nn.ConvTranspose2d(
                representation_channels, representation_channels, grid, bias=False
            )
        self.shrink_frame = nn.Conv2d(frame_channels, frame_channels, self.SCALE, stride=self.SCALE, bias=False)
        self.shrink_canvas = nn.Conv2d(canvas, canvas, self.SCALE, stride=self.SCALE, bias=False)
        self.grow_canvas = nn.ConvTranspose2d(hidden, canvas, self.SCALE, stride=self.SCALE, bias=False)

        # Gates of all cores from the inputs that do not change over the steps: 4 x hidden channels a core.
        def representation_gates(fan_in: int) -> nn.Conv2d:
            conv = nn.Conv2d(representation_channels, cores * 4 * hidden, kernel, padding=padding)
            initialise_part(conv, fan_in)
            return conv

        self.inference_representation = representation_gates(inference_inputs)
        self.generation_representation = representation_gates(generation_inputs)
        self.inference_camera = CameraConv2d(cameras, cores * 4 * hidden, kernel, inference_inputs)
        self.generation_camera = CameraConv2d(cameras, cores * 4 * hidden, kernel, generation_inputs)
        self.inference_frame = nn.Conv2d(frame_channels, cores * 4 * hidden, kernel, padding=padding, bias=False)
        initialise_part(self.inference_frame, inference_inputs)

        # The first step's own core has no weights for the states and the canvas, which are zero then.
        lone = [not shared_cores and core == 0 for core in range(cores)]
        self.inference = nn.ModuleList(
            ConvLSTMCell(0 if first else hidden + canvas, hidden, kernel, inference_inputs, first=first)
            for first in lone
        )
        self.generation = nn.ModuleList(
            ConvLSTMCell(latent, hidden, kernel, generation_inputs, first=first) for first in lone
        )
        self.prior = nn.Conv2d(hidden, 2 * latent, kernel, padding=padding)
        self.posterior = nn.Conv2d(hidden, 2 * latent, kernel, padding=padding)
        # DistributedDataParallel stops at a weight that no loss reaches.
        self.observe = nn.Conv2d(canvas, frame_channels, 1) if self.painter is None else nn.Identity()

    def forward(
        self, cameras: Tensor, r: Tensor, target: Tensor | None = None, informed: Tensor | None = None
    ) -> Prediction:
        """Return a prediction of the frames at query cameras.

        A latent of the scene counts for each of its q queries by a q-th of its KL.

        Args:
            cameras: (b, q, k).
            r: (b, c, h', w').
            target: (b, q, 3, h, w), the frames that the posteriors see; None for latents from the prior.
            informed: r of context and targets together, which a latent of the scene takes; None for r itself.
        """
        shape = cameras.shape[:2]
        r, scene = self.imagined(r, target, informed)
        divergences = [(latent.kl / shape[1])[:, None].expand(shape) for latent in scene]
        for step in self.steps(cameras, r, target):
            divergences.append(step.latent.kl.unflatten(0, shape))
        return Prediction(self.paint(step).unflatten(0, shape), torch.stack(divergences, dim=2))

    def imagined(
        self, r: Tensor, target: Tensor | None = None, informed: Tensor | None = None
    ) -> tuple[Tensor, list[Latent]]:
        """Return r as a draw of the scene's latents has it, and these; r as it is where the generator has none.

        Arguments are those of `forward`.
        """
        if self.scene is None:
            return r, []
        return self.scene(r, None if target is None else r if informed is None else informed)

    def paint(self, step: Step) -> Tensor:
        """Return the means of the frames that the canvas after a step stands for, (n, 3, h, w)."""
        if self.painter is not None:
            return promote(self.painter(step.canvas, step.seen))
        return promote(self.observe(self.grow_canvas(step.canvas)))

    def steps(self, cameras: Tensor, r: Tensor, target: Tensor | None = None) -> Iterator[Step]:
        """Yield the steps of `forward`, with the latents and the canvas of each, from r that `imagined` gives."""
        b, q = cameras.shape[:2]
        looked = (self.place_representation(r), None) if self.look is None else self.look(r, cameras)
        placed, pictures = cast(tuple[Tensor, Tensor | None], looked)
        each = b * q // len(placed)  # a volume looks different to each query
        patterns = self.place_camera.weight
        flat_cameras = cameras.flatten(0, 1)
        gates = self.generation_representation(placed).repeat_interleave(each, 0)
        generation_static = self._by_core(gates + self.generation_camera(flat_cameras, patterns))
        inference_static = None
        if target is not None:
            gates = self.inference_representation(placed).repeat_interleave(each, 0)
            gates = gates + self.inference_camera(flat_cameras, patterns)
            frame = self.shrink_frame(target.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            inference_static = self._by_core(gates + self.inference_frame(frame))

        # shrink(grow(h)) of one cell of the grid: kernels do not overlap, so it is a matrix.
        rewrite = torch.einsum("ouyx,iuyx->oi", self.shrink_canvas.weight, self.grow_canvas.weight)[:, :, None, None]
        inferred: LSTMState | None = None
        generated: LSTMState | None = None
        total: Tensor | None = None  # sum of the generation core's hidden states: the canvas before it is grown
        for number in range(self.generation_steps):
            core = 0 if self.shared_cores else number
            prior = self._prior(generated, generation_static[core])
            posterior = None
            if inference_static is not None:
                seen: list[Tensor] = []
                if generated is not None and total is not None:
                    seen = [generated.hidden, nn.functional.conv2d(total, rewrite)]
                inferred = self._advance(self.inference[core], seen, inferred, inference_static[core])
                posterior = self._gaussian(self.posterior(inferred.hidden))
            latent = Latent.drawn(prior, posterior)
            generated = self._advance(self.generation[core], [latent.value], generated, generation_static[core])
            total = generated.hidden if total is None else total + generated.hidden
            yield Step(latent, total, pictures)

    def _advance(self, core: nn.Module, inputs: list[Tensor], state: LSTMState | None, static: Tensor) -> LSTMState:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return cast(LSTMState, checkpoint(core, inputs, state, static, use_reentrant=False))
        return core(inputs, state, static)

    def _prior(self, generated: LSTMState | None, like: Tensor) -> Gaussian:
        if generated is not None:
            return self._gaussian(self.prior(generated.hidden))
        # The state starts at zero, whose convolution is the bias.
        assert self.prior.bias is not None
        return self._gaussian(self.prior.bias[None, :, None, None].expand(like.shape[0], -1, *like.shape[2:]))

    @staticmethod
    def _gaussian(parameters: Tensor) -> Gaussian:
        return Gaussian(*promote(parameters).chunk(2, dim=1))

    def _by_core(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Split (n, cores * 4 * hidden, h, w) into a tensor (n, 4 * hidden, h, w) for each core."""
        return gates.split(4 * self.hidden, dim=1)
