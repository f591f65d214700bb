"""The pages: what they link to exists, what they tell the reader to run runs, and they name every public name."""

import os
import pydoc
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from front_door import CLIENT, run_script, served
from posed_scenes import drawn, matrices, nerfstudio

import gqn
from gqn.training.config import Config, to_dict

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = sorted((ROOT / "results").glob("*/README.md"))
MARKED = re.compile(r"<!-- not run: .+ -->")
# Appended to every call of a script: the command of a page runs as it stands, on few scenes and for few steps.
SMALL = {
    "run-gqn.py": "--steps 2 --batch 2 --queries 1 --eval-scenes 2 --samples 2 --device cpu",
    "generate-scenes.py": "--scenes 12 --test-scenes 8 --workers 1",
}
# `data.sh` ends its command by -- and names, so an option of its converter goes in front. Networks are made small, but
# not the one that begins with the weights of the library.
PYTHON = """#!/bin/sh
case "$1" in
*tfrecord-converter.py) script=$1; shift; set -- "$script" --workers 1 "$@" ;;
{cases}
esac
case "$*" in *" paper "*) set -- "$@" --representation-channels 8 ;; esac
case "$*" in *on-shipped*) ;; *run-gqn.py*) set -- "$@" --side 8 --hidden 8 --canvas 8 --generation-steps 2 ;; esac
case "$1" in *.py) set -- -c {client} {address} "$@" ;; esac
exec {python} "$@"
"""


class Block(NamedTuple):
    """A block of commands of a page: its language, its text, and whether the page says that it is not run."""

    language: str
    text: str
    marked: bool


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of sh and python of a page."""
    before, language, text = "", "", ""
    for line in page.read_text().splitlines():
        if language:
            if not line.startswith("```"):
                text += line + "\n"
                continue
            if language in ("sh", "python"):
                yield Block(language, text, bool(MARKED.fullmatch(before)))
            language = text = ""
        elif line.startswith("```"):
            language = line[3:] or "text"
            continue
        before = line.strip() or before


def to_run(page: Path) -> list[Block]:
    """Return the blocks that a reader is told to run, without the README's two commands, which .ci/run runs."""
    return [block for block in list(blocks(page))[2 if page.name == "README.md" else 0 :] if not block.marked]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout in which few scenes and photographs are drawn and two networks have trained for two steps."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("gqn", "scripts", "run-gqn.py", "data.sh", "gpu.sh"):
        (place / name).symlink_to(ROOT / name)
    for name in ("results", "diagrams"):
        shutil.copytree(ROOT / name, place / name)
    for name, size in (("shepard_metzler_5_parts_32", 32), ("shepard_metzler_5_parts", 64), ("sm5_64", 64)):
        options = {"name": name, "test_scenes": 8, "size": size, "workers": 1, "progress": False}
        folder = gqn.generate("shepard_metzler_5_parts", place / "data", 12, 0, **options)
        gqn.convert(folder, 100, workers=1, progress=False)
    frames, cameras = drawn(views=30)
    nerfstudio(place / "photos", frames, matrices(cameras))
    for preset, name in (("quick", "shepard_metzler_5_parts_32"), ("small", "sm5_64")):
        base = gqn.PRESETS[preset]
        config = replace(
            base,
            data=str(place / "data" / name),
            runs=str(place / "runs"),
            model=replace(base.model, side=8, hidden=8, canvas=8, generation_steps=2),
            training=replace(base.training, steps=1, batch=2, queries=1),
            evaluation=replace(base.evaluation, eval_scenes=2, samples=2),
        )
        gqn.train(config)
    cases = "\n".join(f'*{script}) set -- "$@" {options} ;;' for script, options in SMALL.items())
    with served() as address:
        python = place / "python"
        python.write_text(
            PYTHON.format(cases=cases, python=sys.executable, client=shlex.quote(CLIENT), address=address)
        )
        python.chmod(0o755)
        yield place


def failures(page: Path, checkout: Path, folder: Path) -> list[str]:
    """Run the shell's blocks, then the Python blocks as one program, and return what fails."""
    place = folder / "checkout"
    shutil.copytree(checkout, place, symlinks=True)
    environment = {
        **os.environ,
        "PATH": f"{place}:{os.environ['PATH']}",
        "PYTHON": str(place / "python"),
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
    }
    texts = {kind: "\n".join(b.text for b in to_run(page) if b.language == kind) for kind in ("sh", "python")}
    shell = ["bash", "-eu", "-c", texts["sh"]]
    program = folder / "page.py"
    program.write_text(texts["python"])
    runs = (
        subprocess.run(shell, cwd=place, env=environment, capture_output=True, text=True, timeout=900),
        run_script(program, folder=place, environment=environment),
    )
    told = zip(texts.values(), runs, strict=True)
    return [f"{text}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}" for text, run in told if run.returncode]


@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=lambda page: page.stem)
def test_commands_of_a_page_run(page: Path, checkout: Path, tmp_path: Path) -> None:
    assert not failures(page, checkout, tmp_path)


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_the_readme_begins_with_the_two_commands() -> None:
    first, second = list(blocks(ROOT / "README.md"))[:2]
    assert first.text.startswith("python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run-gqn.py")
    assert second.text.startswith(
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"
    )


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *RESULTS],
    ids=lambda page: f"{page.parent.name}/{page.name}",
)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    paths = [link.partition("#")[0] for link in links if not re.match(r"\w+://", link)]
    assert not [path for path in paths if path and not (page.parent / path).exists()]


def test_every_folder_of_results_says_how_it_is_made() -> None:
    for folder in (path for path in (ROOT / "results").iterdir() if path.is_dir()):
        assert any(block.language == "sh" for block in blocks(folder / "README.md")), folder


def test_extras_that_the_pages_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name
        for page in PAGES
        for block in blocks(page)
        for found in re.findall(r"'\.\[(.+?)\]'", block.text)
        for name in found.split(",")
    }
    assert named <= set(extras)


def test_options_of_the_trainer_that_the_pages_name_exist() -> None:
    """Of commands that are not run too."""
    options = {
        name for key, value in to_dict(Config()).items() for name in (value if isinstance(value, dict) else [key])
    }
    options |= {"resume", "dry_run", "help"} | {f"no_{name}" for name in options}
    for page in [*PAGES, *RESULTS]:
        for block in blocks(page):
            for command in re.findall(r"run-gqn\.py((?:\\\n|[^\n#&;])*)", block.text):
                named = {name.replace("-", "_") for name in re.findall(r"--([a-z-]+)", command)}
                assert named <= options, f"{page}: {named - options}"


def test_the_api_reference_has_every_public_name() -> None:
    page = (ROOT / "docs/api.md").read_text()
    homes = re.findall(r"from \.(\S+) import (\w+)", (ROOT / "gqn/__init__.pyi").read_text())
    assert {name for _, name in homes} == set(gqn.__all__) - {"__version__"}
    assert not [name for module, name in homes if f"~gqn.{module}.{name}\n" not in page]


def test_names_of_the_library_that_the_pages_name_exist() -> None:
    named = {name for page in [*PAGES, *RESULTS] for name in re.findall(r"`(gqn\.[\w.]+)", page.read_text())}
    for name in named:
        assert pydoc.locate(name.rstrip(".")) is not None, name


def test_the_walk_along_a_batch_names_each_function_once() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    walk = page.partition("## A walk")[2].partition("\n## ")[0]
    names = re.findall(r"`(gqn\.[\w.]+)`", walk)
    assert len(names) > 20
    assert len(names) == len(set(names))


def test_files_that_the_pages_send_a_reader_to_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:gqn|tests|scripts|results|diagrams)/[\w./-]*)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page}: {path}"
