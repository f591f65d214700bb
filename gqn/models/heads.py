"""Heads: the networks by which tasks decode a representation. All learn by one objective, `negative_elbo`.

A head answers queries (b, q, k) on representations (b, c, h, w) with distributions over targets (b, q, ...). One of
your own subclasses `Head`, takes the keywords inputs, query and target beside its options, and goes into `HEADS`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from gqn.core.errors import Error
from gqn.core.views import Views
from gqn.models.cube import cell_places, in_world
from gqn.models.generator import Generator, Prediction
from gqn.models.losses import likelihood_floor, log_likelihood, promote
from gqn.models.outputs import Output, Shape, Volume
from gqn.models.readers import reader
from gqn.models.space import ConvSpace


@dataclass(frozen=True)
class Answer(Prediction):
    """A prediction of any task: its mean, the KL of its latents and the distribution of the answer.

    Args:
        mean: (b, q, ...).
        kl: (b, q, L), in nats; L is 0 for a head without latents, see `no_latents`.
        distribution: batch shape (b, q), event shape the target's.
    """

    distribution: Distribution  # batch shape (b, q), event shape the target's


def centre(answer: Answer) -> Tensor:
    """Return the mean, (b, q, ...); of a mixture that of its likeliest component, since the whole's may lie between."""
    mixture = answer.distribution
    if not isinstance(mixture, MixtureSameFamily):
        return answer.mean
    likeliest = cast(Categorical, mixture.mixture_distribution).logits.argmax(dim=-1)[..., None, None]
    means = mixture.component_distribution.mean
    return means.gather(-2, likeliest.expand(*likeliest.shape[:-1], means.shape[-1])).squeeze(-2)


def negative_elbo(answer: Answer, target: Tensor) -> Tensor:
    """Return KL - log p(target), in nats, (b, q); without latents it is the negative log-likelihood."""
    return answer.kl.sum(dim=-1) - answer.distribution.log_prob(target)


def mean_loss(answer: Answer, asked: Views) -> Tensor:
    """Return the mean of `negative_elbo` over the queries whose answers are known; zero where there is none."""
    return mean_known(negative_elbo(answer, asked.known()), asked.present)


def mean_known(values: Tensor, present: Tensor | None) -> Tensor:
    """Return the mean of values (b, q) where present, of all where it is None; zero where none is."""
    return values.mean() if present is None else torch.where(present, values, 0).sum() / present.sum().clamp(min=1)


class Head(nn.Module):
    """Base of all heads; `forward` is the one method to write.

    A class attribute `measure` names the error that `error` gives beside the nats. Where `informed` is true, `forward`
    takes one more argument, `informed`: r as it would be with the answers among the observations, for a posterior.

    Args:
        inputs: the kind of representation that it reads (`gqn.models.outputs`).
        query: numbers of a query, 0 for none.
        target: shape of an answer.
        options: the head's own.
    """

    measure = "squared_error"
    informed = False

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        """Return answers to queries.

        Args:
            query: (b, q, k).
            r: (b, c, h, w).
            target: (b, q, ...), where a posterior may see it.

        Returns:
            An `Answer`: mean (b, q, ...), KL (b, q, L) in nats, and distribution.
        """
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, query: Tensor, r: Tensor) -> Tensor:
        """Return one answer to each query, (b, q, ...), drawn from its distribution."""
        return self(query, r).distribution.sample()

    def floor(self) -> float:
        """Return the nats below which no loss can go, where a standard deviation is fixed."""
        return 0.0

    def error(self, answer: Answer, target: Tensor) -> Tensor:
        """Return the error (b, q) of answers by the measure that `measure` names."""
        return (answer.mean - target).square().reshape(*target.shape[:2], -1).mean(dim=-1)


class PixelNormal(Distribution):
    """Frames whose pixels are normal around their mean, all with one standard deviation: N(mean, sigma^2).

    Args:
        mean: (..., c, h, w). sigma: a tensor of no axes.
    """

    def __init__(self, mean: Tensor, sigma: Tensor) -> None:
        super().__init__(mean.shape[:-3], mean.shape[-3:], validate_args=False)
        self._mean, self.sigma = mean, sigma

    @property
    def mean(self) -> Tensor:
        return self._mean

    def log_prob(self, value: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the log-likelihood of frames; weights: of each pixel's squared error, (..., 1, h, w)."""
        return log_likelihood(value, self._mean, self.sigma, weights)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = torch.randn(*sample_shape, *self._mean.shape, device=self._mean.device, dtype=self._mean.dtype)
        return self._mean + self.sigma * noise


class Render(Head):
    """Frames by the ConvDRAW generator, of which the other arguments are.

    sigma: standard deviation of the pixels, for values of 0 to 1; training sets it by its schedule.
    """

    sigma: Tensor

    def __init__(self, *, inputs: Output, query: int, target: Shape, sigma: float = 0.7, **options: Any) -> None:
        super().__init__()
        if len(target) != 3 or target[1] != target[2]:
            raise Error(f"a target of shape {tuple(target)}: a frame is (channels, pixels, pixels)")
        self.pixels = math.prod(target)
        self.register_buffer("sigma", torch.tensor(float(sigma), dtype=torch.float64))
        self.generator = Generator(
            pixels=target[1],
            inputs=inputs,
            cameras=query,
            frame_channels=target[0],
            **options,
        )

        self.informed = self.generator.scene is not None

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None, informed: Tensor | None = None) -> Answer:
        prediction = self.generator(query, r, target, informed)
        return Answer(prediction.mean, prediction.kl, PixelNormal(prediction.mean, self.sigma))

    @torch.no_grad()
    def sample(self, query: Tensor, r: Tensor) -> Tensor:
        """Return the mean frame under one draw of the latents, without the pixels' noise, as the paper shows it."""
        return self.generator(query, r).mean

    def floor(self) -> float:
        return likelihood_floor(self.sigma.item(), self.pixels)


class Picture(Head):
    """Frames without latents and without a query, from a grid of a quarter of their size: what an autoencoder needs.

    sigma: standard deviation of the pixels, for values of 0 to 1.
    """

    def __init__(self, *, inputs: Output, query: int, target: Shape, hidden: int = 64, sigma: float = 0.2) -> None:
        super().__init__()
        if query or target[1:] != tuple(4 * side for side in inputs.shape[1:]):
            raise Error(f"a picture takes no query and is four times its grid, not {tuple(target)} of {inputs.shape}")
        self.pixels, self.sigma = math.prod(target), sigma
        self.grow = nn.Sequential(
            nn.ConvTranspose2d(inputs.shape[0], hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, target[0], 4, stride=2, padding=1),
        )

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        frames = promote(self.grow(r))[:, None].expand(-1, query.shape[1], -1, -1, -1)
        return Answer(frames, no_latents(query), PixelNormal(frames, frames.new_full((), self.sigma)))

    def floor(self) -> float:
        return likelihood_floor(self.sigma, self.pixels)


class QueryMLP(nn.Module):
    """Three layers of a representation and a query together; the first is computed once a scene, for all queries."""

    def __init__(self, *, inputs: Output, query: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.read = reader(inputs, hidden)
        self.ask = nn.Linear(query, hidden, bias=False) if query else None
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, query: Tensor, r: Tensor) -> Tensor:
        """Return (b, q, outputs), in float32 or better, for query (b, q, k) and r (b, c, h, w)."""
        read = self.read(r)[:, None]
        asked = read.expand(-1, query.shape[1], -1) if self.ask is None else read + self.ask(query)
        return promote(self.rest(asked))


class Vector(Head):
    """Numbers with a Gaussian each.

    sigma: its standard deviation, fixed; None to learn it as a function of query and representation.
    """

    def __init__(
        self, *, inputs: Output, query: int, target: Shape, hidden: int = 256, sigma: float | None = None
    ) -> None:
        super().__init__()
        self.target, self.sigma = target, sigma
        outputs = math.prod(target) * (2 if sigma is None else 1)
        self.network = QueryMLP(inputs=inputs, query=query, outputs=outputs, hidden=hidden)

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        outputs = self.network(query, r)
        if self.sigma is None:
            mean, spread = (x.reshape(*query.shape[:2], *self.target) for x in outputs.chunk(2, dim=-1))
            sigma = deviation(spread)
        else:
            mean = outputs.reshape(*query.shape[:2], *self.target)
            sigma = torch.full_like(mean, self.sigma)
        return Answer(mean, no_latents(outputs), _over(Normal(mean, sigma, validate_args=False), len(self.target)))

    def floor(self) -> float:
        return likelihood_floor(self.sigma, math.prod(self.target)) if self.sigma else 0.0


class Classify(Head):
    """One of so many classes; targets are their numbers, of shape () or several to a query.

    The answer's mean is the classes' probabilities, (b, q, ..., classes).
    """

    measure = "share_wrong"

    def __init__(self, *, inputs: Output, query: int, target: Shape, classes: int, hidden: int = 256) -> None:
        super().__init__()
        self.target, self.classes = target, classes
        self.network = QueryMLP(inputs=inputs, query=query, outputs=math.prod(target) * classes, hidden=hidden)

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        outputs = self.network(query, r)
        # On a CPU alone: a GPU would have to be waited for, and the meta device has no values.
        if target is not None and target.device.type == "cpu" and not torch.compiler.is_compiling():
            wrong = target[(target < 0) | (target >= self.classes) | (target != target.floor())]
            if len(wrong):
                raise Error(f"class {wrong[0].item():g}: {self.classes} classes are numbered from 0 by whole numbers")
        classes = Categorical(logits=outputs.unflatten(-1, (*self.target, self.classes)), validate_args=False)
        return Answer(classes.probs, no_latents(outputs), _over(classes, len(self.target)))

    def error(self, answer: Answer, target: Tensor) -> Tensor:
        """Return the share of classes that are not the likeliest one."""
        wrong = answer.mean.argmax(dim=-1) != target
        return wrong.float().reshape(*target.shape[:2], -1).mean(dim=-1)


class Density(Head):
    """Several possible answers: a mixture of Gaussians (Bishop 1994), for targets of one axis.

    components: Gaussians of the mixture, each with its own mean and standard deviations.
    """

    def __init__(self, *, inputs: Output, query: int, target: Shape, components: int = 8, hidden: int = 256) -> None:
        super().__init__()
        if len(target) != 1:
            raise Error(f"a target of shape {tuple(target)}: a density is over a vector")
        self.numbers, self.components = target[0], components
        outputs = components * (1 + 2 * self.numbers)
        self.network = QueryMLP(inputs=inputs, query=query, outputs=outputs, hidden=hidden)

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        outputs = self.network(query, r).unflatten(-1, (self.components, 1 + 2 * self.numbers))
        logits, mean, spread = outputs.split([1, self.numbers, self.numbers], dim=-1)
        mixture = MixtureSameFamily(
            Categorical(logits=logits.squeeze(-1), validate_args=False),
            _over(Normal(mean, deviation(spread), validate_args=False), 1),
            validate_args=False,
        )
        return Answer(mixture.mean, no_latents(outputs[..., 0]), mixture)

    def error(self, answer: Answer, target: Tensor) -> Tensor:
        """Return the squared error of the likeliest component's mean; the mixture's may lie between two answers."""
        return (centre(answer) - target).square().mean(dim=-1)


class Place(Head):
    """The place of a thing in space, read from a volume: a mixture of Gaussians (Bishop 1994), one for each cell.

    A cell and its neighbours say how likely the thing is there, and how far from the cell's middle. So each scene
    teaches at thousands of places what the thing looks like, where a head that reads all cells at once must learn it
    anew for each of them. There is no query. The answer's mean is the likeliest Gaussian's, as that of all may lie
    between two.

    origin, unit: of targets, (place - origin) / unit for a place in world units. hidden: channels.
    """

    origin: Tensor
    unit: Tensor

    def __init__(
        self,
        *,
        inputs: Output,
        query: int,
        target: Shape,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        unit: tuple[float, float, float] = (1.0, 1.0, 1.0),
        hidden: int = 32,
    ) -> None:
        super().__init__()
        if not isinstance(inputs, Volume) or query or tuple(target) != (3,):
            given = f"not {tuple(target)} of {inputs} by {query} numbers"
            raise Error(f"a place is three numbers, read from a volume without a query: {given}")
        self.inputs, self.volume = inputs, inputs.read
        self.register_buffer("origin", torch.tensor(origin), persistent=False)
        self.register_buffer("unit", torch.tensor(unit), persistent=False)
        self.near = ConvSpace(inputs.channels, hidden)
        self.cell = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 4)  # a score, and the way from the cell's middle, in edges of a cell
        self.log_sigma = nn.Parameter(torch.tensor(math.log(inputs.radius / 6)))

    def forward(self, query: Tensor, r: Tensor, target: Tensor | None = None) -> Answer:
        # Each channel standardised over a scene's cells: most are empty, where all are near zero.
        cells = nn.functional.instance_norm(self.inputs.coarse(r))
        found = self.near(cells.transpose(1, 2)).permute(0, 1, 3, 4, 2)
        found = found + self.cell(found).relu()
        score, way = promote(self.last(found)).flatten(1, 3).split([1, 3], dim=2)  # (b, s^3, 1 or 3)
        # In the cube's coordinates, by which all cells are alike: those beyond the world are larger.
        places = cell_places(self.volume.side, way).flatten(0, 2) + way * (2 / self.volume.side)
        places = (in_world(self.volume, places) - self.origin) / self.unit
        likeliest = places[torch.arange(len(places), device=places.device), score[..., 0].argmax(dim=1)]
        asked = query.shape[1]
        sigma = (self.log_sigma.exp() / self.unit).expand(len(r), asked, places.shape[1], 3)
        mixture = MixtureSameFamily(
            Categorical(logits=score.transpose(1, 2).expand(-1, asked, -1), validate_args=False),
            _over(Normal(places[:, None].expand_as(sigma), sigma, validate_args=False), 1),
            validate_args=False,
        )
        return Answer(likeliest[:, None].expand(-1, asked, -1), no_latents(query), mixture)


#: Heads by name, and the place to register one's own.
HEADS: dict[str, Callable[..., Head]] = {
    "render": Render,
    "vector": Vector,
    "classify": Classify,
    "density": Density,
    "picture": Picture,
    "place": Place,
}


def no_latents(like: Tensor) -> Tensor:
    """Return the KL of a head without latents, (b, q, 0), for outputs (b, q, ...)."""
    return like.new_zeros((*like.shape[:2], 0))


def deviation(spread: Tensor) -> Tensor:
    """Return a learned standard deviation: positive, about 1 at the start, never so small that a density explodes."""
    return nn.functional.softplus(spread + 0.54) + 1e-3


def _over(distribution: Distribution, axes: int) -> Distribution:
    """Return one distribution over the last axes together."""
    return Independent(distribution, axes, validate_args=False) if axes else distribution
