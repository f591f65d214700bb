"""The nodes of a graph: their description as in a file, their modules, and a trial on PyTorch's meta device.

The trial knows shapes and counts operations but computes no numbers, so that an edit which does not fit is found before
it is made.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import dacite
import torch
from torch import nn
from torch.distributions import Distribution
from torch.utils.flop_counter import FlopCounterMode

from gqn.core.camera import CAMERA_NUMBERS
from gqn.core.errors import Error
from gqn.core.views import EncodedViews, Views
from gqn.models.encoders import REPRESENTATIONS
from gqn.models.fusion import ENCODERS, Fusion, Value
from gqn.models.heads import HEADS, negative_elbo
from gqn.models.outputs import Grid, Output, Shape, summed
from gqn.models.senses import SENSES, Sense

Kind = Literal["sense", "representation", "task"]
Spec = Mapping[str, "Node"]
NETWORKS: dict[Kind, Mapping[str, Callable[..., nn.Module]]] = {
    "sense": SENSES,
    "representation": ENCODERS,
    "task": HEADS,
}
WORDS: dict[Kind, str] = {"sense": "encoder", "representation": "encoder", "task": "head"}
SECTIONS: dict[str, Kind] = {"senses": "sense", "representations": "representation", "tasks": "task"}


class GraphError(Error):
    """An edit or a file that makes no graph, or data that do not fit it; the message names the nodes."""


@dataclass(frozen=True)
class Node:
    """The description of a node, as in a graph's file.

    network: a name of `SENSES`, `ENCODERS` or `HEADS`. options: its arguments, in which a sense has the shape `frame`
    and the numbers `pose` of an observation, and a task the shape `target` and the numbers `query` of a question.
    inputs: the nodes that a representation or a task reads; a task reads the sum of several.
    senses: the senses that a task is limited to, as if the others had observed nothing; none for all.
    tied_to: the sense or task whose weights this one uses, instead of a network and options of its own.
    data: what a dataset calls the observations or the answers; none for the node's name, and frames for vision.
    weight: of a task's loss. frozen: the node does not learn.
    """

    kind: Kind
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    senses: tuple[str, ...] = ()
    tied_to: str = ""
    data: str = ""
    weight: float = 1.0
    frozen: bool = False


def data_of(name: str, node: Node) -> str:
    """Return the dataset's name for the observations of a sense or the answers of a task."""
    return node.data or ("frames" if node.network in (*REPRESENTATIONS, "render") else name)


class Trial(NamedTuple):
    """Shapes and costs of a node."""

    inputs: Mapping[str, Output]  # what it reads
    output: Output | None  # what it gives to others; None for a task
    shape: Shape  # of that, (c, h, w), or of a task's answer
    parameters: int
    # Floating-point operations forward, of one view, one scene, or one query with its posterior: by part of the node's
    # module, which has the name of its class, and "Global" for all.
    operations: Mapping[str, int]

    @property
    def total(self) -> int:
        """Operations of the whole node."""
        return self.operations.get("Global", 0)

    @property
    def reads(self) -> Output:
        """The kind of representation that a task's head reads: the sum of its inputs."""
        return summed(*self.inputs.values())


class Description(NamedTuple):
    """A graph at one moment, without weights."""

    spec: Mapping[str, Node]
    trials: Mapping[str, Trial]


def attempt(name: str, node: Node, inputs: Mapping[str, Output]) -> Trial:
    """Build a node and run it on the meta device; inputs: what it reads. Raises GraphError."""
    networks = NETWORKS[node.kind]
    if node.network not in networks:
        word = WORDS[node.kind]
        raise GraphError(f"{node.kind} '{name}': no {word} '{node.network}'; there are {listed(networks)}")
    numbers = {key: value for key, value in node.options.items() if isinstance(value, int | float)}
    for option, value in {"weight": node.weight, **numbers}.items():
        if not math.isfinite(value) or value < 0 or (option == "sigma" and not value):
            wanted = "more than 0" if option == "sigma" else "0 or more"
            raise GraphError(f"{node.kind} '{name}': {option} is {value}, must be {wanted}")
    reading = " and ".join(f"'{key}' {given.shape}" for key, given in inputs.items())
    if node.kind == "task":
        try:
            summed(*inputs.values())
        except RuntimeError:
            raise GraphError(
                f"task '{name}' reads {reading}, whose sizes differ: put a representation on them and let it read that"
            ) from None
    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter, unvalidated():
            module = build(node, inputs).eval()
            output, shape = _run(node, module, inputs)
    except Exception as error:  # whatever a network says that is given what it can't take
        reason = (str(error) or type(error).__name__).splitlines()[0].split("__init__() ")[-1]
        about = f"{node.kind} '{name}' ({node.network}{f' on {reading}' if reading else ''})"
        raise GraphError(f"{about}: {reason}") from error
    operations = {part: sum(counts.values()) for part, counts in counter.get_flop_counts().items()}
    return Trial(dict(inputs), output, shape, sum(p.numel() for p in module.parameters()), operations)


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions that look at no value, which tensors on the meta device have not."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def build(node: Node, inputs: Mapping[str, Output]) -> nn.Module:
    """Return the untrained module of a node."""
    if node.kind == "representation":
        return Fusion(inputs, encoder=node.network, **node.options)
    if node.kind == "task":
        return HEADS[node.network](inputs=summed(*inputs.values()), **node.options)
    options = dict(node.options)
    around = {key: options.pop(key) for key in ("aggregate", "normalise") if key in options}
    return Sense(SENSES[node.network](**options), **around)


def _run(node: Node, module: nn.Module, inputs: Mapping[str, Output]) -> tuple[Output | None, Shape]:
    """Return what a node gives, and the shape of what its module makes of one view, one scene or one query."""
    if node.kind == "task":
        query, target = torch.zeros(1, 1, node.options["query"]), torch.zeros(1, 1, *node.options["target"])
        r = torch.zeros(1, *summed(*inputs.values()).shape)
        loss = negative_elbo(module(query, r, target), target)
        if loss.shape != (1, 1):
            raise Error(f"its loss for one query has shape {tuple(loss.shape)} and not (1, 1)")
        return None, tuple(node.options["target"])
    if isinstance(module, Fusion):
        present = torch.ones(1, dtype=torch.bool)
        r = module({name: Value(torch.zeros(1, *given.shape), present) for name, given in inputs.items()}).r
    else:
        r = module(Views(torch.zeros(1, 1, *node.options["frame"]), torch.zeros(1, 1, node.options["pose"])))
    if r.dim() != 4:
        raise Error(f"it gives shape {tuple(r.shape[1:])} and not (channels, height, width)")
    output = module.output if isinstance(module, Sense) and module.output else Grid(*r.shape[1:])
    if output.shape != tuple(r.shape[1:]):
        raise Error(f"it gives shape {tuple(r.shape[1:])} and says that it gives {output}")
    return output, output.shape


def with_owner(name: str, node: Node, spec: Spec) -> Node:
    """Return a node that is tied to another with that one's network. Raises GraphError."""
    if not node.tied_to:
        return node
    owner = spec.get(node.tied_to)
    if owner is None or owner.kind != node.kind or owner.tied_to or owner.kind == "representation":
        raise GraphError(f"'{name}' can't be tied to '{node.tied_to}': name another {node.kind} with its own")
    return replace(node, network=owner.network, options=owner.options, frozen=owner.frozen)


def ordered(spec: Spec) -> list[str]:
    """Return the names with every node after those that it needs. Raises GraphError."""
    done: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise GraphError(f"cycle: {' reads '.join(map(repr, (*path[path.index(name) :], name)))}")
        if name in done:
            return
        node = spec[name]
        if bool(node.inputs) == (node.kind == "sense"):
            what = "reads nothing: name its inputs" if node.kind != "sense" else "is a sense and reads no other node"
            raise GraphError(f"{node.kind} '{name}' {what}")
        if len(set(node.inputs)) < len(node.inputs):
            raise GraphError(f"{node.kind} '{name}' reads a node twice: name each of its inputs once")
        for key in node.inputs:
            if key not in spec:
                raise GraphError(f"'{name}' reads '{key}', which is no node; there are {listed(spec)}")
            if spec[key].kind == "task":
                raise GraphError(f"'{name}' reads '{key}', which is a task: read what that task reads")
            visit(key, (*path, name))
        if node.tied_to:
            visit(node.tied_to, path)
        done.append(name)

    for name in spec:
        visit(name, ())
    return done


def check_sizes(name: str, node: Node, made: Trial, trial: Trial) -> None:
    """Raise GraphError where a node that keeps its weights would read other sizes than it was made for."""
    if node.kind == "task":
        sizes = {"": (made.reads, trial.reads)}
    else:
        sizes = {f" of '{key}'": (made.inputs[key], shape) for key, shape in trial.inputs.items() if key in made.inputs}
    for of, (was, would) in sizes.items():
        if was != would:
            raise GraphError(
                f"{node.kind} '{name}' was made for size {_size(was, would)}{of} and would read {_size(would, was)}: "
                "keep that size, or remove it first"
            )


def _size(output: Output, other: Output) -> str:
    return str(output.shape if output.shape != other.shape else output)


def check_limits(name: str, spec: Spec) -> None:
    """Raise GraphError where a task is limited to something that is no sense below it."""
    senses = {key for key in below(spec, name) if spec[key].kind == "sense"}
    if strange := [key for key in spec[name].senses if key not in senses]:
        read = listed(sorted(senses))
        raise GraphError(f"task '{name}' can't be limited to {listed(strange)}: it reads the senses {read}")


def check_views(name: str, node: Node, kind: Kind, encoded: Shape, views: Views) -> None:
    """Raise GraphError where views are not those of a sense, or questions not those of a task, by their shapes."""
    if node.kind != kind:
        raise GraphError(f"'{name}' is a {node.kind} and no {kind}")
    shape, numbers = ("frame", "pose") if kind == "sense" else ("target", "query")
    wanted = tuple(node.options[shape]), node.options[numbers]
    given = tuple(views.frames.shape[2:]), views.cameras.shape[2]
    if isinstance(views, EncodedViews):
        wanted = encoded, given[1]
    if given != wanted:
        raise GraphError(
            f"{kind} '{name}' has {shape} {wanted[0]} and {numbers} {wanted[1]}, "
            f"and was given {given[0]} and {given[1]}"
        )


def renamed(spec: Spec, old: str, new: str) -> dict[str, Node]:
    """Return the nodes with another name for one of them, wherever it stands."""

    def named(*names: str) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    return {
        named(key)[0]: replace(
            node, inputs=named(*node.inputs), senses=named(*node.senses), tied_to=named(node.tied_to)[0]
        )
        for key, node in spec.items()
    }


def below(spec: Spec, name: str) -> set[str]:
    """Return a node and all that it reads, directly or not."""
    found, left = set(), [name]
    while left:
        if (key := left.pop()) not in found:
            found.add(key)
            left += spec[key].inputs
    return found


def listed(names: Iterable[str]) -> str:
    """Return names for a message."""
    return ", ".join(f"'{name}'" for name in names) or "none"


def to_plain(spec: Spec) -> dict[str, dict[str, dict[str, Any]]]:
    """Return nodes as a file has them: by section, plain values, without those that are the default."""

    def plain(node: Node) -> dict[str, Any]:
        told = {f.name: getattr(node, f.name) for f in fields(Node)[3:] if getattr(node, f.name) != f.default}
        own = {WORDS[node.kind]: node.network, **node.options}
        if node.tied_to:
            own = {}
            told.pop("frozen", None)
        inputs = {"inputs": told.pop("inputs")} if "inputs" in told else {}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in (inputs | own | told).items()}

    sections = {s: {n: plain(node) for n, node in spec.items() if node.kind == kind} for s, kind in SECTIONS.items()}
    return {section: nodes for section, nodes in sections.items() if nodes}


def from_plain(values: Any) -> dict[str, Node]:
    """Return nodes from plain values, the inverse of `to_plain`. Raises GraphError for values that make no graph."""
    if not isinstance(values, Mapping) or not set(values) <= set(SECTIONS):
        raise GraphError(f"a graph has {listed(SECTIONS)}, each with nodes by name; found {values!r:.80}")
    spec: dict[str, Node] = {}
    for section, kind in SECTIONS.items():
        nodes = {} if values.get(section) is None else values[section]
        if not isinstance(nodes, Mapping):
            raise GraphError(f"'{section}' has nodes by name; found {nodes!r:.80}")
        for name, told in nodes.items():
            if name in spec:
                raise GraphError(f"'{name}' is the name of two nodes")
            spec[str(name)] = node_from_plain(kind, str(name), told)
    return spec


def node_from_plain(kind: Kind, name: str, values: Any) -> Node:
    """Return one node from the values that a file or a call names. Raises GraphError."""
    if not isinstance(values, Mapping):
        raise GraphError(f"{kind} '{name}': expected its {WORDS[kind]} and options by name, found {values!r:.80}")
    known = {f.name for f in fields(Node)[3:]}
    told = {key: value for key, value in values.items() if key in known}
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key not in known}
    network = options.pop(WORDS[kind], "")
    for key in {"inputs", "senses"} & set(told):
        told[key] = (told[key],) if isinstance(told[key], str) else told[key]
    if told.get("tied_to") and (network or options):
        own = listed(key for key in values if key not in known)
        raise GraphError(f"{kind} '{name}' is tied to '{told['tied_to']}' and takes no {own} of its own")
    if kind == "sense":
        options.setdefault("pose", CAMERA_NUMBERS)
    if kind == "task":
        options.setdefault("query", 0)
    plain = {"kind": kind, "network": network, "options": options, **told}
    try:
        return dacite.from_dict(Node, plain, dacite.Config(strict=True, cast=[tuple]))
    except (dacite.DaciteError, TypeError) as error:
        raise GraphError(f"{kind} '{name}': {error}") from None
