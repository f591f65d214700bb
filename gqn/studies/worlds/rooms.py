"""Rooms fitted to genuine frames by drawing them: lamp, colours, and each object's place, size, turn and colour."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.core.extras import extra
from gqn.scenes.render import World, render
from gqn.scenes.rooms import FLOOR, Rooms, spotlight
from gqn.scenes.solids import Shape, Solid, height_above_ground
from gqn.studies.worlds.fit import Fit, Frames

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sight:
    """A room as a person describes it, from which a fit begins."""

    wall: str
    wall_colour: tuple[float, float, float]
    floor_colour: tuple[float, float, float]
    objects: tuple[tuple[Shape, tuple[float, float, float], tuple[float, float, float]], ...]
    """Shape, colour, and size, x and y."""


ORANGE, SAGE, CRIMSON = (0.95, 0.48, 0.03), (0.62, 0.75, 0.58), (0.66, 0.26, 0.40)
YELLOW, GREY = (0.85, 0.76, 0.34), (0.9, 0.9, 0.89)
ROOMS_SEEN = (
    Sight("circles", ORANGE, GREY, (("icosahedron", (0.64, 0.21, 0.87), (0.15, -0.29, -0.23)),)),
    Sight(
        "stucco",
        SAGE,
        YELLOW,
        (
            ("icosahedron", (0.1, 0.85, 0.15), (0.14, 0.05, 0.1)),
            ("sphere", (0.5, 0.95, 0.1), (0.13, 0.0, -0.25)),
            ("sphere", (0.35, 0.2, 0.9), (0.1, -0.3, -0.3)),
        ),
    ),
    Sight("stucco", SAGE, GREY, (("cone", (0.9, 0.88, 0.07), (0.132, 0.0625, -0.385)),)),
    Sight(
        "stucco",
        CRIMSON,
        YELLOW,
        (
            ("cylinder", (0.15, 0.9, 0.92), (0.195, 0.064, 0.03)),
            ("triangle", (0.9, 0.6, 0.2), (0.21, -0.066, 0.294)),
            ("sphere", (0.9, 0.75, 0.2), (0.06, -0.4, -0.4)),
        ),
    ),
    Sight("stucco", CRIMSON, YELLOW, (("triangle", (0.06, 0.09, 0.78), (0.215, 0.335, -0.287)),)),
)


def fit_room(frames: Frames, cameras: Array, sight: Sight, rounds: int = 3, trials: int = 160) -> Fit:
    """Return a room fitted to the frames by drawing it: lamp, colours, and each object's place, size, turn and colour.

    Args:
        frames: (views, h, w, 3).
        cameras: (views, 5).
        sight: where to begin.
        rounds: how often each part is fitted in turn.
        trials: drawings for a part.
    """
    room = Rooms(size=frames.shape[1])
    parts: dict[str, Array] = {
        "lamp": np.array([0.0, 0.0, 2.0]),
        "light": np.array([0.36, 0.65, 1.2]),
        "colours": np.array([*sight.wall_colour, *sight.floor_colour]),
    }
    for number, (_, colour, where) in enumerate(sight.objects):
        parts[f"place {number}"] = np.array([*where, 0.3])
        parts[f"colour {number}"] = np.array(colour)
    place = np.array([0.03, 0.06, 0.06, 0.3])  # of the size, x, y and the turn
    scale: dict[str, Any] = {"lamp": 0.5, "light": 0.15, "colours": 0.1, "place": place, "colour": 0.12}

    def world(state: dict[str, Array]) -> World:
        solids = []
        for number, (shape, _, _) in enumerate(sight.objects):
            size, x, y, turn = state[f"place {number}"]
            size = float(np.clip(size, 0.02, 0.4))
            rotation = np.array([np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
            height = FLOOR + size * height_above_ground(shape, rotation)
            solids.append(Solid(shape, size, np.array([x, y, height]), rotation, state[f"colour {number}"].clip(0, 1)))
        ambient, headlight, diffuse = state["light"].clip(0)
        lamp = state["lamp"]
        light = replace(
            spotlight(lamp[:2]),
            lamp=(float(lamp[0]), float(lamp[1]), FLOOR + max(0.5, float(lamp[2]))),
            ambient=float(ambient),
            headlight=float(headlight),
            diffuse=float(diffuse),
        )
        wall, floor = (tuple(colour.tolist()) for colour in state["colours"].clip(0, 1.5).reshape(2, 3))
        return room.world(solids, light, (sight.wall, wall), ("marble", floor))

    def error(state: dict[str, Array], samples: int = 1) -> float:
        drawn = render(world(state), cameras, room.size, samples)
        # Robust: what is not yet in its place must not pull at the rest.
        return float(np.minimum(np.abs(drawn.astype(float) - frames), 60).mean())

    everything = ("lamp", "light", "colours")
    lamps = [np.array([x, y, 2.0]) for x, y in product((-1.0, 0.0, 1.0), repeat=2)]
    parts["lamp"] = min(lamps, key=lambda lamp: error({**parts, "lamp": lamp}))
    for turn in range(len(sight.objects)):
        turns = [np.array([*parts[f"place {turn}"][:3], angle]) for angle in np.arange(6) * np.pi / 6]
        parts[f"place {turn}"] = min(turns, key=lambda place: error({**parts, f"place {turn}": place}))
    for _ in range(rounds):
        for name in [*[part for part in parts if part.startswith("place")], *everything, *parts]:
            begin, step = parts[name], scale[name.split()[0]]
            simplex = np.concatenate([begin[None], begin + step * np.eye(len(begin))])
            found = extra("scipy.optimize").minimize(
                lambda value, name=name: error({**parts, name: value}),
                begin,
                method="Nelder-Mead",
                options={"maxfev": trials // 4, "initial_simplex": simplex},
            )
            parts[name] = found.x
        scale = {name: value / 2 for name, value in scale.items()}
    drawn = render(world(parts), cameras, room.size, room.samples)
    plain = {name: [round(float(number), 4) for number in value] for name, value in parts.items()}
    return Fit(frames, drawn, np.ones(frames.shape[1:3], bool), plain)
