"""Imports inside gqn/ point one way."""

import ast
from pathlib import Path

import pytest

import gqn

ROOT = Path(__file__).resolve().parent.parent

# A module may import from the lines above its own, and from no other.
TIERS = [
    [
        "files",
        "signals",
        "extras",
        "charts",
        "tables",
        "camera",
        "batch",
        "layers",
        "objective",
        "distributed",
        "data.stream",
    ],
    ["volume"],
    [
        "scenes.textures",
        "scenes.solids",
        "scenes.kinova",
        "data.workers",
        "data.tfrecord",
        "data.batches",
        "representation",
        "generator",
        "comparison",
    ],
    ["scenes.render", "data.dataset", "senses"],
    ["scenes.senses", "data.labels", "data.survey", "data.shards", "data.fetch", "data.foreign"],
    ["scenes.family", "fusion", "heads", "gqn", "data.plan"],
    ["scenes.shepard_metzler", "scenes.rooms"],
    ["scenes.mazes", "scenes.jaco"],
    ["scenes", "scenes.arm", "scenes.reaching"],
    ["nodes"],
    ["graph_file", "diagram"],
    ["recursive"],
    ["data.convert", "data.generate", "config"],
    ["data.prepare", "checkpoint", "provenance"],
    ["evaluation", "data.graph_batches"],
    [
        "metrics",
        "likelihood",
        "plots",
        "trials",
        "subject",
        "graph_evaluation",
        "data.graph_scenes",
        "data.task_scenes",
    ],
    ["training", "probes", "rotation", "conditions"],
    ["assessment", "graph_training", "transfer", "recipes"],
    ["transfer_report", "transfer_probes", "agent"],
    ["transfer_smoke"],
    [""],  # gqn/__init__.py, which imports by name
]
NEVER = [
    ("scenes", "data"),  # a generator of scenes knows nothing of files
    ("representation", "config"),
    ("generator", "config"),
    ("gqn", "config"),
    ("recursive", "config"),  # networks take plain arguments
]


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT / "gqn").with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".")


MODULES = {module_name(path): path for path in sorted((ROOT / "gqn").rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Full names of everything that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules_of(names: set[str]) -> set[str]:
    """The modules of gqn that lie behind full names, which may go on with a name inside the module."""
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "gqn":
            found.add(next(m for n in range(len(parts), 0, -1) if (m := ".".join(parts[1:n])) in MODULES))
    return found


def tier(module: str) -> int:
    return next(number for number, modules in enumerate(TIERS) if module in modules)


def test_every_module_has_its_place() -> None:
    placed = [module for modules in TIERS for module in modules]
    assert sorted(placed) == sorted(set(MODULES) - {"data"})
    assert not imported(MODULES["data"])


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"data"}))
def test_imports_point_one_way(module: str) -> None:
    names = imported(MODULES[module])
    assert not {name for name in names if name.split(".")[0] in ("tensorflow", "scripts", "tests")}
    for other in modules_of(names) - {"data"}:
        # The package itself holds the version, which anyone may read.
        assert other == "" or tier(other) < tier(module), f"{module} imports {other}"
        assert not any(module.startswith(low) and other.startswith(high) for low, high in NEVER)


def test_a_notebook_has_every_name() -> None:
    for name in gqn.__all__:
        assert getattr(gqn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gqn.nothing
