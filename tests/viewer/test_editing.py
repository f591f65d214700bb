"""Edits without a browser: what is undone is undone, what is refused changes nothing, what is saved can be trained."""

from collections.abc import Callable
from pathlib import Path

import pytest
from graphs import three_layers

import gqn
from gqn.models.graph_file import to_text
from gqn.models.nodes import GraphError
from gqn.viewer.editing import NEW, Editing

EDITS: dict[str, Callable[[Editing], object]] = {
    "add a task": lambda e: e.add(
        "task", "pose", "{inputs: [both], head: vector, target: [9], data: joints, weight: 2}"
    ),
    "add a representation": lambda e: e.add("representation", "third", "{inputs: [arm, both], channels: 8}"),
    "add a sense": lambda e: e.add("sense", "sound", "{encoder: spectrogram, frame: [2, 16, 20], pose: 5}"),
    "attach": lambda e: e.edit(lambda graph: graph.attach("arm", "touch")),
    "detach": lambda e: e.edit(lambda graph: graph.detach("both", "touch")),
    "freeze": lambda e: e.edit(lambda graph: graph.freeze("vision", "render")),
    "freeze all": lambda e: e.edit(lambda graph: graph.freeze()),
    "rename": lambda e: e.edit(lambda graph: graph.rename("vision", "eye")),
    "remove": lambda e: e.edit(lambda graph: graph.remove("name", "both")),
    "replace a head": lambda e: e.replace("reach", "{inputs: [arm], head: density, target: [2], components: 4}"),
    "replace what others read": lambda e: e.replace(
        "vision", "{encoder: pyramid, frame: [3, 8, 8], channels: 16, aggregate: mean}"
    ),
}
REFUSED: dict[str, tuple[Callable[[Editing], object], str]] = {
    "a name that is taken": (lambda e: e.add("sense", "arm", "{encoder: vector, frame: [3]}"), "there is a node 'arm'"),
    "no name": (lambda e: e.add("sense", "", "{encoder: vector, frame: [3]}"), "no node can be named ''"),
    "no head": (lambda e: e.add("task", "x", "{inputs: [arm], head: vektor, target: [3]}"), "no head 'vektor'; there"),
    "no inputs": (lambda e: e.add("task", "x", "{head: vector, target: [3]}"), "'x' reads nothing: name its inputs"),
    "no option": (lambda e: e.add("task", "x", "{inputs: [arm], head: vector, target: [3], wide: 1}"), "'wide'"),
    "no word": (lambda e: e.add("task", "x", "{inputs: [arm], head: vector, 3: 1}"), "task 'x': "),
    "no description": (
        lambda e: e.add("task", "x", ""),
        "task 'x': name its head and options, one a line: head: vector",
    ),
    "no YAML": (
        lambda e: e.replace("arm", "channels: [1"),
        "representation 'arm' can't be read as a node's description",
    ),
    "no node": (lambda e: e.replace("leg", "channels: 3"), "no node 'leg'"),
    "a cycle": (lambda e: e.edit(lambda graph: graph.attach("arm", "both")), "cycle: "),
    "a task as input": (lambda e: e.edit(lambda graph: graph.attach("both", "reach")), "'reach', which is a task"),
    "sums of other sizes": (lambda e: e.edit(lambda graph: graph.attach("render", "arm")), "whose sizes differ"),
    "needed by others": (lambda e: e.edit(lambda graph: graph.remove("arm")), "'both' needs 'arm'"),
    "the last input": (lambda e: e.edit(lambda graph: graph.detach("arm", "vision")), "reads nothing"),
    "an input that is none": (lambda e: e.replace("arm", "{inputs: [leg], channels: 16}"), "'leg', which is no node"),
}


@pytest.fixture(scope="module")
def opened() -> gqn.RecursiveGQN:
    return three_layers()


@pytest.fixture
def editing(opened: gqn.RecursiveGQN) -> Editing:
    return Editing(opened)


def yaml(editing: Editing) -> str:
    return to_text(editing.graph.to_dict())


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_and_undo_give_the_same_file(editing: Editing, edit: Callable[[Editing], object]) -> None:
    before = yaml(editing)
    edit(editing)
    assert yaml(editing) != before
    assert editing.marks()
    editing.undo()
    assert yaml(editing) == before
    assert not editing.marks()
    with pytest.raises(gqn.Error, match="there is nothing to take back"):
        editing.undo()


def test_edits_are_undone_one_by_one(editing: Editing) -> None:
    stages = [yaml(editing)]
    for edit in list(EDITS.values())[:6]:
        edit(editing)
        stages.append(yaml(editing))
    while len(stages) > 1:
        assert yaml(editing) == stages.pop()
        editing.undo()
    assert yaml(editing) == stages[0]


@pytest.mark.parametrize(("edit", "line"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(editing: Editing, edit: Callable[[Editing], object], line: str) -> None:
    before = yaml(editing)
    with pytest.raises(GraphError) as refused:
        edit(editing)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert yaml(editing) == before
    with pytest.raises(gqn.Error, match="there is nothing to take back"):
        editing.undo()


def test_an_edit_that_changes_nothing_needs_no_undo(editing: Editing) -> None:
    editing.edit(lambda graph: graph.unfreeze())
    editing.replace("arm", editing.description("arm"))
    with pytest.raises(gqn.Error, match="nothing to take back"):
        editing.undo()


def test_the_graph_that_was_opened_keeps_its_weights_and_itself() -> None:
    graph = three_layers()
    before, weights = graph.to_dict(), [p.clone() for p in graph.parameters()]
    editing = Editing(graph)
    editing.edit(lambda edited: edited.freeze())
    assert graph.to_dict() == before
    assert all(p.requires_grad and p.equal(was) for p, was in zip(graph.parameters(), weights, strict=True))
    assert all(p.is_meta for p in editing.graph.parameters())


def test_what_follows_from_a_change_is_marked_too(editing: Editing) -> None:
    EDITS["replace what others read"](editing)
    assert editing.marks() == dict.fromkeys(("vision", "render", "arm"), "changed")


@pytest.mark.parametrize("kind", NEW)
def test_a_suggestion_fits(editing: Editing, kind: str) -> None:
    for reads in (*editing.graph.spec, *editing.graph.spec):
        name, text = editing.suggested(kind, reads)
        editing.add(kind, name, text)
        assert editing.graph.spec[name].kind == kind


def test_what_is_saved_is_what_the_trainer_takes(editing: Editing, tmp_path: Path) -> None:
    EDITS["add a task"](editing)
    EDITS["freeze"](editing)
    path = editing.save(tmp_path / "graph.yaml")
    graph = gqn.RecursiveGQN.from_file(path)
    assert to_text(graph.to_dict()) == yaml(editing)
    learning = {name.split(".")[1] for name, p in graph.named_parameters() if p.requires_grad}
    assert learning == set(graph.spec) - {"vision", "render"}
    editing.undo()
    editing.save(path)  # its own file
    assert set(gqn.RecursiveGQN.from_file(path).learning()) == {"render", *graph.learning()}


def test_only_a_file_that_is_named_is_written(editing: Editing, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("# mine\n")
    for file, line in (
        (theirs, "theirs.yaml is there already: name another file, or remove it first"),
        (tmp_path / "graph.txt", "a graph's file ends with .yaml, .yml, .json"),
        (tmp_path / "no" / "graph.yaml", "can't be written: No such file or directory"),
    ):
        with pytest.raises(gqn.Error, match=line):
            editing.save(file)
    assert theirs.read_text() == "# mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.yaml"]


def test_what_cannot_be_trained_is_not_saved(editing: Editing, tmp_path: Path) -> None:
    assert editing.unfinished() == ""
    EDITS["add a sense"](editing)
    with pytest.raises(GraphError, match="not saved: 'sound' lead to no task: add one that reads them"):
        editing.save(tmp_path / "graph.yaml")
    editing.undo()
    EDITS["freeze all"](editing)
    with pytest.raises(GraphError, match="not saved: nothing is left to learn"):
        editing.save(tmp_path / "graph.yaml")
    assert not list(tmp_path.iterdir())
