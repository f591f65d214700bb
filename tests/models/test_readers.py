from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gqn.models.outputs import FINEST, Grid, Volume
from gqn.models.readers import reader

VOLUME = Volume(5, 16, 20.0, (0.5, 0.0, -0.5), 1.0)


def test_a_grid_is_read_by_one_layer() -> None:
    network, r = reader(Grid(3, 2, 4), 6), torch.randn(5, 3, 2, 4)
    weight = network.weight.view(6, 3, 2, 4)
    torch.testing.assert_close(network(r), torch.einsum("bchw,ochw->bo", r, weight) + network.bias)


def test_a_volume_is_read_by_convolutions_in_space() -> None:
    """The same numbers as by plain convolutions over three axes."""
    network = reader(VOLUME, 6).double()
    r = torch.randn(2, *VOLUME.shape, dtype=torch.float64)
    cells = VOLUME.coarse(r)
    middle, deviation = cells.mean(dim=(2, 3, 4), keepdim=True), cells.std(dim=(2, 3, 4), keepdim=True, correction=0)
    along = (torch.arange(16) + 0.5) / 8 - 1
    place = torch.stack([along.view(shape).expand(16, 16, 16) for shape in ((16, 1, 1), (1, 16, 1), (1, 1, 16))])
    cells = torch.cat([(cells - middle) / (deviation.square() + 1e-5).sqrt(), place.expand(2, -1, -1, -1, -1)], dim=1)

    def plain(layer: torch.nn.Module, x: torch.Tensor, edge: int, **options: int) -> torch.Tensor:
        # Three slices side by side, or two, are the channels of a convolution over two axes.
        kernel = layer.weight.unflatten(1, (edge, -1)).transpose(1, 2)
        return F.conv3d(x, kernel, layer.bias, **options).relu()

    found = plain(network.first.conv, cells, 3, padding=1)
    for halve, conv in zip(network.halve, network.convs, strict=True):
        found = plain(halve, found, 2, stride=2)
        found = found + plain(conv.conv, found, 3, padding=1)
    assert found.shape[2:] == (4, 4, 4)
    torch.testing.assert_close(network(r), network.last(found.transpose(1, 2).flatten(1)))


@pytest.mark.parametrize("side", [2, 3, 4, 6, 8, 12, 2 * FINEST, 40])
def test_a_volume_of_any_size_is_read(side: int) -> None:
    volume = replace(VOLUME, side=side)
    network = reader(volume, 6)
    r = torch.randn(2, *volume.shape)
    assert network(r).shape == (2, 6)
    assert not torch.equal(network(r)[0], network(r)[1])


def test_what_an_empty_cell_says_is_not_read() -> None:
    network, r = reader(VOLUME, 6), torch.randn(1, *VOLUME.shape)
    cells = VOLUME.cells(r).clone()
    cells[:, -1, ::2] = -30
    other = cells.clone()
    other[:, :-1, ::2] += 10
    torch.testing.assert_close(*(network(given.flatten(1, 2)) for given in (cells, other)), rtol=1e-4, atol=1e-4)
