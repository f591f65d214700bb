"""A stand-in for the network whose likelihood is known: linear in two latent steps, Gaussian in the pixels."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from gqn.core.views import Batch, Views
from gqn.models.generator import Generator, Prediction, Step
from gqn.models.losses import Gaussian, Latent


class LinearGenerator(Generator):
    """x = r + W z + sigma e with orthogonal columns of W, of norm `scale`, so that the true posterior is diagonal.

    Its own posterior is the true one moved by `shift` and with `widen` times its variance. With `scene` the first
    step's latents are the scene's.
    """

    def __init__(
        self, *, pixels: int, latents: int, scale: float, sigma: float, shift: float, widen: float, scene: bool
    ) -> None:
        nn.Module.__init__(self)
        self.scene = nn.Identity() if scene else None  # type: ignore[assignment]
        self.pixels, self.scale, self.sigma, self.shift, self.widen = pixels, scale, sigma, shift, widen
        values = 3 * pixels**2
        basis = torch.linalg.qr(torch.randn(values, latents, generator=torch.Generator().manual_seed(0)).double())[0]
        self.weight = scale * basis  # (values, latents)

    def imagined(
        self, r: Tensor, target: Tensor | None = None, informed: Tensor | None = None
    ) -> tuple[Tensor, list[Latent]]:
        if self.scene is None:
            return r, []
        latent, change = self.drawn(r, target, self.weight.chunk(2, dim=1)[0])
        return r + change, [latent]

    def steps(self, cameras: Tensor, r: Tensor, target: Tensor | None = None) -> Iterator[Step]:
        # Columns are orthogonal, so what a scene's latents have added does not matter to the others.
        offset = r.double().repeat_interleave(cameras.shape[1], 0)
        canvas = offset.expand(-1, 3, self.pixels, self.pixels)
        for weight in self.weight.chunk(2, dim=1)[self.scene is not None :]:
            latent, change = self.drawn(offset, target, weight)
            canvas = canvas + change
            yield Step(latent, canvas, None)

    def drawn(self, offset: Tensor, target: Tensor | None, weight: Tensor) -> tuple[Latent, Tensor]:
        """Return a draw for each of the offsets (n, ...) and what it adds to the frame, (n, 3, h, w)."""
        prior = Gaussian(*[offset.new_zeros(len(offset), weight.shape[1], 1, 1).double()] * 2)
        posterior = None
        if target is not None:
            true = self.true_posterior(target.flatten(0, 1).double() - offset, weight)
            posterior = Gaussian(true.mean + self.shift, true.log_variance + torch.tensor(self.widen).log())
        latent = Latent.drawn(prior, posterior)
        change = (latent.value.flatten(1) @ weight.T).unflatten(1, (3, self.pixels, self.pixels))
        return latent, change

    def paint(self, step: Step) -> Tensor:
        return step.canvas

    def true_posterior(self, x: Tensor, weight: Tensor) -> Gaussian:
        variance = self.sigma**2 / (self.scale**2 + self.sigma**2)
        mean = (x.flatten(1) @ weight / (self.scale**2 + self.sigma**2))[:, :, None, None]
        return Gaussian(mean, torch.full_like(mean, variance).log())


class LinearGaussian(nn.Module):
    """A network of that generator, whose representation is the mean brightness of the context."""

    def __init__(
        self,
        *,
        pixels: int = 4,
        latents: int = 6,
        scale: float = 1.0,
        sigma: float = 0.3,
        shift: float = 0.0,
        widen: float = 1.0,
        scene: bool = False,
    ) -> None:
        super().__init__()
        self.generator = LinearGenerator(
            pixels=pixels, latents=latents, scale=scale, sigma=sigma, shift=shift, widen=widen, scene=scene
        )

    def encode(self, context: Views) -> Tensor:
        return context.frames.double().mean(dim=(1, 2, 3, 4), keepdim=True)[:, 0]

    def forward(self, batch: Batch) -> dict[str, Prediction]:
        r = self.encode(batch.context)
        return {"render": self.generator(batch.query.cameras, r, batch.query.frames)}

    def sample(self, senses: Views | Mapping[str, Views], cameras: Tensor, samples: int, task: str = "") -> Tensor:
        r = self.encode(senses if isinstance(senses, Views) else senses["vision"])
        return torch.stack([self.generator(cameras, r).mean for _ in range(samples)])

    def frames(self, count: int, brightness: float) -> Tensor:
        """Frames (count, 3, h, w) drawn from the model."""
        g = self.generator
        z = torch.randn(count, g.weight.shape[1], dtype=torch.float64)
        x = brightness + z @ g.weight.T + g.sigma * torch.randn(count, len(g.weight), dtype=torch.float64)
        return x.unflatten(1, (3, g.pixels, g.pixels))

    def log_evidence(self, frames: Tensor, brightness: float) -> Tensor:
        """log p(x) of frames (n, 3, h, w), in nats, (n,)."""
        g = self.generator
        mean = torch.full((len(g.weight),), brightness, dtype=torch.float64)
        covariance = g.weight @ g.weight.T + g.sigma**2 * torch.eye(len(g.weight), dtype=torch.float64)
        return MultivariateNormal(mean, covariance).log_prob(frames.flatten(1))


def posing(context: Tensor, query: Tensor) -> Batch:
    """A batch of context (b, m, 3, h, w) and query (b, 3, h, w) frames, with cameras of no meaning."""
    cameras = torch.zeros(len(query), context.shape[1] + 1, 7)
    return Batch.of(Views(context, cameras[:, 1:]), Views(query[:, None], cameras[:, :1]))
