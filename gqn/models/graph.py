"""The recursive GQN: a graph of senses, representations and tasks, each a node with a name. ::

    senses             observations encoded, and summed over views     layer 1
    representations    other nodes encoded, and fused                  layer 2 and up
    tasks              decoded from a sense or a representation        leaves

The flat network (`gqn.models.gqn`) is one sense and one task. Every edit is checked when it is made; where it raises
GraphError, the graph is as it was. Nodes that an edit does not name keep their weights to the bit.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gqn.core.camera import CAMERA_NUMBERS, CAMERA_RECORDED, camera_vector
from gqn.core.checked import checked
from gqn.core.views import Batch, EncodedViews, Views, tensor_of
from gqn.models import diagram
from gqn.models.fusion import Fusion, Value
from gqn.models.graph_file import read_graph_file, write_graph_file
from gqn.models.heads import Answer, Head
from gqn.models.nodes import (
    SECTIONS,
    Description,
    GraphError,
    Node,
    Trial,
    attempt,
    below,
    build,
    check_limits,
    check_sizes,
    check_views,
    data_of,
    from_plain,
    listed,
    node_from_plain,
    ordered,
    renamed,
    to_plain,
    with_owner,
)
from gqn.models.outputs import Output
from gqn.models.senses import Sense


class RecursiveGQN(nn.Module):
    """A graph of senses, representations and tasks; empty at first.

    Attributes:
        spec: the description of each node, by name (`gqn.models.nodes.Node`).
        trials: its shapes and costs.
        nodes: its module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec: dict[str, Node] = {}
        self.trials: dict[str, Trial] = {}
        self.nodes = nn.ModuleDict()

    @classmethod
    def from_dict(cls, values: Any) -> "RecursiveGQN":
        """Return the untrained graph of plain values.

        Args:
            values: nodes by name, by section, as `to_dict` gives them.

        Raises:
            GraphError: where they are no graph.
        """
        graph = RecursiveGQN()
        spec = from_plain(values)
        for name in spec:
            graph._check_free(name)
        graph._settle(spec)
        return graph

    def to_dict(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the graph without its weights, as plain values: nodes by name, by section."""
        return to_plain(self.spec)

    @classmethod
    def from_file(cls, path: str | Path) -> "RecursiveGQN":
        """Return the untrained graph of a file.

        Args:
            path: a YAML or JSON file as `to_file` writes it.

        Raises:
            GraphError: where the file cannot be read or holds no graph; it names the file.
        """
        values = read_graph_file(path)
        try:
            return cls.from_dict(values)
        except GraphError as error:
            raise GraphError(f"{path}: {error}") from None

    def to_file(self, path: str | Path) -> None:
        """Write the graph without its weights as YAML, or as JSON where the name ends so."""
        write_graph_file(path, self.to_dict())

    def describe(self) -> Description:
        """Return the graph as it is now, for `gqn.models.diagram`."""
        return Description(dict(self.spec), dict(self.trials))

    def _repr_svg_(self) -> str:
        """Return the picture by which a notebook shows the graph."""
        return diagram.picture(diagram.draw(self.describe()), "svg").decode()

    # Growing

    def add_sense(self, name: str, encoder: str = "", **options: Any) -> None:
        """Add a sense.

        Args:
            name: of the new node.
            encoder: a name of `gqn.models.senses.SENSES`; none for a sense that is tied to another.
            options: frame, the shape of an observation; pose, the numbers of the pose that it was made from (7);
                aggregate and normalise, see `gqn.models.senses.aggregate_views`; tied_to, data and frozen, see
                `gqn.models.nodes.Node`; and the encoder's own.

        Raises:
            GraphError: where the node does not fit.
        """
        self._add("sense", name, {"encoder": encoder, **options})

    def add_representation(self, name: str, inputs: Iterable[str], encoder: str = "mlp", **options: Any) -> None:
        """Add a representation of other nodes.

        Args:
            name: of the new node.
            inputs: the senses and representations that it reads.
            encoder: a name of `gqn.models.fusion.ENCODERS`.
            options: channels, fusion and dropout, see `gqn.models.fusion.Fusion`; frozen; and the encoder's own.

        Raises:
            GraphError: where the node does not fit.
        """
        self._add("representation", name, {"encoder": encoder, "inputs": inputs, **options})

    def add_task(self, name: str, head: str = "", inputs: Iterable[str] = (), **options: Any) -> None:
        """Add a task.

        Args:
            name: of the new node.
            head: a name of `gqn.models.heads.HEADS`; none for a task that is tied to another.
            inputs: the senses and representations whose sum it reads.
            options: target, the shape of an answer; query, the numbers of a query (0); senses, tied_to, data, weight
                and frozen, see `gqn.models.nodes.Node`; and the head's own.

        Raises:
            GraphError: where the node does not fit.
        """
        self._add("task", name, {"head": head, "inputs": inputs, **options})

    def _add(self, kind: Any, name: str, values: dict[str, Any]) -> None:
        self._check_free(name)
        self._settle({**self.spec, name: node_from_plain(kind, name, values)})

    # Editing

    def attach(self, name: str, *inputs: str) -> None:
        """Let a representation or a task read further nodes; a representation gets an encoder for each.

        Args:
            name: of the representation or task.
            inputs: names of the senses and representations that it is to read too.

        Raises:
            GraphError: where there is no such node, it is read already, or it does not fit.
        """
        node = self._node(name)
        for key in inputs:
            self._node(key)
        if again := [key for key in inputs if key in node.inputs]:
            raise GraphError(f"'{name}' reads {listed(again)} already")
        self._settle({**self.spec, name: replace(node, inputs=(*node.inputs, *inputs))})

    def detach(self, name: str, *inputs: str) -> None:
        """Let a representation or a task no longer read some nodes; a representation loses their encoders.

        Args:
            name: of the representation or task.
            inputs: names of nodes that it reads.

        Raises:
            GraphError: where it does not read them, or nothing would be left to read.
        """
        node = self._node(name)
        if unread := [key for key in inputs if key not in node.inputs]:
            raise GraphError(f"'{name}' does not read {listed(unread)}; it reads {listed(node.inputs)}")
        self._settle({**self.spec, name: replace(node, inputs=tuple(k for k in node.inputs if k not in inputs))})

    def replace(self, name: str, network: str = "", **options: Any) -> None:
        """Give a node another network or other options, and new weights in any case; its place in the graph stays.

        Args:
            name: of the node.
            network: its new encoder or head; none for its own, whose options stay where no others are given.
            options: the new network's. The shapes of the data (frame, pose, target, query) stay in any case where no
                others are given.

        Raises:
            GraphError: where the node is tied to another, or does not give those who read it the same shape.
        """
        node = self._node(name)
        if node.tied_to:
            raise GraphError(f"'{name}' has no network of its own: replace '{node.tied_to}', to which it is tied")
        shapes = {key: node.options[key] for key in ("frame", "pose", "target", "query") if key in node.options}
        kept = shapes if network else node.options
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
        node = replace(node, network=network or node.network, options={**kept, **options}, frozen=False)
        self._settle({**self.spec, name: node}, anew=name)

    def remove(self, *names: str) -> None:
        """Remove nodes that no other node needs.

        Args:
            names: of the nodes.

        Raises:
            GraphError: where there is no such node, or one that stays needs it.
        """
        for name in names:
            self._node(name)
        for key, node in self.spec.items():
            needed = [name for name in names if name in (*node.inputs, *node.senses, node.tied_to)]
            if needed and key not in names:
                raise GraphError(f"'{key}' needs {listed(needed)}: remove it too, or detach it first")
        self._settle({key: node for key, node in self.spec.items() if key not in names})

    def rename(self, old: str, new: str) -> None:
        """Give a node another name, wherever it is named.

        Args:
            old: its name.
            new: a name that no node has.

        Raises:
            GraphError: where there is no such node, or the new name is taken or no name of a node.
        """
        self._node(old)
        self._check_free(new)

        self.spec = renamed(self.spec, old, new)
        self.trials = {
            key: trial._replace(inputs=dict(zip(self.spec[key].inputs, trial.inputs.values(), strict=True)))
            for key, trial in zip(self.spec, self.trials.values(), strict=True)
        }
        self.nodes = _renamed(self.nodes, old, new)
        for module in self.nodes.values():
            if isinstance(module, Fusion):
                module.encoders = _renamed(module.encoders, old, new)

    def freeze(self, *names: str) -> None:
        """Let nodes no longer learn, all where none is named: no gradient, evaluation mode, no change of a buffer.

        A node that is frozen together with all that it reads runs without autograd, and a frozen sense can be encoded
        beforehand (`encode_views`).

        Args:
            names: of nodes; all where none is named.

        Raises:
            GraphError: where there is no such node.
        """
        self._freeze(names, True)

    def unfreeze(self, *names: str) -> None:
        """Let nodes learn again.

        Args:
            names: of nodes; all where none is named.

        Raises:
            GraphError: where there is no such node.
        """
        self._freeze(names, False)

    def _freeze(self, names: Iterable[str], frozen: bool) -> None:
        owners = {self._node(name).tied_to or name for name in names} or set(self.spec)
        self._settle({k: replace(node, frozen=frozen) if k in owners else node for k, node in self.spec.items()})

    def _node(self, name: str) -> Node:
        if not isinstance(name, str) or name not in self.spec:
            raise GraphError(f"no node '{name}'; there are {listed(self.spec)}")
        return self.spec[name]

    def _check_free(self, name: str) -> None:
        if not isinstance(name, str):
            raise GraphError(f"a node's name is {name!r:.60}: a word is wanted")
        if name in self.spec:
            raise GraphError(f"there is a node '{name}' already: choose another name, or replace or rename that one")
        if not re.fullmatch(r"[\w+-]+", name) or hasattr(nn.ModuleDict(), name):
            raise GraphError(
                f"no node can be named '{name}': use letters, digits, _, + and -, and no word of PyTorch's"
            )

    def _settle(self, spec: Mapping[str, Node], anew: str = "") -> None:
        """Make the graph what `spec` says, or raise GraphError; `anew`: a node that gets new weights."""
        # In a file's order, so that a graph and its copy from a file number their weights alike: optimizers do.
        kinds = list(SECTIONS.values())
        in_order = sorted(spec.items(), key=lambda item: kinds.index(item[1].kind))
        spec = {name: with_owner(name, node, spec) for name, node in in_order}
        order = ordered(spec)
        trials: dict[str, Trial] = {}
        for name in order:
            trials[name] = self._try(name, spec, trials, anew)
            check_limits(name, spec)
        modules: dict[str, nn.Module] = {}
        for name in order:
            node = spec[name]
            modules[name] = modules[node.tied_to] if node.tied_to else self._module(name, node, trials[name], anew)
        self.spec, self.trials = spec, {name: trials[name] for name in spec}
        self.nodes = nn.ModuleDict({name: modules[name] for name in spec})
        for name, node in spec.items():
            self.nodes[name].requires_grad_(not node.frozen)
        self.train(self.training)

    def _try(self, name: str, spec: Mapping[str, Node], trials: Mapping[str, Trial], anew: str) -> Trial:
        """Return a node's trial, the known one where it holds. Raises GraphError where kept weights do not fit."""
        node = spec[name]
        inputs = {key: cast(Output, trials[key].output) for key in node.inputs}
        made = self.trials.get(name) if name != anew else None
        if made:
            before = self.spec[name]
            if (before.network, before.options, made.inputs) == (node.network, node.options, inputs):
                return made
        trial = attempt(name, node, inputs)
        if owner := trials.get(node.tied_to) or made:
            check_sizes(name, node, owner, trial)
        return trial

    def _module(self, name: str, node: Node, trial: Trial, anew: str) -> nn.Module:
        """Return a node's module: the one that it has, or a new one with the parts of the old that can be kept."""
        kept = self.nodes[name] if name in self.nodes and name != anew else None
        reads = set(kept.encoders) if isinstance(kept, Fusion) else set()
        if kept is not None and (node.kind == "task" or reads == set(node.inputs)):
            return kept  # a task reads the sum of its inputs, whichever they are
        module = build(node, trial.inputs).to(next(self.parameters(), torch.empty(0)).device)
        if isinstance(kept, Fusion) and isinstance(module, Fusion):
            module.encoders.update({key: part for key, part in kept.encoders.items() if key in node.inputs})
        return module

    def train(self, mode: bool = True) -> "RecursiveGQN":
        """Set training or evaluation mode; frozen nodes stay in evaluation mode."""
        super().train(mode)
        for name, node in self.spec.items():
            if node.frozen:
                self.nodes[name].eval()
        return self

    def learning(self) -> list[str]:
        """Return the tasks by which something would learn: a head, or a node that it reads."""
        tasks = (name for name, node in self.spec.items() if node.kind == "task")
        return [name for name in tasks if any(not self.spec[key].frozen for key in below(self.spec, name))]

    def check_whole(self) -> None:
        """Raise GraphError where a sense or a representation leads to no task, or there is none."""
        read = set().union(*(below(self.spec, name) for name, node in self.spec.items() if node.kind == "task"))
        if orphans := [name for name in self.spec if name not in read]:
            raise GraphError(f"{listed(orphans)} lead to no task: add one that reads them, or remove them")
        if not read:
            raise GraphError("the graph has no task: add one")

    # Computing

    def forward(self, batch: Batch) -> dict[str, Answer]:
        """Return answers by task, for training: a posterior sees the target.

        Args:
            batch: observations by sense, and of each task that is asked the queries and the targets.

        Returns:
            An `Answer` of each task: mean (b, q, ...), KL (b, q, L) in nats, and distribution.

        Raises:
            GraphError: where views do not have the shapes of their node.
        """
        if not isinstance(batch, Batch):  # which torch.compile looks through, as it does not through `checked`
            raise GraphError(f"a Batch is wanted, not {type(batch).__name__}")
        memory: Memory = {}
        answers = {}
        for name, views in batch.tasks.items():
            check_views(name, self._node(name), "task", self.trials[name].shape, views)
            r = self._read(name, batch.senses, views.cameras, memory)
            informed = self.informed(name, batch.senses, views)
            with self._autograd(name):
                more = () if informed is None else (informed,)
                answers[name] = self.nodes[name](views.cameras, r, views.known(), *more)
        return answers

    @torch.no_grad()
    def informed(self, task: str, senses: Mapping[str, Views], answers: Views) -> Tensor | None:
        """Return what a task's head would read if the answers were among the observations, (b, c, h, w).

        The senses learn nothing by it. None for a head without a posterior that takes it.

        Args:
            task: its name.
            senses: observations by sense.
            answers: queries and answers of the task, which are views of the senses that observe the same data.

        Raises:
            GraphError: where no sense observes what the task answers, or one is encoded already.
        """
        if not cast(Head, self.nodes[task]).informed:
            return None
        observing = [
            key
            for key in below(self.spec, task)
            if self.spec[key].kind == "sense" and data_of(key, self.spec[key]) == data_of(task, self.spec[task])
        ]
        if not observing:
            raise GraphError(f"'{task}' has a latent of the scene, and reads no sense that observes what it answers")
        if encoded := [key for key in observing if isinstance(senses.get(key), EncodedViews)]:
            raise GraphError(f"'{task}' joins its answers to the views of {listed(encoded)}: give them unencoded")
        more = {key: senses[key].and_views(answers) if key in senses else answers for key in observing}
        return self._read(task, {**senses, **more}, answers.cameras, {})

    @checked
    @torch.no_grad()
    def sample(
        self, senses: Mapping[str, Views] | Views, query: Tensor | ArrayLike, samples: int = 1, task: str = ""
    ) -> Tensor:
        """Return answers to queries without sight of a target; of `render`, mean frames under latents of the prior.

        Args:
            senses: context views by sense; or the views alone, where there is one sense.
            query: (b, q, k), for `render` the cameras, by their 7 numbers or as recorded.
            samples: how many answers to each query.
            task: name of the task; not needed where there is one.

        Returns:
            (samples, b, q, ...); of `render`, pixel values of about 0 to 1.

        Raises:
            GraphError: where there is no such task, or views and queries do not have the shapes of their nodes.
        """
        task = task or self._only("task")
        if self._node(task).kind != "task" or samples < 1:
            raise GraphError(f"{samples} samples of '{task}': 1 or more of a task are wanted")
        numbers = self._node(task).options["query"]
        if not isinstance(query, Tensor):
            query = tensor_of("queries", query).to(next(self.parameters()).device)
        if (self._node(task).network, numbers) == ("render", CAMERA_NUMBERS) and query.shape[-1:] == (CAMERA_RECORDED,):
            query = camera_vector(query)
        if query.dim() != 3 or query.shape[2] != numbers or not query.is_floating_point() or not query.shape[1]:
            raise GraphError(
                f"queries {tuple(query.shape)} of {query.dtype}: (scenes, queries, {numbers}) numbers are wanted"
            )
        query = query.to(next(self.parameters()).dtype)
        if query.device.type == "cpu" and not query.isfinite().all():  # where to ask costs no wait for the device
            raise GraphError("queries are not finite")
        head = cast(Head, self.nodes[task])
        r = self._read(task, self._by_sense(senses), query, {})
        return torch.stack([head.sample(query, r) for _ in range(samples)])  # one at a time: memory

    @checked
    @torch.no_grad()
    def read(
        self, senses: Mapping[str, Views] | Views, tasks: Iterable[str] = (), scenes: int = 1
    ) -> dict[str, Tensor]:
        """Return what heads read of b scenes, (b, c, h, w), by task: encoded once, for any number of queries.

        `nodes[task].sample(query, r)` answers from it; its sums and differences are an algebra of scenes.

        Args:
            senses: context views by sense; or the views alone, where there is one sense. A sense that is left out has
                observed nothing.
            tasks: names of tasks; all where none is named.
            scenes: b, for which there are no views to tell it where `senses` is empty.

        Raises:
            GraphError: where there is no such task, or views do not have the shapes of their node.
        """
        senses = self._by_sense(senses)
        names = tuple(tasks) or tuple(name for name, node in self.spec.items() if node.kind == "task")
        if wrong := [name for name in names if self._node(name).kind != "task"]:
            raise GraphError(f"{listed(wrong)} is no task: `encode` gives what a sense or a representation says")
        like = next(self.parameters()).new_zeros(scenes)
        like = next(iter(senses.values())).cameras if senses else like
        memory: Memory = {}
        return {name: self._read(name, senses, like, memory) for name in names}

    @checked
    def encode(self, senses: Mapping[str, Views] | Views, name: str = "") -> Tensor:
        """Return the representation of b scenes, (b, c, h, w); the order of their views does not matter.

        In evaluation mode it has no gradient.

        Args:
            senses: context views by sense; or the views alone, where there is one sense. A scene without views, but
                with a batch axis, gets what a sense says that has observed nothing: zeros, but for a volume.
            name: of a sense or a representation; not needed where there is one sense.

        Raises:
            GraphError: where there is no such node, or views do not have the shapes of their node.
        """
        senses, name = self._by_sense(senses), name or self._only("sense")
        if not senses or self._node(name).kind == "task":
            raise GraphError(f"'{name}' can't be encoded: name a sense or a representation, and give views")
        self._check_senses(senses)
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return self._value(name, senses, next(iter(senses.values())).cameras, {}).r

    def _only(self, kind: str) -> str:
        """Return the name of the one node of a kind. Raises GraphError where there are others."""
        names = [name for name, node in self.spec.items() if node.kind == kind]
        if len(names) != 1:
            raise GraphError(f"name one of the graph's {kind}s: {listed(names)}")
        return names[0]

    def _by_sense(self, senses: Mapping[str, Views] | Views) -> Mapping[str, Views]:
        given = {self._only("sense"): senses} if isinstance(senses, Views) else senses
        for name, views in given.items():
            if isinstance(views, Views) and views.cameras.device.type == "cpu" and not views.are_finite():
                raise GraphError(f"sense '{name}' was given cameras that are not finite")
        return given

    @torch.no_grad()
    def encode_views(self, senses: Mapping[str, Views]) -> dict[str, Views]:
        """Return the views with those of frozen senses encoded, which can be kept for a dataset; others as they are."""
        return {
            name: cast(Sense, self.nodes[name]).encoded(views)
            if self._node(name).frozen and not isinstance(views, EncodedViews)
            else views
            for name, views in senses.items()
        }

    def _read(self, name: str, senses: Mapping[str, Views], like: Tensor, memory: "Memory") -> Tensor:
        """Return the sum of a task's inputs, (b, c, h, w)."""
        node = self._node(name)
        self._check_senses(senses)
        if any(len(views.cameras) != len(like) for views in senses.values()):
            scenes = len(next(iter(senses.values())).cameras)
            raise GraphError(f"views of {scenes} scenes and queries of {len(like)}: give those of the same scenes")
        seen = {key: views for key, views in senses.items() if key in (node.senses or senses)}
        first, *others = (self._value(key, seen, like, memory).r for key in node.inputs)
        return sum(others, start=first)

    def _check_senses(self, senses: Mapping[str, Views]) -> None:
        if wrong := [key for key, views in senses.items() if not isinstance(views, Views)]:
            raise GraphError(f"senses {listed(map(str, wrong))}: Views are wanted of each")
        if len({len(views.cameras) for views in senses.values()}) > 1:
            raise GraphError(f"views of different numbers of scenes: {[len(v.cameras) for v in senses.values()]}")
        kind = next(self.parameters()).dtype
        for key, views in senses.items():
            check_views(key, self._node(key), "sense", self.trials[key].shape, views)
            given = {views.frames.dtype, views.cameras.dtype}
            if not isinstance(views, EncodedViews) and given != {kind}:
                told = ", ".join(sorted(map(str, given)))
                raise GraphError(f"sense '{key}' was given numbers of {told}, wanted are {kind}")

    def _value(self, name: str, senses: Mapping[str, Views], like: Tensor, memory: "Memory") -> Value:
        """Return the value of a node given these senses; like: any tensor (b, ...) of the batch."""
        key = name, frozenset(below(self.spec, name).intersection(senses))
        if key not in memory:
            memory[key] = self._compute(name, senses, like, memory)
        return memory[key]

    def _compute(self, name: str, senses: Mapping[str, Views], like: Tensor, memory: "Memory") -> Value:
        node, module = self.spec[name], self.nodes[name]
        if node.kind == "representation":
            inputs = {key: self._value(key, senses, like, memory) for key in node.inputs}
            with self._autograd(name):
                return module(inputs)
        views = senses[name] if name in senses else self._no_views(node, like)
        every = torch.ones(views.cameras.shape[:2], dtype=torch.bool, device=views.cameras.device)
        present = every if views.present is None else views.present
        with self._autograd(name):
            return Value(module(views), present.any(dim=1))

    @staticmethod
    def _no_views(node: Node, like: Tensor) -> Views:
        """Return the views of a sense that has observed nothing; like: any tensor (b, ...) of the batch."""
        return Views(
            *(like.new_zeros(len(like), 0, *shape) for shape in (node.options["frame"], (node.options["pose"],)))
        )

    def _autograd(self, name: str) -> torch.set_grad_enabled:
        """Return autograd's mode for a node: off where it and all below it are frozen."""
        fixed = all(self.spec[key].frozen for key in below(self.spec, name))
        return torch.set_grad_enabled(torch.is_grad_enabled() and not fixed)


Memory = dict[tuple[str, frozenset[str]], Value]


def _renamed(modules: nn.ModuleDict, old: str, new: str) -> nn.ModuleDict:
    return nn.ModuleDict({new if name == old else name: module for name, module in modules.items()})
