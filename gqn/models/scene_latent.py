"""A latent of the scene: what the context leaves open is drawn once, in space, and all queries see the same draw.

Consistent generative query networks (Kumar et al. 2018) have a vector for it. Here latents lie in large cells of a
volume's cube, so that what a draw says of a part of the scene is of one piece, and the prior of each knows those drawn
before it. The posterior knows, beside the context's r, what r would be if the query views were among the context: the
same senses say it.

What it draws is a change of r, so that a scene which its context shows whole stays as it is.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gqn.models.cube import cell_places
from gqn.models.losses import Gaussian, Latent, promote
from gqn.models.outputs import Volume, averaged_by_opacity
from gqn.models.space import BLOCK, ConvSpace, HalveSpace, as_blocks, as_cells, doubled

CELLS = 4  # of the volume, along an edge of what the latents read; they lie in cells of twice the edge
DRAWS = 3  # latents, one after the other
WIDTH = 32  # channels at these two sizes
FINE = 16  # channels of a block
SCALE = 4.0  # of what the query views add to r, whose values are small


class SceneLatent(nn.Module):
    """A latent of the scene in the cells of a volume.

    Maps r (b, c * s, s, s) to the same.

    Args:
        volume: what r is, with densities.
        channels: of the latent in each of its cells.
        width: channels of the convolutions at the latents' size, and at that which they read.
        fine: channels of a block of cells.
    """

    def __init__(self, volume: Volume, *, channels: int, width: int = WIDTH, fine: int = FINE) -> None:
        super().__init__()
        self.volume, self.coarse = volume, replace(volume, side=volume.side // CELLS)
        self.known = ConvSpace(volume.channels + 3, width, normalise=False)
        self.added = ConvSpace(volume.channels + width, width, normalise=False)
        self.halve_known = HalveSpace(width, width, normalise=False)
        self.halve_added = HalveSpace(width, width, normalise=False)
        self.steps = nn.ModuleList(LatentStep(width, channels) for _ in range(DRAWS))
        self.back = nn.ConvTranspose2d(width, 2 * width, 2, stride=2)
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

    def forward(self, r: Tensor, informed: Tensor | None = None) -> tuple[Tensor, list[Latent]]:
        """Return r as one draw has it, and the latents in their order.

        Args:
            r: of the context, (b, c * s, s, s).
            informed: of context and queries together, for draws from the posterior; None for the prior's.
        """
        known = self._coarse(r)
        place = cell_places(self.coarse.side, r).permute(0, 3, 1, 2).expand(len(r), -1, -1, -1, -1)
        context = self.known(torch.cat([known, place], dim=2))
        seen = None
        if informed is not None:
            added = torch.cat([SCALE * (self._coarse(informed) - known), context], dim=2)
            seen = self.halve_added(self.added(added))
        latents: list[Latent] = []
        state = self.halve_known(context)
        for step in self.steps:
            state = step(state, seen, latents)
        state = context + doubled(self.back, state)
        return self._changed(r, state + self.drawn(state)), latents

    def _coarse(self, r: Tensor) -> Tensor:
        """Return the means of r by opacity over blocks of CELLS an edge, in slices (b, x, c, y, z)."""
        return averaged_by_opacity(self.volume.cells(r), self.coarse.side).transpose(1, 2)

    def _changed(self, r: Tensor, state: Tensor) -> Tensor:
        cells = self.volume.cells(r)
        blocks = averaged_by_opacity(cells, self.volume.side // BLOCK).transpose(1, 2)
        found = self.convs(torch.cat([doubled(self.to_blocks, state), blocks], dim=2)).permute(0, 1, 3, 4, 2)
        each = self.spread(found).unflatten(-1, (BLOCK**3, -1)) + self.read(as_blocks(cells))
        return (cells + as_cells(self.last(each.relu()).to(cells.dtype))).flatten(1, 2)


class LatentStep(nn.Module):
    """One latent: its prior from the state before it, its posterior from that and what is seen, the state after it.

    A posterior is given by how far it is from its prior, so that it is the prior where it says zero.

    Args:
        width: channels of the state.
        channels: of the latent.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.before = ConvSpace(width, width, normalise=False)
        self.prior = nn.Conv2d(width, 2 * channels, 1)
        self.compare = ConvSpace(2 * width, width, normalise=False)
        self.posterior = nn.Conv2d(width, 2 * channels, 1)
        self.take = nn.Conv2d(channels, width, 1)
        self.after = ConvSpace(width, width, normalise=False)
        # At first posteriors are narrow and say something: from noise nobody learns to listen.
        nn.init.normal_(self.prior.weight, std=0.02)
        nn.init.normal_(self.posterior.weight[:channels], std=0.3)
        nn.init.normal_(self.posterior.weight[channels:], std=0.02)
        for layer, log_variance in ((self.prior, 0.0), (self.posterior, -3.0)):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias[:channels])
            nn.init.constant_(layer.bias[channels:], log_variance)

    def forward(self, state: Tensor, seen: Tensor | None, latents: list[Latent]) -> Tensor:
        """Return the state (b, x, width, y, z) after the latent, which is added to `latents`."""
        mean, log_variance = promote(sliced(self.prior, self.before(state))).chunk(2, dim=2)
        prior, posterior = Gaussian(mean, log_variance), None
        if seen is not None:
            moved, scaled = promote(sliced(self.posterior, self.compare(torch.cat([state, seen], dim=2)))).chunk(
                2, dim=2
            )
            posterior = Gaussian(mean + moved * (0.5 * log_variance).exp(), log_variance + scaled)
        latents.append(Latent.drawn(prior, posterior))
        state = state + sliced(self.take, latents[-1].value.to(state.dtype))
        return state + self.after(state)


def sliced(layer: nn.Conv2d, slices: Tensor) -> Tensor:
    """Return a layer of each cell of slices (b, x, c, y, z)."""
    return layer(slices.flatten(0, 1)).unflatten(0, slices.shape[:2])
