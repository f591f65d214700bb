"""The volume: what a cell reads of a view, and what a camera reads of the cells, is what geometry says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gqn.core.camera import axes, camera_axes, camera_vector, look_at
from gqn.core.errors import Error
from gqn.core.views import Views
from gqn.models.cube import (
    FARTHEST,
    NEAR,
    cell_axis,
    cell_coordinates,
    cells_along,
    contract,
    crossed,
    expand,
    in_world,
)
from gqn.models.outputs import FINEST, Volume, optical_depth
from gqn.models.rays import OUTER, LookThrough, WeightedSum, transmittance
from gqn.models.senses import Sense, encode_views
from gqn.models.space import BLOCK, SpaceLevels, with_neighbours
from gqn.models.volume import FIELD_OF_VIEW, HIDDEN, Surfaces, VolumeEncoder, WeightedViews, statistics
from gqn.scenes.render import render
from gqn.scenes.shepard_metzler import ShepardMetzler

CAMERAS = look_at([[3, 1, 1], [0.1, -3, 2], [-2, 2, -2.5]], [0, 0, 0])
SIDE, PIXELS = 16, 16
VOLUME = Volume(7, SIDE, FIELD_OF_VIEW, (0.1, -0.05, 0.2), 0.6)
FLAT = replace(VOLUME, height=0.3)
CLOSED = replace(VOLUME, beyond=0.05)  # nothing lies beyond it


def vectors(recorded: np.ndarray = CAMERAS) -> torch.Tensor:
    return camera_vector(torch.from_numpy(np.asarray(recorded, np.float64)))


def look(volume: Volume = VOLUME) -> LookThrough:
    torch.manual_seed(0)
    return LookThrough(volume, pixels=PIXELS, out_channels=6, grid=4).double().eval()


def surfaces(channels_read: int = 7) -> Surfaces:
    torch.manual_seed(0)
    return Surfaces(channels_read, replace(VOLUME, channels=12)).double()


def read_by_views(network: VolumeEncoder, views: Views) -> torch.Tensor:
    """Return what each view says of each cell, (b, m, c, x, y, z)."""
    return encode_views(network, views).unflatten(2, (-1, network.volume.side))


def encoder(**options: object) -> VolumeEncoder:
    torch.manual_seed(0)
    return VolumeEncoder(pixels=PIXELS, channels=5, side=SIDE, **options).double()  # type: ignore[arg-type]


def cell_centres(volume: Volume) -> np.ndarray:
    """Return the world coordinates of the cells' centres, (s^3, 3), z fastest."""
    return torch.cartesian_prod(*cell_coordinates(volume, vectors())).numpy()


def read(network: VolumeEncoder, cameras: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each cell's place in the frames of cameras (n, 5) and whether it is in them, (n, s^3, 2) and (n, s^3)."""
    places = network.places(vectors(cameras)).flatten(1, 3)
    return places, (places.abs() < 1).all(dim=-1)


def random_views(count: int) -> Views:
    cameras = look_at(3 * np.random.default_rng(0).normal(size=(2, count, 3)), [0, 0, 0])
    return Views(torch.rand(2, count, 3, PIXELS, PIXELS, dtype=torch.float64), vectors(cameras))


def test_axes_of_the_seven_numbers_are_those_of_the_recorded_five() -> None:
    recorded = np.concatenate([CAMERAS, [[0.0, 0.0, 2.0, 0.3, -np.pi / 2]]])
    position, *directions = camera_axes(vectors(recorded))
    np.testing.assert_allclose(position, recorded[:, :3])
    np.testing.assert_allclose(torch.stack(directions), np.stack(axes(recorded)), atol=1e-12)


@pytest.mark.parametrize("beyond", [0.2, 0.05])
def test_the_world_is_even_in_the_cube_and_all_space_beyond_it_is_contracted_into_the_rest(beyond: float) -> None:
    volume = replace(VOLUME, beyond=beyond)
    place = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    inside = contract(volume, place)
    assert (inside.diff() > 0).all()
    assert inside.abs().max() < 1
    torch.testing.assert_close(inside[place.abs() <= 1], (1 - beyond) * place[place.abs() <= 1])
    torch.testing.assert_close(expand(volume, inside), place)


@pytest.mark.parametrize("beyond", [0.2, 0.05])
def test_cells_along_a_way_through_the_world_are_those_of_its_contracted_places(beyond: float) -> None:
    volume, side = replace(VOLUME, beyond=beyond), 12
    random = np.random.default_rng(0)
    start, end = torch.from_numpy(random.uniform(-1, 1, (2, 3, 50)))
    along = torch.from_numpy(random.uniform(0, 1, (50, 7)))
    places = start[..., None] + along * (end - start)[..., None]
    x, y, z = ((contract(volume, places) + 1) * (side / 2)).floor().int()
    assert torch.equal(cells_along(volume, start, end - start, along, side), (x * side + y) * side + z)


def test_cells_of_a_drawn_object_see_it_in_every_view_and_cells_beside_it_see_the_background() -> None:
    family = ShepardMetzler(size=128, views=6)
    setting = family.setting(np.random.default_rng(0))
    frames = render(setting.world, setting.cameras, 128)
    network = VolumeEncoder(pixels=128)
    place, seen = read(network, setting.cameras)
    lit = torch.from_numpy(frames.max(axis=-1) > 0).double()[:, None]
    shown = (F.grid_sample(lit, place[:, :, None], align_corners=False)[:, 0, :, 0] > 0.5) & seen
    centres = cell_centres(network.output)
    distance = np.abs(centres[:, None] - np.array([o["position"] for o in setting.labels["objects"]])).max(-1).min(-1)
    assert (distance < 1 / 12 - 0.015).sum() > 20
    assert shown.all(dim=0)[distance < 1 / 12 - 0.015].all()  # inside a cube
    assert shown.all(dim=0)[distance > 0.3].double().mean() < 0.1


@pytest.mark.parametrize("height", [1.0, 0.2])
def test_what_is_behind_the_camera_or_beside_its_view_is_not_seen(height: float) -> None:
    network = VolumeEncoder(pixels=32, field_of_view=60.0, height=height)
    x, y, z = torch.from_numpy(cell_centres(network.output)).T
    seen = read(network, look_at([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]))[1][0]
    assert not seen[x < 0].any()
    assert not seen[y.abs() > 0.6 * x.abs()].any()
    assert seen[(x > 0.05) & (y.abs() < 0.57 * x) & (z.abs() < 0.57 * x)].all()


def test_the_aggregate_holds_mean_and_deviation_of_what_the_views_that_show_a_cell_say() -> None:
    views, network = random_views(4), encoder(field_of_view=14.0)
    views = Views(views.frames.mean(dim=(-2, -1), keepdim=True).expand_as(views.frames), views.cameras)  # no borders
    mean, deviation, share = statistics(read_by_views(network, views).mean(dim=1))
    places = network.places(views.cameras.flatten(0, 1)).view(2, 4, SIDE, SIDE, SIDE, 2).abs().amax(dim=-1)
    inside, outside = places < 1 - 1 / PIXELS, places > 1 + 1 / PIXELS  # by more than half a pixel
    colours = views.frames[..., 0, 0] - 0.5
    assert 0.1 < inside.double().mean() < 0.9
    known = 0
    for scene, *cell in [(0, 5, 6, 4), (1, 6, 3, 7), (1, 8, 8, 8), (0, 8, 9, 7), (1, 0, 0, 0)]:
        at = (scene, slice(None), *cell)
        if not (inside[at] | outside[at]).all():
            continue
        shown = colours[scene, inside[at]]
        known += len(shown)
        assert share[(scene, 0, *cell)].item() == pytest.approx(len(shown) / 4)
        if len(shown):
            torch.testing.assert_close(mean[(scene, slice(0, 3), *cell)], shown.mean(dim=0))
            expected = (shown.var(dim=0, unbiased=False).sum() + 1e-4).sqrt()
            torch.testing.assert_close(deviation[(scene, 0, *cell)], expected)
    assert known > 4
    unseen = outside.all(dim=1)[:, None]
    assert unseen.any()
    assert not mean.masked_select(unseen).any()


@pytest.mark.parametrize("passes", [1, 2])
def test_the_views_order_does_not_matter(passes: int) -> None:
    views, sense = random_views(3), Sense(encoder(passes=passes))
    torch.testing.assert_close(sense(Views(views.frames.flip(1), views.cameras.flip(1))), sense(views))


def test_a_ray_runs_from_where_it_enters_the_cube_to_where_it_leaves_it() -> None:
    start = torch.tensor([[3.0, 0.2, 0.1], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]], dtype=torch.float64)
    rays = torch.tensor([[-1.0, 0.05, 0.0], [0.3, 0.2, -1.0], [1.0, 0.1, 0.0]], dtype=torch.float64)
    enter, leave = crossed(start, rays)
    ends = start + leave * rays
    torch.testing.assert_close((start + enter * rays)[0].abs().max(), torch.tensor(1.0).double())
    torch.testing.assert_close(ends[:2].abs().amax(dim=-1), torch.ones(2).double())
    assert enter[1] == NEAR  # from within the cube
    # The last misses it: where it is nearest to the middle.
    assert leave[2] == enter[2]
    assert ((start + leave * rays)[2] @ rays[2]).abs() < 1e-12 or leave[2] == NEAR


@pytest.mark.parametrize("volume", [VOLUME, FLAT, CLOSED])
def test_rays_pass_the_cells_that_lie_on_them(volume: Volume) -> None:
    network = look(volume)
    index, lengths = network.passed(vectors()[None])
    assert index.shape == lengths.shape == (1, 3, PIXELS, PIXELS, network.inner + OUTER)
    assert (lengths >= 0).all()
    centres = cell_centres(volume)
    half = np.tan(np.deg2rad(FIELD_OF_VIEW / 2))
    edges = volume.radius * np.array([1, 1, volume.height])
    cell = 2 * edges / (volume.world * SIDE)
    for camera, (forward, right, up) in enumerate(zip(*axes(CAMERAS), strict=True)):
        for row, column in ((0, 0), (PIXELS // 2, PIXELS // 3), (PIXELS - 1, 1)):
            x, y = 2 * (column + 0.5) / PIXELS - 1, 1 - 2 * (row + 0.5) / PIXELS
            ray = forward + half * (x * right + y * up)
            cells = index[0, camera, row, column, : network.inner].numpy()
            # Of those in the world: beyond it cells are larger.
            cells = cells[(np.abs(centres[cells] - volume.centre) < edges - cell).all(axis=-1)]
            assert len(cells) > 3 or row != PIXELS // 2  # in the corners of the frame a ray just grazes the world
            if not len(cells):
                continue
            away = centres[cells] - CAMERAS[camera, :3]
            beside = away - ray * (away @ ray / (ray @ ray))[:, None]
            assert np.linalg.norm(beside, axis=-1).max() <= np.linalg.norm(cell) / 2  # half a cell's diagonal
            assert (np.diff(away @ ray) > -cell.max()).all()  # from near to far


def test_lengths_along_a_ray_are_those_of_the_world_however_flat() -> None:
    for volume in (VOLUME, FLAT, CLOSED):
        network = look(volume)
        lengths = network.passed(vectors()[None])[1][..., : network.inner].sum(dim=-1)
        lengths = lengths * (2 * BLOCK / (volume.world * SIDE))
        position, forward, right, up = (axis[:, None, None] for axis in camera_axes(vectors()))
        across = math.tan(math.radians(FIELD_OF_VIEW / 2)) * ((torch.arange(PIXELS) + 0.5) * 2 / PIXELS - 1).double()
        rays = forward + across[:, None] * right - across[:, None, None] * up
        edges = torch.tensor([1, 1, volume.height]).double() * volume.radius
        enter, leave = crossed((position - torch.tensor(volume.centre)) / edges, rays / edges)
        within = ((leave - enter)[..., 0] * rays.norm(dim=-1)) / volume.radius
        torch.testing.assert_close(lengths[0], within)


def test_the_gradients_of_a_weighted_sum_are_those_of_the_plain_one() -> None:
    torch.manual_seed(0)
    columns = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    index = torch.randint(7, (5, 4), dtype=torch.int32)
    plain = (weights * columns[:, index]).sum(dim=2).T
    torch.testing.assert_close(WeightedSum.apply(columns, weights, index), plain)
    assert torch.autograd.gradcheck(lambda *values: WeightedSum.apply(*values, index), (columns, weights))


def test_gathering_is_the_sum_of_what_each_place_lets_through() -> None:
    """The fast path equals marching along each ray, one place after another."""
    network = look()
    index, lengths = network.passed(vectors()[None].expand(2, -1, -1))
    channels = VOLUME.channels
    cells = torch.rand(2, channels, SIDE**3, dtype=torch.float64)
    pictures = network.gathered(cells, index, lengths)
    for scene, query, row, column in ((0, 0, 3, 5), (1, 2, 8, 8), (1, 1, 15, 0)):
        light, found, depth = 1.0, torch.zeros(channels - 1, dtype=torch.float64), 0.0
        for number, (cell, length) in enumerate(
            zip(index[scene, query, row, column], lengths[scene, query, row, column], strict=True)
        ):
            last = number == network.inner + OUTER - 1
            kept = 0.0 if last else math.exp(-float(optical_depth(cells[scene, -1, cell]) * length))
            found += light * (1 - kept) * cells[scene, :-1, cell]
            depth += light * (1 - kept) * number / (network.inner + OUTER - 1)
            light *= kept
        seen = pictures[3 * scene + query, :, row, column]
        torch.testing.assert_close(seen[:-1], found)
        assert seen[-1].item() == pytest.approx(depth)


def test_a_lit_cell_is_seen_by_the_rays_that_pass_it_and_hides_what_is_behind() -> None:
    network = look()
    index, lengths = network.passed(vectors()[None])
    cell = (7 * SIDE + 9) * SIDE + 8
    cells = torch.zeros(1, VOLUME.channels, SIDE**3, dtype=torch.float64)
    cells[:, 1], cells[:, -1] = 1, -30  # all else is green, and empty
    cells[0, :, cell] = 0
    cells[0, -1, cell], cells[0, 0, cell] = 30, 1  # dense and red
    red, green = network.gathered(cells, index, lengths)[:, :2].unbind(dim=1)
    passed = (index[0, ..., :-1] == cell).any(dim=-1)
    assert passed.flatten(1).any(dim=1).all()
    assert not passed.all()
    assert (red[passed] > 0.9).all()
    assert (green[passed] < 0.1).all()
    assert (red[~passed] < 1e-9).all()


def test_an_object_that_the_views_agree_on_is_drawn_in_its_colours_where_it_is() -> None:
    """With density where the views agree on something bright, the drawn object appears in a new view, untrained."""
    family = ShepardMetzler(size=32, views=9)
    setting = family.setting(np.random.default_rng(1))
    frames = torch.from_numpy(render(setting.world, setting.cameras, 32)).double().permute(0, 3, 1, 2) / 255
    cameras = vectors(setting.cameras)
    network = VolumeEncoder(pixels=32, side=32).double()
    read = read_by_views(network, Views(frames[None, :8], cameras[None, :8])).mean(dim=1)
    through = LookThrough(network.output, pixels=32, out_channels=4, grid=8).double().eval()
    mean, deviation, share = (part[0].flatten(1) for part in statistics(read))
    solid = (mean[:3].amax(dim=0) > -0.2) & (deviation[0] < 0.25 * 3**0.5) & (share[0] > 0.9)
    colours = torch.where(solid, mean[:3], -0.5)  # black beside it
    cells = torch.cat([colours, torch.zeros(network.output.channels - 4, 32**3), 40.0 * solid[None] - 20])[None]
    index, lengths = through.passed(cameras[None, 8:])
    picture = through.gathered(cells.double(), index, lengths)[0, :3] + 0.5
    truth, blank = frames[8], torch.zeros_like(frames[8])
    assert (picture - truth).square().mean() < 0.5 * (blank - truth).square().mean()


def test_the_light_that_comes_to_a_camera_is_what_all_before_a_cell_lets_through() -> None:
    """In a fog that is even, it falls with the distance, but for a block's own; in empty space all comes."""
    fog, side = 0.05, 32
    volume = replace(VOLUME, side=side, centre=(0.0, 0.0, 0.0))
    cells = torch.zeros(1, 7, side, side, side, dtype=torch.float64)
    cells[:, -1] = (math.log(math.expm1(fog)) + 2) / 5
    cameras = vectors(look_at([[0.35, -0.1, 0.2], [3.0, 1.0, 1.0]], [0, 0, 0]))[None]
    light = transmittance(volume, cells, cameras)[0]
    places = torch.stack(torch.meshgrid(*cell_coordinates(replace(volume, side=side // 2), vectors()), indexing="ij"))
    block = 2 * volume.radius / (volume.world * side / 2)
    inside = places.abs().amax(dim=0) < volume.radius
    near, far = cameras[0, :, :3, None, None, None].unbind()
    distance = (places - near).norm(dim=0) / block
    blocks = light[:, ::2, ::2, ::2]
    assert torch.equal(blocks.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3), light)
    torch.testing.assert_close(blocks[0][inside], (-fog * (distance - 1).clamp(min=0)).exp()[inside])
    # A camera far away: from the block to where its way leaves the world.
    way = far - places
    leave = ((way.sign() * volume.radius - places) / way).amin(dim=0).clamp(max=1) * way.norm(dim=0) / block
    torch.testing.assert_close(blocks[1][inside], (-fog * (leave - 1).clamp(min=0)).exp()[inside])
    cells[:, -1] = -20
    assert (transmittance(volume, cells, cameras) > 1 - 1e-9).all()


@pytest.mark.parametrize("volume", [VOLUME, FLAT, CLOSED, replace(VOLUME, side=64)])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_wall_hides_what_is_behind_it_and_not_itself(volume: Volume, axis: int) -> None:
    """A wall one block thick, of the second scene alone, however flat the blocks are and fine the cells."""
    cells = torch.full((2, 7, *[volume.side] * 3), -20.0, dtype=torch.float64)
    wall = volume.side // 2
    cells[1, -1].movedim(axis, 0)[wall : wall + BLOCK] = 20
    before = np.array(volume.centre) + 3 * np.roll([1.0, 0, 0], axis)
    beside = np.add(volume.centre, [0, 3.0, 0])
    # A camera's forward is never quite along z.
    cameras = vectors(look_at([before + 1e-3, beside], volume.centre)).expand(2, -1, -1)
    light = transmittance(volume, cells, cameras)
    assert (light[0] > 0.99).all()
    inner = slice(volume.side // 4, -volume.side // 4)
    front, side = (one.movedim(axis, 0)[:, inner, inner] for one in light[1])
    first = volume.side // 8
    assert (front[wall:-first] > 0.99).all()
    assert (front[first:wall] < 0.01).all()
    assert (side[first : wall - BLOCK] > 0.99).all()


def test_nothing_beyond_the_world_hides_a_cell() -> None:
    """A wall in the outermost cells is seen from within by every camera, though its own cells are large."""
    cells = torch.full((1, 7, SIDE, SIDE, SIDE), -20.0, dtype=torch.float64)
    cells[0, -1, :BLOCK] = 20
    cameras = vectors(look_at([[0.2, 0.1, 0.2], [3.0, 0.1, 0.1]], [-1, 0, 0.2]))[None]
    for volume in (VOLUME, FLAT):
        assert (transmittance(volume, cells, cameras) > 0.99).all()


def test_the_gradient_of_light_by_densities_is_that_of_finite_differences() -> None:
    volume = replace(VOLUME, channels=1, side=8)
    cells = torch.randn(2, 1, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    cameras = vectors()[:2].expand(2, -1, -1)
    assert torch.autograd.gradcheck(lambda given: transmittance(volume, given, cameras)[:, :, ::2, ::2, ::2], cells)


@pytest.mark.parametrize("present", [None, torch.tensor([[True, False, True], [True, True, True]])])
def test_a_second_pass_takes_the_mean_of_views_by_the_light_that_comes_to_them(present: torch.Tensor | None) -> None:
    """Values and gradients; a view counts as HIDDEN at least, one that is not there not at all."""
    network, views = encoder(passes=2), replace(random_views(3), present=present)
    features, surfaces = encode_views(network, views), network.join
    r = surfaces(features, views)
    every = torch.ones(2, 3, 1, 1, 1, 1) if present is None else present.double()[:, :, None, None, None, None]
    cells = features.unflatten(2, (-1, SIDE))
    first = surfaces.found((cells * every).sum(dim=1) / every.sum(dim=1))
    light = HIDDEN + (1 - HIDDEN) * transmittance(network.volume, first, views.cameras)
    second = surfaces.found((cells * every * light[:, :, None]).sum(dim=1) / every.sum(dim=1)).flatten(1, 2)
    torch.testing.assert_close(r, second)
    weights, learned = torch.rand_like(r), list(network.parameters())
    ours, plain = (torch.autograd.grad((x * weights).sum(), learned, retain_graph=True) for x in (r, second))
    torch.testing.assert_close(ours, plain)


def test_views_that_see_a_face_agree_on_its_colour() -> None:
    """Cells of a drawn object's faces, by the light that comes from them, and by all views alike."""
    family = ShepardMetzler(size=32, views=9)
    setting = family.setting(np.random.default_rng(1))
    frames = torch.from_numpy(render(setting.world, setting.cameras, 32)).double().permute(0, 3, 1, 2)[None] / 255
    cameras = vectors(setting.cameras)[None]
    network = VolumeEncoder(pixels=32, side=32).double()
    centres = cell_centres(network.volume)
    distance = np.abs(centres[:, None] - np.array([o["position"] for o in setting.labels["objects"]])).max(-1).min(-1)
    solid = torch.from_numpy(distance < 1 / 12).view(32, 32, 32)
    cells = torch.where(solid, 4.0, -4.0).double().expand(1, network.volume.channels, -1, -1, -1)
    light = transmittance(network.volume, cells, cameras)
    features = read_by_views(network, Views(frames, cameras))
    weighed = WeightedViews.apply(features, HIDDEN + (1 - HIDDEN) * light) / 9
    seen = solid & (light[0].amax(dim=0) > 0.9)
    assert seen.sum() > 100
    plain, ours = (statistics(read)[1][0, 0][seen].mean() for read in (features.mean(dim=1), weighed))
    assert ours < 0.8 * plain


def test_a_second_pass_over_empty_space_changes_nothing_and_one_over_surfaces_does() -> None:
    views, (once, twice) = random_views(3), (encoder(passes=passes) for passes in (1, 2))
    r, again = (Sense(network)(views) for network in (once, twice))
    assert (again - r).abs().max() > 1e-3
    for network in (once, twice):
        nn.init.constant_(network.join.last.bias[-1:], -20)
    r, again = (Sense(network)(views) for network in (once, twice))
    torch.testing.assert_close(again, r)


def test_sums_over_views_by_cell_and_their_gradients_are_those_of_the_plain_product() -> None:
    features, weights = torch.rand(2, 3, 4, 2, 2, 2).double(), torch.rand(2, 3, 2, 2, 2).double()
    given = [features.requires_grad_(), weights.requires_grad_()]
    ours, plain = WeightedViews.apply(*given), (features * weights[:, :, None]).sum(dim=1)
    torch.testing.assert_close(ours, plain)
    slopes = torch.rand_like(ours)
    torch.testing.assert_close(*(torch.autograd.grad((x * slopes).sum(), given) for x in (ours, plain)))


def test_slices_beside_their_neighbours_make_a_convolution_in_space() -> None:
    r = torch.randn(2, 6, 4, 6, 6, dtype=torch.float64)
    weight = torch.randn(5, 4, 3, 3, 3, dtype=torch.float64)
    expected = F.conv3d(r.transpose(1, 2), weight, padding=1).transpose(1, 2).flatten(0, 1)
    flat = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
    torch.testing.assert_close(F.conv2d(with_neighbours(r), flat, padding=1), expected)


def test_what_is_said_of_cells_is_what_the_layers_say_one_after_another() -> None:
    """The fast path equals convolutions over three axes and layers of whole blocks, and so do its gradients."""
    network = surfaces()
    read = torch.rand(2, 7, SIDE, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    found, expected = network.found(read), plain_surfaces(network, read)
    torch.testing.assert_close(found, expected)
    weights = torch.rand_like(found)
    ours, plain = (torch.autograd.grad((x * weights).sum(), [read, *network.parameters()]) for x in (found, expected))
    torch.testing.assert_close(ours, plain)


def plain_surfaces(network: Surfaces, r: torch.Tensor) -> torch.Tensor:
    mean, deviation, share = statistics(r)
    cells = torch.cat([2 * mean, 6 * deviation - 1, share], dim=1)
    # (b, c, s, s, s) to (b, x, y, z, 8, c) and back: blocks of two cells an edge.
    blocks = cells.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).permute(0, 2, 3, 4, 5, 6, 7, 1).flatten(4, 6)
    along = (torch.arange(SIDE // 2, dtype=r.dtype) + 0.5) * (4 / SIDE) - 1
    place = torch.stack(torch.meshgrid(along, along, along, indexing="ij"), dim=-1).expand(len(r), -1, -1, -1, -1)
    gathered = network.gather(torch.cat([blocks.flatten(-2), place], dim=-1))
    spread = network.spread(plain_levels(network.convs, gathered.movedim(-1, 1)).movedim(1, -1))
    said = network.last((spread.unflatten(-1, (8, -1)) + network.read(blocks)).relu())
    said = said + F.pad(blocks[..., :3] / 2, (0, said.shape[-1] - 3))
    said = said.unflatten(-2, (2, 2, 2)).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return said.flatten(1, 2).flatten(2, 3).flatten(3, 4).movedim(-1, 1)


def plain_levels(levels: SpaceLevels, x: torch.Tensor) -> torch.Tensor:
    """Return what `levels` makes of x (b, width, x, y, z), by convolutions over three axes."""

    def active(found: torch.Tensor) -> torch.Tensor:
        return (found / (found.square().mean(dim=1, keepdim=True) + 1e-3).sqrt()).relu()

    def kernel(weight: torch.Tensor) -> torch.Tensor:  # of slices side by side, to one over them
        return weight.unflatten(1, (-1, x.shape[1])).transpose(1, 2)

    conv = levels.conv.conv
    found = x + active(F.conv3d(x, kernel(conv.weight), conv.bias, padding=1))
    if levels.below is None:
        return found
    coarse = active(F.conv3d(x, kernel(levels.down.weight), levels.down.bias, stride=2))
    up = F.conv_transpose3d(plain_levels(levels.below, coarse), kernel(levels.up.weight), stride=2)
    assert levels.up.bias is not None
    bias = levels.up.bias.view(2, -1).repeat(up.shape[2] // 2, 1)  # of a slice and the next
    return found + up + bias.T[None, :, :, None, None]


def test_each_query_sees_the_volume_of_its_own_scene_from_its_own_camera() -> None:
    network = look()
    r, cameras = torch.rand(2, *VOLUME.shape, dtype=torch.float64), vectors().expand(2, -1, -1)
    together = network(r, cameras)
    assert (together[1][0] != together[1][3]).any()
    for scene in range(2):
        for query in range(3):
            alone = network(r[[scene]], cameras[[scene], query][:, None])
            for one, other in zip(together, alone, strict=True):
                torch.testing.assert_close(one[3 * scene + query], other[0])


def test_cells_of_a_block_are_told_apart_by_what_they_have_read() -> None:
    """A change of what one cell has read changes that cell most, and its surface is where the cell is."""
    network = surfaces()
    read = torch.rand(1, 7, SIDE, SIDE, SIDE, dtype=torch.float64)
    changed = read.clone()
    changed[0, 0, 5, 8, 3] += 1
    before, after = (network.found(given)[0] for given in (read, changed))
    change = (after - before).abs().sum(dim=0)
    assert (change == change.max()).nonzero().tolist() == [[5, 8, 3]]
    assert change[5 // BLOCK * BLOCK, 8, 2] > 0  # of its block


@pytest.mark.parametrize("passes", [1, 2])
def test_r_is_of_the_views_that_are_there_whether_encoded_beforehand_or_not(passes: int) -> None:
    sense, views = Sense(encoder(passes=passes)), random_views(3)
    present = torch.tensor([[True, True, False], [False, False, False]])
    cameras = torch.where(present[..., None], views.cameras, torch.nan)
    some = Views(views.frames, cameras, present)
    r = sense(some)
    torch.testing.assert_close(r[:1], sense(views[:1].part(slice(2))))
    torch.testing.assert_close(r[1:], sense(views[1:].part(slice(0))))
    encoded = sense.encoded(some)
    assert encoded.present is not None
    assert encoded.present.tolist() == [[True], [False]]
    assert torch.equal(sense(encoded), r)


def test_places_vary_while_training_and_stand_still_after_it() -> None:
    network = look()
    still = [network.passed(vectors()[None])[0] for _ in range(2)]
    assert torch.equal(*still)
    network.train()
    assert (network.passed(vectors()[None])[0] != still[0]).any()


def test_what_can_be_no_volume_is_refused() -> None:
    with pytest.raises(Error, match="takes the 7 numbers of a camera, not 3"):
        VolumeEncoder(pixels=32, cameras=3)
    with pytest.raises(Error, match="field of view of 180 degrees"):
        VolumeEncoder(pixels=32, field_of_view=180.0)
    with pytest.raises(Error, match="a multiple of 8 cells"):
        VolumeEncoder(pixels=32, side=15)
    with pytest.raises(Error, match="0 passes: surfaces are found once or more"):
        VolumeEncoder(pixels=32, passes=0)
    with pytest.raises(Error, match="normalise: a volume"):
        Sense(VolumeEncoder(pixels=32), normalise=True)


def test_scenes_one_after_another_are_what_they_are_together() -> None:
    sense, views = Sense(encoder(passes=2)), random_views(3)
    r, learned = sense(views), list(sense.parameters())
    together = sense.encoder.join(encode_views(sense.encoder, views), views)
    torch.testing.assert_close(r, together)
    weights = torch.rand_like(r)
    ours, plain = (torch.autograd.grad((x * weights).sum(), learned) for x in (r, together))
    torch.testing.assert_close(ours, plain)


def by_opacity(r: torch.Tensor, volume: Volume, side: int) -> torch.Tensor:
    """Return what `Volume.coarse` is to give, block by block."""
    *values, density = volume.cells(r).unbind(dim=1)
    opacity = 1 - torch.exp(-torch.log1p(torch.exp(5 * density - 2)))
    block = volume.side // side
    parts = torch.stack([*(value * opacity for value in values), opacity], dim=1)
    return parts.view(len(r), -1, side, block, side, block, side, block).mean(dim=(3, 5, 7))


def test_a_pooled_volume_is_what_layers_read_of_a_fine_one() -> None:
    views, (fine, pooled) = random_views(3), (Sense(encoder(pooled=pooled, passes=2)) for pooled in (0, 4))
    pooled.load_state_dict(fine.state_dict())
    assert isinstance(fine.output, Volume)
    assert pooled.output == replace(fine.output, side=4, weighted=True)
    torch.testing.assert_close(pooled(views), by_opacity(fine(views), fine.output, 4).flatten(1, 2))
    assert torch.equal(pooled.output.coarse(pooled(views)).flatten(1, 2), pooled(views))
    with pytest.raises(Error, match="pooled 5: must divide the 16"):
        encoder(pooled=5)
    with pytest.raises(Error, match="4 pooled cells a side has no densities to look through"):
        LookThrough(pooled.output, pixels=PIXELS, out_channels=6, grid=4)


def test_heads_read_blocks_of_cells_by_their_opacity() -> None:
    fine, few = replace(VOLUME, side=2 * FINEST), replace(VOLUME, side=4)
    for volume in (fine, few):
        r = torch.randn(2, *volume.shape, dtype=torch.float64)
        torch.testing.assert_close(volume.coarse(r), by_opacity(r, volume, volume.read.side))
        assert volume.read == replace(volume, side=min(FINEST, volume.side), weighted=True)


def test_what_an_empty_cell_says_counts_for_nothing() -> None:
    r = torch.randn(1, *VOLUME.shape, dtype=torch.float64)
    cells = VOLUME.cells(r).clone()
    cells[:, -1, :, :, ::2] = -30
    other = cells.clone()
    other[:, :-1, :, :, ::2] += 100
    torch.testing.assert_close(*(VOLUME.coarse(given.flatten(1, 2), 8) for given in (cells, other)))


def test_a_place_in_the_cube_is_the_coordinate_at_which_views_are_read() -> None:
    axis = cell_axis(SIDE, vectors())
    found = in_world(FLAT, torch.cartesian_prod(axis, axis, axis))
    apart = torch.from_numpy(cell_centres(FLAT)) - found
    near = (found - torch.tensor(FLAT.centre)).abs() < 0.99 * FARTHEST * torch.tensor([0.6, 0.6, 0.18])
    assert apart[near.all(dim=1)].abs().max() < 1e-12 < apart.abs().max()
