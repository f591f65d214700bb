"""Networks that are shared: what a folder holds is what was saved, and nothing else is read or run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from conftest import REPOSITORY
from graphs import World, flat, three_layers, world

import gqn
from gqn.core.errors import Error
from gqn.core.figure import Figure
from gqn.core.views import Batch
from gqn.models.graph import RecursiveGQN
from gqn.training import checkpoint, saved
from gqn.training.config import Config, GraphConfig, TrainingConfig

SHIPPED = REPOSITORY / "gqn/weights/shepard-metzler-7-small"


def same(one: RecursiveGQN, other: RecursiveGQN) -> bool:
    """Return whether two networks are alike and predict the same to the bit."""
    weights = other.state_dict()
    equal = [torch.equal(value, weights[name]) for name, value in one.state_dict().items()]
    known = world(3)
    batch = Batch(*({name: v for name, v in part.items() if name in one.spec} for part in (known.senses, known.tasks)))
    answers = []
    for network in (one, other):
        torch.manual_seed(0)
        with torch.no_grad():
            network = network.eval().to(memory_format=torch.channels_last)
            answers.append({name: answer.mean for name, answer in network(batch).items()})
    return (
        one.spec == other.spec
        and all(equal)
        and all(torch.equal(value, answers[1][name]) for name, value in answers[0].items())
    )


def test_a_saved_network_is_the_same_to_the_bit(tmp_path: Path) -> None:
    network = three_layers()
    network.add_sense("left", tied_to="vision")  # shares its weights, which the format does not take
    network.attach("both", "left")
    network.freeze("vision")
    gqn.save(network, tmp_path / "shared")
    loaded = gqn.load(tmp_path / "shared")
    assert same(network, loaded)
    assert loaded.nodes["left"] is loaded.nodes["vision"]


def test_the_card_tells_what_the_caller_and_the_run_know(tmp_path: Path) -> None:
    config = Config(name="run", runs=str(tmp_path), device="cpu", training=TrainingConfig(steps=2, batch=2, queries=1))
    first = gqn.train(config, flat(), scenes=World(6))
    run = gqn.train(replace(config, name="on", graph=GraphConfig(start=str(first))), flat(), scenes=World(6))
    folder = gqn.save(gqn.load(run), tmp_path / "shared", run=run, licence="cc-by-4.0", data="Scenes: of *ours*.")
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["library_name"] == "gqn"
    history = json.loads((run / "metrics.json").read_text())["history"]
    for told in ("Scenes: of *ours*.", "2 steps", f"{history[-1]['tasks']['render']['context_gain_db']:.4g}"):
        assert told in text
    assert (folder / "picture.png").read_bytes() == (run / "predictions.png").read_bytes()
    assert "](picture.png)" in text
    assert str(tmp_path) not in (folder / "config.json").read_text() + text
    again = gqn.save(gqn.load(folder), tmp_path / "again", run=folder, picture=Figure())
    assert checkpoint.read(again)["config"]["training"]["steps"] == 2
    assert (again / "picture.png").read_bytes()[:4] == b"\x89PNG"


def edited(folder: Path, **values: Any) -> None:
    path = folder / saved.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change the weights and describe them truly."""
    data = safetensors.torch.save(change(safetensors.torch.load_file(folder / saved.FILE)))
    (folder / saved.FILE).write_bytes(data)
    edited(folder, sha256=sha256(data).hexdigest())


def of_other_sizes(folder: Path) -> None:
    graph = json.loads((folder / saved.CONFIG).read_text())["graph"]
    graph["senses"]["vision"]["channels"] = 2**40  # more than any memory holds
    edited(folder, graph=graph)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda f: os.truncate(f / saved.FILE, 1000), "model.safetensors is damaged or not what config.json"),
    "no weights": (lambda f: (f / saved.FILE).unlink(), "has no model.safetensors"),
    "no description": (lambda f: (f / saved.CONFIG).unlink(), "has no config.json"),
    "no JSON": (lambda f: (f / saved.CONFIG).write_text("{"), "describes no network"),
    "deep JSON": (lambda f: (f / saved.CONFIG).write_text("[" * 10**5), "describes no network"),
    "a later format": (lambda f: edited(f, format=2), "describes no network of format 1"),
    "no graph": (lambda f: edited(f, graph=3), "without its graph"),
    "another graph": (lambda f: edited(f, graph=three_layers().to_dict()), "not those of its graph"),
    "huge": (of_other_sizes, "shared: "),
    "other shapes": (lambda f: weigh(f, lambda w: {k: v[None] for k, v in w.items()}), "not those of its graph"),
    "a weight less": (lambda f: weigh(f, lambda w: dict(list(w.items())[1:])), "is missing"),
    "whole numbers": (lambda f: weigh(f, lambda w: {k: v.long() for k, v in w.items()}), "numbers of another kind"),
    "a head of one's own": (
        lambda f: edited(f, graph={**flat().to_dict(), "tasks": {"t": {"head": "os.system", "inputs": ["vision"]}}}),
        "no head 'os.system'",
    ),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line(
    damage: Callable[[Path], Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = gqn.save(flat(), tmp_path / "shared")
    damage(folder)
    with pytest.raises(Error, match=re.escape(told)) as error:
        gqn.load(folder)
    assert "\n" not in str(error.value)
    assert "shared" in str(error.value)


def test_a_pickle_in_the_folder_is_not_read(tmp_path: Path) -> None:
    """Of a name by which others keep theirs: nothing is read but two files."""
    folder = gqn.save(flat(), tmp_path / "shared")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % bytes(tmp_path / "harm"))
    (folder / "gqn.py").write_text("raise SystemExit")
    gqn.load(folder)
    assert not (tmp_path / "harm").exists()


def test_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"preset": "quick"}')  # as a run has it
    with pytest.raises(Error, match="holds something else"):
        gqn.save(flat(), run)
    with pytest.raises(Error, match="no such file"):
        gqn.save(flat(), tmp_path / "shared", picture=tmp_path / "missing.png")
    assert not (tmp_path / "shared").exists()
    first, second = flat(), flat()
    gqn.save(first, tmp_path / "shared")
    gqn.save(second, tmp_path / "shared")
    assert same(second, gqn.load(tmp_path / "shared"))


OFFLINE = """
import sys, gqn
for address in sys.argv[1:]:
    try:
        print(*gqn.load(address).spec)
    except gqn.Error as error:
        print(type(error).__name__, error)
"""


def test_an_address_of_the_hub_is_read_from_its_cache(tmp_path: Path) -> None:
    """Laid out as the hub's library lays it out, and without a network."""
    cache, commit = tmp_path / "models--someone--shapes", "0" * 39 + "1"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(commit)
    shutil.copytree(SHIPPED, cache / "snapshots" / commit)
    whole, part = "hf://someone/shapes", "hf://someone/else"
    addresses = [whole, f"{whole}@{commit}", f"{whole}@other", part, "hf://shapes", "hf://../x", f"{whole}@../../main"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-c", OFFLINE, *addresses]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    found = run.stdout.splitlines()
    assert found[:2] == ["vision render"] * 2, run.stderr
    assert len(found) == len(addresses), run.stdout
    for address, line in zip(addresses[2:4], found[2:4], strict=True):
        assert line.startswith(f"CheckpointError {address} can't be fetched: ")
    for line in found[4:]:
        assert "no address of a network" in line
