"""The weights that come with the library: what they are, and that they have learned what the README says."""

from pathlib import Path

import pytest
import torch

import gqn
from gqn.data.convert import convert
from gqn.data.generate import generate
from gqn.data.labelled_scenes import LabelledScenes
from gqn.training import checkpoint, saved, sharing

NAME = "shepard-metzler-7-small"


@pytest.mark.parametrize(
    ("name", "world", "options"),
    [
        (NAME, "shepard_metzler_7_parts", {}),
        ("jaco-small", "jaco", {}),
        ("rooms-ring-small", "rooms_ring_camera", {}),
        ("rooms-free-small", "rooms_free_camera_no_object_rotations", {"size": 64}),
        ("mazes-small", "mazes", {"size": 64, "views": 60}),
    ],
)
def test_a_shipped_network_imagines_scenes_of_its_world_from_new_sides(
    name: str, world: str, options: dict[str, int], tmp_path: Path
) -> None:
    """Scenes drawn for this test alone, as JPEGs like those that the network was trained on."""
    folder = generate(world, tmp_path, 8, seed=77, test_scenes=0, workers=1, progress=False, **options)
    convert(folder, 8, workers=1, progress=False)
    found = gqn.evaluate(gqn.load(name), LabelledScenes(gqn.SceneDataset(folder, "train")), samples=2)["render"]
    assert found["context_gain_db"] > 5
    assert found["prior_mean"]["psnr_db"] > found["mean_image"]["psnr_db"] + 3


def test_a_run_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not a folder without a checkpoint, as an evaluation leaves one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    assert gqn.load(NAME).spec.keys() == {"vision", "render"}
    (tmp_path / NAME / checkpoint.FILE).write_bytes(b"a run that was damaged")
    with pytest.raises(checkpoint.CheckpointError, match="can't be read"):
        gqn.load(NAME)


def test_weights_alone_are_half_the_size_and_the_same_network(tmp_path: Path) -> None:
    network = gqn.load(NAME)
    sharing.extract(NAME, tmp_path / "again", half=True)
    again = gqn.load(tmp_path / "again")
    for name, weight in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    count = sum(weight.numel() for weight in network.state_dict().values())
    assert (tmp_path / "again" / saved.FILE).stat().st_size < 2.1 * count + 100_000
