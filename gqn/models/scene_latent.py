"""A latent of the scene: what the context leaves open is drawn once, in space, and all queries see the same draw.

Consistent generative query networks (Kumar et al. 2018) have a vector for it. Here it is what large cells of a volume's
cube hold: mean colours, weighted by opacity, and the mean opacity. Its posterior is not learned: it is what the senses
say of these cells when the query views are among the context, and noise, which is. The prior knows the context's r
alone. It draws an eighth of the cells at a time, so that a cell knows those beside it that were drawn before (as in
Reed et al. 2017), and what a draw says of a part of the scene is of one piece.

What is drawn changes r, so that a scene which its context shows whole stays as it is.
"""

import math

import torch
from torch import Tensor, nn

from gqn.models.cube import cell_places
from gqn.models.losses import Gaussian, Latent, promote
from gqn.models.outputs import Volume, averaged_by_opacity
from gqn.models.space import BLOCK, ConvSpace, HalveSpace, as_blocks, as_cells, doubled

CELLS = 4  # of the volume, along an edge of a latent's cell
# Which of each eight cells are drawn, one after the other: first those that have no neighbours among themselves.
ORDER = ((0, 0, 0), (1, 1, 1), (1, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0))
COLOURS = 3
COLOUR_SCALE, OPACITY_SCALE = 16.0, 10.0  # of means over cells, which are small
NOISE = 0.4  # deviation of the posterior at first, of numbers so scaled
LOG_VARIANCES = (-6.0, 4.0)  # of the prior, least and most
MOST = 10.0  # change of such a number that a draw makes: the next know it, and could run away
WIDTH = 32  # channels at the size of the latent
FINE = 32  # channels of a block


class SceneLatent(nn.Module):
    """A latent of the scene in the cells of a volume.

    Maps r (b, c * s, s, s) to the same.

    Args:
        volume: what r is, with densities.
        width: channels of the convolutions at the latent's size.
        fine: channels of a block of cells.
    """

    def __init__(self, volume: Volume, *, width: int = WIDTH, fine: int = FINE) -> None:
        super().__init__()
        self.volume, self.side = volume, volume.side // CELLS
        channels = COLOURS + 1
        self.known = ConvSpace(volume.channels + 3, width, normalise=False)
        self.halve = HalveSpace(width, width, normalise=False)
        self.around = ConvSpace(width, width, normalise=False)
        self.back = nn.ConvTranspose2d(width, 2 * width, 2, stride=2)
        # Of the context, what has been drawn, where, and which cells are next.
        self.first = ConvSpace(width + channels + 2, width, normalise=False)
        self.second = ConvSpace(width, width, normalise=False)
        self.prior = nn.Conv2d(width, 2 * channels, 1)
        self.log_noise = nn.Parameter(torch.full((channels, 1, 1), 2 * math.log(NOISE)))  # of the variance
        self.take = ConvSpace(width + channels, width, normalise=False)
        self.drawn = ConvSpace(width, width, normalise=False)
        self.to_blocks = nn.ConvTranspose2d(width, 2 * fine, 2, stride=2)
        self.convs = nn.Sequential(
            ConvSpace(volume.channels + fine, fine, normalise=False), ConvSpace(fine, fine, normalise=False)
        )
        self.spread = nn.Linear(fine, BLOCK**3 * fine)
        self.read = nn.Linear(volume.channels, fine)
        self.last = nn.Linear(fine, volume.channels)
        nn.init.normal_(self.last.weight, std=0.03)  # r nearly as it is, at first
        nn.init.zeros_(self.last.bias)
        nn.init.normal_(self.prior.weight, std=0.02)
        assert self.prior.bias is not None
        nn.init.zeros_(self.prior.bias[:channels])
        nn.init.constant_(self.prior.bias[channels:], -1.0)

    def forward(self, r: Tensor, informed: Tensor | None = None) -> tuple[Tensor, list[Latent]]:
        """Return r as one draw has it, and the latent's eighths in their order.

        Args:
            r: of the context, (b, c * s, s, s).
            informed: of context and queries together, for draws from the posterior; None for the prior's.
        """
        known = self._coarse(r)
        place = cell_places(self.side, r).permute(0, 3, 1, 2).expand(len(r), -1, -1, -1, -1)
        context = self.known(torch.cat([known, place], dim=2))
        context = context + doubled(self.back, self.around(self.halve(context)))
        usual = held(known)
        told = None if informed is None else held(self._coarse(informed))
        latents: list[Latent] = []
        changed, drawn = torch.zeros_like(usual), torch.zeros_like(usual[:, :, :1])
        for x, y, z in ORDER:
            now = torch.zeros_like(drawn)
            now[:, x::2, :, y::2, z::2] = 1
            latents.append(self._drawn(self._prior(usual, context, changed, drawn, now), told, now > 0))
            changed = changed + now * (latents[-1].value - usual).clamp(-MOST, MOST)
            drawn = drawn + now
        state = self.take(torch.cat([context, changed], dim=2))
        return self._changed(r, state + self.drawn(state)), latents

    def _prior(self, usual: Tensor, context: Tensor, changed: Tensor, drawn: Tensor, now: Tensor) -> Gaussian:
        """Return the prior of each cell, whose mean is a change of what r holds there."""
        state = self.first(torch.cat([context, changed, drawn, now], dim=2))
        change, log_variance = promote(sliced(self.prior, state + self.second(state))).chunk(2, dim=2)
        return Gaussian(usual + change, log_variance.clamp(*LOG_VARIANCES))

    def _drawn(self, prior: Gaussian, told: Tensor | None, now: Tensor) -> Latent:
        """Return a draw for all cells; of those that are not drawn now the prior is the posterior, at no cost."""
        if told is None:
            return Latent.drawn(prior, None)
        mean, log_variance = (torch.where(now, *pair) for pair in zip((told, self.log_noise), prior, strict=True))
        return Latent.drawn(prior, Gaussian(mean, log_variance))

    def _coarse(self, r: Tensor) -> Tensor:
        """Return the means of r by opacity over blocks of CELLS an edge, in slices (b, x, c, y, z)."""
        return averaged_by_opacity(self.volume.cells(r), self.side).transpose(1, 2)

    def _changed(self, r: Tensor, state: Tensor) -> Tensor:
        cells = self.volume.cells(r)
        blocks = averaged_by_opacity(cells, self.volume.side // BLOCK).transpose(1, 2)
        found = self.convs(torch.cat([doubled(self.to_blocks, state), blocks], dim=2)).permute(0, 1, 3, 4, 2)
        each = self.spread(found).unflatten(-1, (BLOCK**3, -1)) + self.read(as_blocks(cells))
        return (cells + as_cells(self.last(each.relu()).to(cells.dtype))).flatten(1, 2)


def held(coarse: Tensor) -> Tensor:
    """Return what the latent says of cells of r in slices (b, x, c, y, z): mean colours, opacity, (b, x, 4, y, z)."""
    coarse = promote(coarse)
    return torch.cat([COLOUR_SCALE * coarse[:, :, :COLOURS], OPACITY_SCALE * coarse[:, :, -1:]], dim=2)


def sliced(layer: nn.Conv2d, slices: Tensor) -> Tensor:
    """Return a layer of each cell of slices (b, x, c, y, z)."""
    return layer(slices.flatten(0, 1)).unflatten(0, slices.shape[:2])
