"""The former volume: what a cell reads of a view, and what a camera reads of the cells, is what geometry says."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gqn.core.camera import axes, camera_axes, camera_vector, look_at
from gqn.models.nearest import (
    DEPTHS,
    FIELD_OF_VIEW,
    RADIUS,
    SIDE,
    LookNearest,
    NearestEncoder,
    cell_centres,
    take,
    with_neighbours,
)
from gqn.models.outputs import Volume
from gqn.scenes.render import render
from gqn.scenes.shepard_metzler import ShepardMetzler

CAMERAS = look_at([[3, 1, 1], [0.1, -3, 2], [-2, 2, -2.5]], [0, 0, 0])


def vectors(recorded: np.ndarray = CAMERAS) -> torch.Tensor:
    return camera_vector(torch.from_numpy(np.asarray(recorded, np.float64)))


def look(grid: int = 8) -> LookNearest:
    torch.manual_seed(0)
    return LookNearest(Volume(4, SIDE, FIELD_OF_VIEW, (0.0, 0.0, 0.0), RADIUS), out_channels=6, grid=grid).double()


def test_axes_of_the_seven_numbers_are_those_of_the_recorded_five() -> None:
    recorded = np.concatenate([CAMERAS, [[0.0, 0.0, 2.0, 0.3, -np.pi / 2]]])
    position, *directions = camera_axes(vectors(recorded))
    np.testing.assert_allclose(position, recorded[:, :3])
    np.testing.assert_allclose(torch.stack(directions), np.stack(axes(recorded)), atol=1e-12)


def test_cells_of_a_drawn_object_see_it_in_every_view_and_cells_beside_it_see_the_background() -> None:
    family = ShepardMetzler(size=128, views=6)
    setting = family.setting(np.random.default_rng(0))
    frames = render(setting.world, setting.cameras, 128)
    network = NearestEncoder(pixels=256)  # which reads the features at half of it
    pixel, seen = network.seen(vectors(setting.cameras))
    lit = torch.from_numpy(frames.max(axis=-1) > 0).flatten(1)
    shown = (torch.gather(lit, 1, pixel.long().clamp(0, 128**2 - 1)) & seen).all(dim=0)
    centres = cell_centres(network.radius, vectors()).numpy()
    distance = np.abs(centres[:, None] - np.array([o["position"] for o in setting.labels["objects"]])).max(-1).min(-1)
    assert shown[distance < 1 / 12 - 0.01].all()  # inside a cube
    assert shown[distance > 0.3].float().mean() < 0.1


def test_what_is_behind_the_camera_or_beside_its_view_is_not_seen() -> None:
    network = NearestEncoder(pixels=32, field_of_view=60.0)
    beside = network.radius / SIDE  # a row of cells lies on the camera's axis, before and behind it
    camera = look_at([[0.0, beside, beside]], [[1.0, beside, beside]])
    seen = network.seen(vectors(camera))[1][0]
    x, y, z = (cell_centres(network.radius, vectors()) - torch.tensor([0, beside, beside])).T
    assert not seen[x < 0].any()
    assert not seen[y.abs() > 0.6 * x.abs()].any()
    assert seen[(x > 0.1) & (y.abs() < 0.5 * x) & (z.abs() < 0.5 * x)].all()


def test_r_holds_what_a_cell_saw_where_the_looker_seeks_it() -> None:
    network = NearestEncoder(pixels=32, channels=3).double()

    class OnePixel(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            features = torch.zeros(len(frames), 3, 16, 16, dtype=frames.dtype)
            features[:, 1, 9, 6] = 1
            return features

    network.see = OnePixel()
    torch.nn.init.eye_(network.mix.weight)
    torch.nn.init.zeros_(network.mix.bias)
    r = network(torch.rand(3, 3, 32, 32, dtype=torch.float64), vectors())
    pixel, seen = network.seen(vectors())
    lit = ((pixel == 9 * 16 + 6) & seen).view(3, SIDE, SIDE, SIDE)
    assert lit.flatten(1).any(dim=1).all()
    cells = r.unflatten(1, (SIDE, 3))  # (n, x, c, y, z)
    assert torch.equal(cells[:, :, 1] == 1, lit)
    assert not cells[:, :, [0, 2]].any()


@pytest.mark.parametrize("grid", [8, 16])
def test_rays_pass_the_cells_that_lie_on_them(grid: int) -> None:
    network = look(grid)
    number, inside = network.passed(vectors()[None])
    rays = network.rays
    shape = (3, rays, rays, DEPTHS)
    number, inside = number.view(shape).long(), inside.view(shape)
    centres = cell_centres(network.radius, vectors()).numpy()
    half = np.tan(np.deg2rad(FIELD_OF_VIEW / 2))
    for camera, (forward, right, up) in enumerate(zip(*axes(CAMERAS), strict=True)):
        for row, column in ((0, 0), (rays // 2, rays // 3), (rays - 1, 1)):
            x, y = 2 * (column + 0.5) / rays - 1, 1 - 2 * (row + 0.5) / rays
            ray = forward + half * (x * right + y * up)
            for cell in number[camera, row, column][inside[camera, row, column]]:
                away = centres[cell] - CAMERAS[camera, :3]
                beside = away - ray * (away @ ray) / (ray @ ray)
                assert np.linalg.norm(beside) < 0.87 * 2 * network.radius / SIDE  # half a cell's diagonal
    assert inside.flatten(1).float().mean(1).min() > 0.4


def test_a_view_and_a_query_from_the_same_camera_meet_at_the_same_pixels() -> None:
    network, through = NearestEncoder(pixels=2 * SIDE), look()
    pixel, seen = network.seen(vectors())
    number, inside = through.passed(vectors()[None])
    number, inside = (t.view(3, SIDE * SIDE, DEPTHS) for t in (number.long(), inside))
    ray = torch.arange(SIDE * SIDE)[:, None].expand(-1, DEPTHS)
    for camera in range(3):
        cells, rays = number[camera][inside[camera]], ray[inside[camera]]
        back = pixel[camera][cells][seen[camera][cells]].long()
        rays = rays[seen[camera][cells]]
        apart = torch.maximum((back // SIDE - rays // SIDE).abs(), (back % SIDE - rays % SIDE).abs())
        assert apart.max() <= 1


def test_rows_are_taken_from_their_own_scene_and_are_zero_outside() -> None:
    table = torch.arange(12.0).view(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 7]])
    inside = torch.tensor([[True, True], [True, False]])
    assert take(table, index, inside).tolist() == [[[4, 5], [0, 1]], [[8, 9], [0, 0]]]


def test_slices_beside_their_neighbours_make_a_convolution_in_space() -> None:
    r = torch.randn(2, SIDE, 4, SIDE, SIDE, dtype=torch.float64)
    weight = torch.randn(5, 4, 3, 3, 3, dtype=torch.float64)
    expected = F.conv3d(r.transpose(1, 2), weight, padding=1).transpose(1, 2).flatten(0, 1)
    flat = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
    torch.testing.assert_close(F.conv2d(with_neighbours(r), flat, padding=1), expected)


def test_each_query_sees_the_volume_of_its_own_scene_from_its_own_camera() -> None:
    network = look()
    r, cameras = torch.randn(2, SIDE * 4, SIDE, SIDE, dtype=torch.float64), vectors().expand(2, -1, -1)
    together = network(r, cameras)[0]
    for scene in range(2):
        for query in range(3):
            alone = network(r[[scene]], cameras[[scene], query][:, None])[0]
            torch.testing.assert_close(together[3 * scene + query], alone[0])


def test_cameras_of_other_numbers_and_impossible_views_are_refused() -> None:
    with pytest.raises(ValueError, match="takes the 7 numbers of a camera, not 3"):
        NearestEncoder(pixels=32, cameras=3)
    with pytest.raises(ValueError, match="field of view of 180 degrees"):
        NearestEncoder(pixels=32, field_of_view=180.0)


def test_a_lit_cell_is_seen_by_the_rays_that_pass_it_at_its_depth() -> None:
    network = look()
    for convolution in (network.first, network.second):
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    found = []
    network.fold.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    r = torch.zeros(1, SIDE, 4, SIDE, SIDE, dtype=torch.float64)
    r[0, 6, 2, 8, 10] = 1
    network(r.flatten(1, 2), vectors()[None])
    number, inside = network.passed(vectors()[None])
    expected = ((number == (6 * SIDE + 8) * SIDE + 10) & inside).view(3, network.rays, network.rays, DEPTHS)
    assert expected.flatten(1).any(dim=1).all()
    seen = found[0].unflatten(1, (DEPTHS, 4))  # (queries, depths, c, rays, rays)
    assert torch.equal((seen[:, :, 2] > 0).permute(0, 2, 3, 1), expected)
    assert not (seen[:, :, [0, 1, 3]] > 0).any()
