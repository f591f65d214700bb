"""Questions about the ground truth of drawn scenes, as numbers that a probe answers, and how good its answers are.

`questions` chooses by what the labels hold: joints of an arm, open cells of a maze, and of objects each one's place,
colour and shape. Objects are a set, which has no order that a linear probe could follow. It is asked for maps instead:
at each node of a grid in space, whether an object is near, in which colour and of which shape. A map of several objects
is the sum of each one's, so that nothing depends on an order, and objects are found in it again by a fixed rule.
"""

from collections.abc import Callable, Sequence
from colorsys import rgb_to_hsv
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = Sequence[dict[str, Any]]

HUES = 6  # sixths of the circle of hues, in which colours are counted
ACROSS = 10  # nodes of a map along its longest axis, beside the first
FINER = 4  # halvings of the nodes' distance, to which objects are found in a map
MOST_MATCHED = 6  # objects of a scene, of which all orders are tried


class Figure(NamedTuple):
    """A figure of answers: a statistic of rows (n, ...), one of each scene."""

    statistic: Callable[..., float]
    rows: tuple[Array, ...]

    @property
    def value(self) -> float:
        return self.statistic(*self.rows)


class Question(Protocol):
    """Interface of a question that a linear probe answers by k numbers of a scene."""

    @property
    def pooled(self) -> bool:
        """Whether all numbers are of a kind, so that a probe penalises its weights for all alike."""
        ...

    @property
    def nodes(self) -> Array | None:
        """Places (nodes, 3), in world units, of which the numbers are, as many of each; None where they are of none."""
        ...

    def targets(self, labels: Labels) -> Array:
        """Return the right answers, (n, k); the numbers of a node lie together."""
        ...

    def figures(self, answers: Array, labels: Labels) -> dict[str, Figure]:
        """Return how good answers (n, k) are, by the name of each figure."""
        ...


def explained(error: Array, whole: Array) -> float:
    """Return the share of variance explained, R^2, of squared errors and squared distances from the mean."""
    return float(1 - error.mean() / whole.mean())


def median(values: Array) -> float:
    """Return the median over scenes (n,)."""
    return float(np.median(values))


def mean(values: Array) -> float:
    """Return the mean over scenes (n,)."""
    return float(np.mean(values))


def questions(labels: Labels) -> dict[str, Question]:
    """Return what to ask about scenes like these, by name; what is the same in all of them can't be asked.

    Args:
        labels: of the scenes that a probe learns from, as `gqn.data.labels.scene_labels` has them.
    """
    asked: dict[str, Question] = {}
    first = labels[0]
    if "joints" in first:
        asked["joints"] = Values.of("joint", sines_and_cosines, labels, each=2)
        asked["hand"] = Objects.of(hand, labels, "hand_")
    if "open_cells" in first:
        asked["cells"] = OpenCells.of(labels)
    if all(scene.get("objects") for scene in labels):
        if not any(touch_or_are_many(scene["objects"]) for scene in labels):
            asked["objects"] = Objects.of(objects, labels)
        for name in ground_truth(labels[:1]):
            asked[name] = Values.of(name, partial(quantity, name), labels)
    return {
        name: question
        for name, question in asked.items()
        if np.ptp(question.targets(labels), axis=0).max(initial=0) > 1e-9
    }


def ground_truth(labels: Labels) -> dict[str, Array]:
    """Return quantities of the objects of scenes, (n, k) each; they are of the scene alone, no camera plays a part.

    count: objects or parts. colours: how many there are in each sixth of the circle of hues. layout: second moments of
    their positions about the middle (xx, yy, zz, xy, xz, yz). colours_in_place: the sum over them of position times
    colour, about the means (9 numbers): which colour lies on which side.
    """
    found: dict[str, list[Array]] = {"count": [], "colours": [], "layout": [], "colours_in_place": []}
    for scene in labels:
        position, colour = (numbers(scene["objects"], name) for name in ("position", "colour"))
        hues = [int(rgb_to_hsv(*rgb)[0] * HUES) % HUES for rgb in colour.tolist()]
        away = position - position.mean(axis=0)
        moments = away.T @ away
        found["count"].append(np.array([len(position)], np.float64))
        found["colours"].append(np.bincount(hues, minlength=HUES).astype(np.float64))
        found["layout"].append(moments[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
        found["colours_in_place"].append((away.T @ (colour - colour.mean(axis=0))).ravel())
    return {name: np.stack(values) for name, values in found.items()}


def quantity(name: str, labels: Labels) -> Array:
    """Return one of the quantities of `ground_truth`, (n, k)."""
    return ground_truth(labels)[name]


def objects(scene: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a scene, with position, colour and shape."""
    return scene["objects"]


def hand(scene: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the hand of an arm as the only object of its scene."""
    return [{"position": scene["hand"], "colour": [0, 0, 0], "shape": "hand"}]


def numbers(items: Sequence[dict[str, Any]], name: str) -> Array:
    """Return three numbers of each object, (objects, 3)."""
    return np.array([item[name] for item in items], np.float64).reshape(-1, 3)


def touch_or_are_many(items: Sequence[dict[str, Any]]) -> bool:
    """Return whether objects are parts of one, which bumps round each do not tell apart, or too many to be matched."""
    places, sizes = numbers(items, "position"), np.array([item["size"] for item in items])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) - 1.01 * (sizes[:, None] + sizes)
    return len(items) > MOST_MATCHED or bool((apart < 0)[~np.eye(len(items), dtype=bool)].any())


def sines_and_cosines(labels: Labels) -> Array:
    """Return sine and cosine of the first joint, then those of the second, and so on."""
    joints = np.array([scene["joints"] for scene in labels], np.float64)
    return np.stack([np.sin(joints), np.cos(joints)], axis=2).reshape(len(joints), -1)


@dataclass(frozen=True)
class Values:
    """Numbers of a scene; answers are measured by the share of their variance that they explain.

    name: of the figure, before `_r2`; where each is not 0, parts of so many numbers have figures of their own too.
    """

    name: str
    read: Callable[[Labels], Array]
    middle: Array
    scale: Array  # 1 for what does not vary
    varies: NDArray[np.bool_]
    each: int = 0

    pooled = False
    nodes = None

    @classmethod
    def of(cls, name: str, read: Callable[[Labels], Array], labels: Labels, each: int = 0) -> "Values":
        found = read(labels)
        spread = found.std(axis=0)
        varies = spread > 1e-9
        return cls(name, read, found.mean(axis=0), np.where(varies, spread, 1), varies, each)

    def targets(self, labels: Labels) -> Array:
        return (self.read(labels) - self.middle) / self.scale * self.varies

    def figures(self, answers: Array, labels: Labels) -> dict[str, Figure]:
        truth = self.targets(labels)
        columns = {self.name: np.flatnonzero(self.varies)}
        if self.each:
            columns = {f"{self.name}s": columns[self.name]}
            parts = np.arange(len(self.varies)).reshape(-1, self.each)
            columns |= {
                f"{self.name}_{number}": part for number, part in enumerate(parts, 1) if self.varies[part].any()
            }
        return {
            f"{name}_r2": Figure(
                explained,
                (np.square(answers - truth)[:, part].mean(axis=1), np.square(truth)[:, part].mean(axis=1)),
            )
            for name, part in columns.items()
        }


@dataclass(frozen=True)
class OpenCells:
    """Which cells of a maze can be walked, of those that are not the same in all mazes."""

    varies: NDArray[np.bool_]  # (rows, columns)
    nodes: Array

    pooled = True

    @classmethod
    def of(cls, labels: Labels) -> "OpenCells":
        cells = np.array([scene["open_cells"] for scene in labels])
        varies: NDArray[np.bool_] = np.ptp(cells.astype(int), axis=0) > 0
        row, column = np.nonzero(varies)
        left, top = labels[0]["first_cell"]
        width = labels[0]["cell_width"]
        return cls(varies, np.stack([left + width * column, top - width * row, np.zeros(len(row))], axis=1))

    def targets(self, labels: Labels) -> Array:
        return np.array([scene["open_cells"] for scene in labels], np.float64)[:, self.varies]

    def figures(self, answers: Array, labels: Labels) -> dict[str, Figure]:
        right = (answers > 0.5) == (self.targets(labels) > 0.5)
        return {"cells_accuracy": Figure(mean, (right.mean(axis=1),))}


@dataclass(frozen=True)
class Objects:
    """Place, colour and shape of each object, by maps over nodes in space.

    A map is a sum of bumps, one round each object: of 1, of its colour, and of 1 for its own shape alone. `found`
    finds as many objects in a map as the scene has; they are matched with the true ones so that the squared distances
    are least.
    """

    items: Callable[[dict[str, Any]], list[dict[str, Any]]]  # the objects of a scene
    prefix: str  # of the figures' names
    nodes: Array
    width: float  # world units, of a bump; the nodes' distance
    shapes: tuple[str, ...]  # none where all objects have one
    coloured: bool  # whether colours vary
    place: Array  # (3,), of the mean object
    colour: Array  # (3,)

    pooled = True

    @classmethod
    def of(cls, items: Callable[[dict[str, Any]], list[dict[str, Any]]], labels: Labels, prefix: str = "") -> "Objects":
        every = [item for scene in labels for item in items(scene)]
        position, colour = numbers(every, "position"), numbers(every, "colour")
        low, high = position.min(axis=0), position.max(axis=0)
        width = max(float((high - low).max()) / ACROSS, 1e-6)
        axes = []
        for first, last in zip(low, high, strict=True):
            count = round((last - first) / width) + 1
            axes.append((first + last) / 2 + width * (np.arange(count) - (count - 1) / 2))
        nodes = np.array(list(product(*axes)))
        near = np.array([np.square(position - node).sum(axis=1).min() for node in nodes])
        shapes = sorted({item["shape"] for item in every})
        return cls(
            items,
            prefix,
            nodes[near < 2 * width**2],
            width,
            tuple(shapes) if len(shapes) > 1 else (),
            bool(np.ptp(colour, axis=0).max() > 0),
            position.mean(axis=0),
            colour.mean(axis=0),
        )

    def bumps(self, places: Array) -> Array:
        """Return the bump round each place, (..., 3) -> (..., nodes)."""
        # By the product of the places, which takes no memory for their differences.
        squares = np.square(places).sum(axis=-1, keepdims=True) + np.square(self.nodes).sum(axis=1)
        return np.exp((places @ self.nodes.T - squares / 2) / self.width**2)

    def properties(self, scene: dict[str, Any]) -> Array:
        """Return of each object 1, its colour if it has any, and of each shape whether it is its own, (objects, c)."""
        items = self.items(scene)
        shapes = np.array([[item["shape"] == shape for shape in self.shapes] for item in items], np.float64)
        colours = numbers(items, "colour")[:, : 3 * self.coloured]
        return np.concatenate([np.ones((len(items), 1)), colours, shapes.reshape(len(items), -1)], axis=1)

    def targets(self, labels: Labels) -> Array:
        maps = [self.bumps(numbers(self.items(scene), "position")).T @ self.properties(scene) for scene in labels]
        return np.stack(maps).reshape(len(labels), -1)

    def found(self, presence: Array, most: int) -> Array:
        """Return the places of `most` objects in each of the maps of presence (n, nodes), (n, most, 3).

        One after another: the bump that fits what is left of a map best, which is then taken away.
        """
        left = presence.copy()
        grid = self.bumps(self.nodes)
        grid /= np.linalg.norm(grid, axis=1)
        steps = np.array(list(product((-1, 0, 1), repeat=3)))
        places = np.zeros((len(left), most, 3))
        each = np.arange(len(left))
        for number in range(most):
            place = self.nodes[(left @ grid.T).argmax(axis=1)]
            for halving in range(1, FINER + 1):
                tried = place[:, None] + self.width / 2**halving * steps
                bumps = self.bumps(tried)
                fit = (bumps @ left[:, :, None])[..., 0] / np.linalg.norm(bumps, axis=2)
                place = tried[each, fit.argmax(axis=1)]
            bump = self.bumps(place)
            height = (bump * left).sum(axis=1) / np.square(bump).sum(axis=1)
            left -= height.clip(min=0)[:, None] * bump
            places[:, number] = place
        return places

    def figures(self, answers: Array, labels: Labels) -> dict[str, Figure]:
        maps = answers.reshape(len(labels), len(self.nodes), -1)
        found = self.found(maps[..., 0], max(len(self.items(scene)) for scene in labels))
        rows = []
        for scene, places, channels in zip(labels, found, maps, strict=True):
            truth, named = numbers(self.items(scene), "position"), self.properties(scene)
            bumps = self.bumps(places[: len(truth)])
            heights = np.linalg.solve(bumps @ bumps.T + 1e-3 * np.eye(len(bumps)), bumps @ channels)
            order = matched(places[: len(truth)], truth)
            apart, heights = np.square(places[order] - truth).sum(axis=1), heights[order]
            row = [apart.sum(), np.square(truth - self.place).sum(), np.sqrt(apart).mean()]
            if self.coloured:
                colours = (heights[:, 1:4] / heights[:, :1].clip(min=0.05)).clip(0, 1)
                row += [np.square(colours - named[:, 1:4]).sum(), np.square(named[:, 1:4] - self.colour).sum()]
            if self.shapes:
                first = -len(self.shapes)
                row += [(heights[:, first:].argmax(axis=1) == named[:, first:].argmax(axis=1)).mean()]
            rows.append(row)
        columns = iter(np.array(rows).T)
        figures = {
            "place_r2": Figure(explained, (next(columns), next(columns))),
            "distance": Figure(median, (next(columns),)),
        }
        if self.coloured:
            figures["colour_r2"] = Figure(explained, (next(columns), next(columns)))
        if self.shapes:
            figures["shape_accuracy"] = Figure(mean, (next(columns),))
        return {f"{self.prefix}{name}": figure for name, figure in figures.items()}


def matched(found: Array, truth: Array) -> list[int]:
    """Return which of the places found is of each true one, so that the sum of squared distances is least."""
    costs = np.square(found[:, None] - truth).sum(axis=-1)
    orders = np.array(list(permutations(range(len(truth)))))
    return orders[costs[orders, np.arange(len(truth))].sum(axis=1).argmin()].tolist()
