#!/usr/bin/env python3
"""Write pictures of your own, with poses of nerfstudio, Blender, COLMAP or a table, as a converted dataset."""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gqn.data.own_formats import import_scenes


@dataclass(frozen=True)
class Options:
    source: tyro.conf.Positional[Path]
    """A scene: a folder with transforms.json, transforms_train.json, poses.csv or COLMAP's sparse/; or a folder of such
    folders, perhaps shared out to train/ and test/."""
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA_DIR/NAME")]
    """Folder of the dataset to write."""
    size: int = 64
    """Height and width of a frame, in pixels."""
    views: int | None = None
    """Views of a record; by default as many as the scene with the fewest has."""
    test_every: int | None = None
    """Set every n-th scene aside for testing; of a single scene every n-th picture."""
    up: tuple[float, float, float] | Literal["fit"] | None = None
    """Direction in the scenes' own worlds that becomes z, or fit: that about which no camera rolls, as for COLMAP."""
    level: bool = False
    """Turn the pictures of cameras that roll back about their optical centre, instead of refusing them."""
    centre: tuple[float, float, float] | None = None
    """Middle of a cube in which all that can be seen lies, in the scenes' own worlds; by default where they look."""
    radius: float | None = None
    """Half an edge of that cube, in the scenes' own units."""
    field_of_view: float | None = None
    """Vertical, in degrees, of pictures whose lens is not said."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Red, green and blue behind what is transparent."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    folder = import_scenes(**vars(options))
    told = json.loads((folder / "dataset.json").read_text())
    for scene in told["scenes"]:
        left = f", {scene['views_left_out']} views left out" if scene["views_left_out"] else ""
        records = " and ".join(f"{count} to {split}" for split, count in scene["records"].items())
        print(f"{scene['name']}: records of {told['views']} views, {records}{left}")
    for what, pictures in told["pictures"].items():
        print(f"{pictures} pictures: {what}")
    for scene in told["scenes"]:
        x, y, z = scene["centre"]
        print(
            f"{scene['name']}: its cube has the middle {x:.4g}, {y:.4g}, {z:.4g} and the radius {scene['radius']:.4g}"
        )
    print(f"field of view {told['geometry']['field_of_view']:.4g} degrees; all that was done is in dataset.json")
    print(folder)


if __name__ == "__main__":
    with command("run again to start afresh"):
        main()
