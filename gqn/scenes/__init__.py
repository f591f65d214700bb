"""Families of scenes that we draw ourselves, by name: those of DeepMind's datasets, with their sizes."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gqn.core.files import given_name
from gqn.scenes.family import Family
from gqn.scenes.jaco import Jaco
from gqn.scenes.mazes import Mazes
from gqn.scenes.rooms import Rooms
from gqn.scenes.shepard_metzler import ShepardMetzler

#: Worlds that can be drawn, by name: each makes a family of scenes from its options.
FAMILIES: dict[str, Callable[..., Family]] = {
    "shepard_metzler_5_parts": partial(ShepardMetzler, parts=5),
    "shepard_metzler_7_parts": partial(ShepardMetzler, parts=7),
    "rooms_ring_camera": partial(Rooms, cameras="ring"),
    "rooms_free_camera_no_object_rotations": partial(Rooms, cameras="free", rotations="none"),
    "rooms_free_camera_with_object_rotations": partial(Rooms, cameras="free", rotations="free", size=128),
    "mazes": Mazes,
    "jaco": Jaco,
}


def family_of(dataset: Path) -> Family | None:
    """Return the family of scenes that drew a dataset, or that is like it where the dataset is DeepMind's."""
    try:
        described = json.loads((dataset / "dataset.json").read_text())
        return FAMILIES[described["family"]](**described["options"])
    except FileNotFoundError:
        # A link's own name counts before that of the folder which it leads to.
        names = [name for name in (given_name(dataset), dataset.resolve().name) if name in FAMILIES]
        return FAMILIES[names[0]]() if names else None
    except (KeyError, TypeError, ValueError):
        return None  # of another origin
