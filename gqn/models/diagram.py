"""Pictures of a graph: its nodes with shapes and costs from left to right, and the changes of an edit. ::

    observations --encode--> [sense] --decode--> task
                                |
                                +----encode----> [representation] --decode--> task

Frozen nodes are blue, with a dashed line round them.
"""

import io
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import nn

from gqn.core.figure import Figure
from gqn.models.nodes import Description, Node
from gqn.models.outputs import Shape

# Inches.
ROW, GAP, LANE, HEIGHT, MARGIN = 0.92, 1.0, 0.09, 0.68, 0.15
INK, FAINT, ICE = "#222222", "#777777", "#dfeaf5"
FILL = {"sense": "#ffffff", "representation": "#ffffff", "task": "#f3efe2"}
MARKS = {"added": "#2a8f4d", "changed": "#d07a00", "removed": "#c0392b"}


class Place(NamedTuple):
    column: int  # 0 is what the senses observe
    row: int


class Box(NamedTuple):
    """Inches, of a node's box from the left and from the top of its graph's drawing."""

    left: float
    top: float
    width: float
    height: float


def draw(graph: Description, title: str = "", marks: Mapping[str, str] | None = None) -> Figure:
    """Draw a graph with the shape, the parameters and the floating-point operations of each node; frozen ones are blue.

    marks: "added", "changed" or "removed" by node, for its outline.
    """
    figure = Figure(figsize=size(graph), layout=None)
    panel(figure.add_axes((0, 0, 1, 1)), *size(graph), graph, title, marks or {})
    return figure


def change(before: Description, after: Description) -> Figure:
    """Draw a graph before and after an edit, one above the other: green is new, orange is different, red goes."""
    marks = differences(before, after)
    gone = {name: mark for name, mark in marks.items() if mark == "removed"}
    (width, first), (other_width, second) = size(before), size(after)
    width, height = max(width, other_width), first + second
    figure = Figure(figsize=(width, height), layout=None)
    panel(figure.add_axes((0, second / height, 1, first / height)), width, first, before, "before", gone)
    panel(figure.add_axes((0, 0, 1, second / height)), width, second, after, "after", marks)
    return figure


def differences(before: Description, after: Description) -> dict[str, str]:
    """Return "added", "removed" or "changed" by node; changed is also one whose shapes follow from another's change."""
    marks = {name: "removed" for name in before.spec if name not in after.spec}
    for name, node in after.spec.items():
        if name not in before.spec:
            marks[name] = "added"
        elif (node, after.trials[name]) != (before.spec[name], before.trials[name]):
            marks[name] = "changed"
    return marks


def picture(figure: Figure, kind: str) -> bytes:
    """Return a figure as "svg", "png" or "pdf", the same bytes for the same figure."""
    file = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context({"svg.hashsalt": "gqn"}):
        figure.savefig(file, format=kind, dpi=110, metadata=metadata)
    return file.getvalue()


def table(graph: Description) -> str:
    """Return a graph as text, a line a node."""
    head = ("node", "kind", "network", "reads", "shape", "parameters", "forward", "")
    lines = [head] + [
        (
            name,
            node.kind,
            node.network,
            " + ".join(node.inputs),
            shape_text(graph.trials[name].shape),
            f"{graph.trials[name].parameters:,}",
            amount(graph.trials[name].total, "FLOP"),
            "frozen" if node.frozen else "",
        )
        for name, node in graph.spec.items()
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def tree(graph: Description, name: str, module: nn.Module) -> str:
    """Return the parts of a node's module as text, with their parameters and floating-point operations."""
    root, lines = type(module).__name__, []
    for path, part in module.named_modules():
        operations = graph.trials[name].operations.get(f"{root}.{path}" if path else root, 0)
        parameters = sum(p.numel() for p in part.parameters())
        label = (
            "  " * (path.count(".") + 1 if path else 0) + f"{path.rpartition('.')[2] or name}: {type(part).__name__}"
        )
        lines.append(f"{label:48} {parameters:>12,} parameters {amount(operations, 'FLOP'):>12}")
    return "\n".join(lines)


def places(graph: Description) -> dict[str, Place]:
    """Return columns by layer, and rows such that a node's first reader stands beside it and no line crosses a box.

    A node with several inputs, or that is not the first reader, has a row in which nothing stands before it.
    """
    rows = count()
    found: dict[str, Place] = {}

    def visit(name: str, row: int) -> None:
        node = graph.spec[name]
        found[name] = Place(1 + max((found[key].column for key in node.inputs), default=0), row)
        readers = [key for key, other in graph.spec.items() if name in other.inputs]
        beside = True
        for key in sorted(readers, key=lambda key: graph.spec[key].kind != "task"):
            inputs = graph.spec[key].inputs
            if key not in found and all(other in found for other in inputs):
                straight = beside and len(inputs) == 1
                visit(key, row if straight else next(rows))
                beside = beside and not straight

    for name, node in graph.spec.items():
        if node.kind == "sense":
            visit(name, next(rows))
    return found


def lines_of(graph: Description, name: str) -> list[str]:
    """Return the lines in a node's box."""
    node, trial = graph.spec[name], graph.trials[name]
    how = [node.network, *([str(node.options["fusion"])] if len(node.inputs) > 1 and "fusion" in node.options else [])]
    how += [f"given {' and '.join(node.senses)}"] if node.senses else []
    shape = shape_text(trial.shape) + (f" of {classes} classes" if (classes := node.options.get("classes")) else "")
    cost = f"weights of {node.tied_to}" if node.tied_to else amount(trial.parameters, "parameters")
    return [name, f"{', '.join(how)}: {shape}", f"{cost}, {amount(trial.total, 'FLOP')}"]


def observed(node: Node) -> tuple[str, str]:
    """Return the lines left of a sense."""
    return node.data or "observations", f"{shape_text(node.options['frame'])}, pose {node.options['pose']}"


def size(graph: Description) -> tuple[float, float]:
    """Return width and height in inches."""
    found = places(graph)
    rows, columns = (1 + max((place[axis] for place in found.values()), default=0) for axis in (1, 0))
    return left_of(graph, columns) - GAP + MARGIN, ROW * (rows - 1) + HEIGHT + 0.85


def width_of(texts: list[str]) -> float:
    return 0.25 + 0.062 * max(map(len, texts), default=20)


def box_width(graph: Description) -> float:
    return width_of([line for name in graph.spec for line in lines_of(graph, name)])


def left_of(graph: Description, column: int) -> float:
    """Return the place at which a column begins, in inches; column 0 has no boxes."""
    first = width_of([line for node in graph.spec.values() if node.kind == "sense" for line in observed(node)])
    return MARGIN + (first + GAP + (column - 1) * (box_width(graph) + GAP) if column else 0)


def boxes(graph: Description) -> dict[str, Box]:
    """Return the box of each node."""
    width = box_width(graph)
    return {
        name: Box(left_of(graph, place.column), 0.42 + place.row * ROW, width, HEIGHT)
        for name, place in places(graph).items()
    }


def panel(axes: Axes, width: float, height: float, graph: Description, title: str, marks: Mapping[str, str]) -> None:
    """Draw a graph on axes of so many inches."""
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    found, where = places(graph), boxes(graph)
    columns: dict[int, list[int]] = {}
    for place in found.values():
        columns.setdefault(place.column, []).append(place.row)

    def line(xs: list[float], ys: list[float]) -> None:
        axes.plot(xs, ys, color=INK, lw=1, solid_capstyle="butt")

    axes.text(MARGIN, 0.2, title, fontsize=9, weight="bold", color=INK, va="center")
    for name, node in graph.spec.items():
        left, y = where[name].left, where[name].top + HEIGHT / 2
        arrive(axes, left, y, "decode" if node.kind == "task" else "encode")
        if node.kind == "sense":
            edge = left - GAP
            for text, dy, points, colour in zip(observed(node), (-0.09, 0.09), (8, 7), (INK, FAINT), strict=True):
                axes.text(edge, y + dy, text, fontsize=points, ha="right", va="center", color=colour)
            line([edge + 0.07, left - 0.08], [y, y])
        for key in node.inputs:
            right, from_y = where[key].left + where[key].width, where[key].top + HEIGHT / 2
            # No two nodes of a column share a lane, as long as there are lanes.
            lane = right + 0.12 + LANE * (sorted(columns[found[key].column]).index(found[key].row) % 4)
            line([right, lane, lane, left - 0.08], [from_y, from_y, y, y])
        draw_box(axes, where[name], lines_of(graph, name), node, MARKS.get(marks.get(name, "")))
    own = {name: graph.trials[name].parameters for name, node in graph.spec.items() if not node.tied_to}
    learning = sum(parameters for name, parameters in own.items() if not graph.spec[name].frozen)
    legend = (
        f"{amount(sum(own.values()), 'parameters')}, {amount(learning, 'of them')} learning (blue, dashed: frozen).\n"
        "FLOP forward: of a view in a sense, a scene in a representation, a query in a task."
    )
    axes.text(MARGIN, height - 0.23, legend, fontsize=6.5, color=FAINT, va="center")


def arrive(axes: Axes, x: float, y: float, label: str) -> None:
    axes.annotate("", (x, y), (x - 0.12, y), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1, "shrinkB": 0})
    axes.text(x - 0.14, y - 0.1, label, fontsize=7, style="italic", ha="right", va="center", color=FAINT)


def draw_box(axes: Axes, box: Box, lines: list[str], node: Node, mark: str | None) -> None:
    x, y = box.left + box.width / 2, box.top + box.height / 2
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.top),
            box.width,
            box.height,
            boxstyle=f"round,pad=0,rounding_size={0.3 if node.kind == 'task' else 0.04}",
            facecolor=ICE if node.frozen else FILL[node.kind],
            edgecolor=mark or INK,
            linewidth=2.2 if mark else 1,
            linestyle="--" if node.frozen else "-",
        )
    )
    name, *rest = lines
    axes.text(x, y - 0.19, name, fontsize=9, weight="bold", ha="center", va="center", color=INK)
    for number, line in enumerate(rest):
        axes.text(x, y + 0.02 + 0.17 * number, line, fontsize=7, ha="center", va="center", color=INK)


def shape_text(shape: Shape) -> str:
    """Return a shape as text; cells that are one are left out."""
    cells = list(shape)
    while len(cells) > 1 and cells[-1] == 1:
        cells.pop()
    return " × ".join(map(str, cells)) or "1"


def amount(number: int, unit: str) -> str:
    """Return three digits with a prefix: 1.96 M parameters, 1.54 GFLOP."""
    steps = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
    size, prefix = next((step for step in steps if number >= step[0]), (1, ""))
    return (
        f"{number / size:.3g} {prefix}{unit}"
        if unit == "FLOP"
        else " ".join(f"{number / size:.3g} {prefix} {unit}".split())
    )
