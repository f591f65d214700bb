"""Networks to share: a folder of weights, their description, and a card that tells a reader what they are."""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import join
from shutil import copyfileobj
from typing import Any

import yaml
from matplotlib.figure import Figure

from gqn.core.checked import checked
from gqn.core.figure import save_png
from gqn.core.files import given_name, whole_file
from gqn.core.provenance import public
from gqn.core.tables import table
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import GraphError, data_of, listed
from gqn.training import checkpoint, saved
from gqn.training.config import Config
from gqn.training.history import METRICS, read_history
from gqn.training.saved import CheckpointError
from gqn.training.validation import scalars

CARD = "README.md"
PICTURES = (".png", ".jpg", ".jpeg", ".gif")
TAGS = ["generative-query-network", "scene-representation", "novel-view-synthesis"]


@checked
def save(
    network: RecursiveGQN,
    path: str | Path,
    *,
    run: str | Path | None = None,
    half: bool = False,
    data: str = "",
    recipe: str = "",
    figures: Mapping[str, Any] | None = None,
    licence: str = "",
    picture: str | Path | Figure | None = None,
) -> Path:
    """Write a network to a folder that can be shared: model.safetensors, config.json, and README.md, its card.

    `gqn.load` reads the folder, and hubs of weights take it as it is.

    Args:
        network: a trained network.
        path: the folder; a network that was saved there before is replaced.
        run: what the network was trained in, by any name that `gqn.load` takes. Its options, its steps, and what its
            folder knows of the data, the recipe and the figures are told too, and its picture is taken.
        half: in half precision.
        data: what it was trained on.
        recipe: how it was trained.
        figures: what was measured, by name.
        licence: of the weights, by its short name, such as mit or cc-by-4.0.
        picture: of predictions: a figure, or a file .png, .jpg or .gif.

    Returns:
        The folder.

    Raises:
        CheckpointError: where the folder holds something else, or there is no such run or picture.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not saved.is_saved(folder))):
        raise CheckpointError(f"{folder} is there and holds something else: name a folder for this network alone")
    origin: dict[str, Any] = {"config": {}, "step": 0, "seconds": 0.0} if run is None else checkpoint.read(run)
    known = {} if run is None else _known(Path(run), origin)
    given = {"data": data, "recipe": recipe, "figures": dict(figures or {}), "picture": picture}
    told = known | {name: value for name, value in given.items() if value}
    drawn = _picture(told.get("picture"))  # a picture that is not there is told before anything is written
    weights = {name: w.half() if half and w.dim() else w for name, w in network.state_dict().items()}
    # The folders of the machine that it was trained on tell nobody else anything.
    config = {**origin["config"], "data": "", "runs": Config.runs} if origin["config"] else {}
    if "graph" in config:
        config["graph"] = {**config["graph"], "start": ""}
    kept = {"config": config, "step": origin["step"], "seconds": origin["seconds"]}
    saved.write(folder, {**kept, "graph": network.to_dict(), "ema": weights})
    shown = f"picture{drawn.suffix if isinstance(drawn, Path) else '.png'}" if drawn else ""
    if isinstance(drawn, Path):
        if drawn.resolve() != (folder / shown).resolve():
            with drawn.open("rb") as source, whole_file(folder / shown) as file:
                copyfileobj(source, file)
    elif drawn:
        save_png(drawn, folder / shown)
    with whole_file(folder / CARD) as file:
        file.write(card(network, given_name(folder), shown, licence, told).encode())
    return folder


def extract(run: str | Path, folder: str | Path, nodes: Iterable[str] = (), *, half: bool = False) -> None:
    """Write the EMA weights of a run alone to a folder, see `save`.

    Args:
        nodes: which to take; all by default.
        half: in half precision.

    Raises:
        CheckpointError: where the run can't be read.
        GraphError: where there is no such node, or one needs another that is left out.
    """
    network, wanted = checkpoint.load(run), set(nodes)
    if unknown := wanted - set(network.spec):
        raise GraphError(f"{run} has no node {listed(unknown)}; there are {listed(network.spec)}")
    if wanted:
        network.remove(*(name for name in network.spec if name not in wanted))
    save(network, folder, run=run, half=half)


def card(network: RecursiveGQN, name: str, picture: str, licence: str, told: Mapping[str, Any]) -> str:
    """Return the card: what a hub reads, in YAML, and then what a person does."""
    front = {"library_name": saved.LIBRARY, **({"license": licence} if licence else {}), "tags": TAGS}
    nodes = [
        [key, node.kind, node.network, ", ".join(node.inputs) or data_of(key, node)]
        for key, node in network.spec.items()
    ]
    count = sum(p.numel() for p in network.parameters())
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n# {name}\n",
        f"A Generative Query Network of {count:,} parameters, trained with the Python library `gqn`.\n",
        *([f"![Context views, the truth and predictions]({picture})\n"] if picture else []),
        f'```python\nimport gqn\n\nnetwork = gqn.load("{name}")  # on a hub "hf://USER/{name}"\n```\n',
        table(["node", "kind", "network", "reads"], nodes) + "\n",
        *(f"## {title}\n\n{told[key]}\n" for key, title in (("data", "Data"), ("recipe", "Recipe")) if told.get(key)),
    ]
    if told.get("figures"):
        rows = [[str(key), _figure(value)] for key, value in told["figures"].items()]
        parts.append(f"## Figures\n\n{table(['measured', 'value'], rows)}\n")
    if licence:
        parts.append(f"## Licence\n\n{licence}\n")
    return "\n".join(parts)


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _picture(given: Any) -> Path | Figure | None:
    if given is None or isinstance(given, Figure):
        return given
    picture = Path(given)
    if picture.suffix.lower() not in PICTURES or not picture.is_file():
        raise CheckpointError(f"picture {picture}: no such file {', '.join(PICTURES)}")
    return picture


def _known(run: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a run: by its checkpoint, and by its folder where it has one."""
    folder = checkpoint.folder_of(run)
    told: dict[str, Any] = {}
    if history := read_history(folder):
        about = json.loads((folder / METRICS).read_text())
        with suppress(KeyError, TypeError):
            count = about["dataset"]["training_scenes"]
            count = f"{count:,}" if isinstance(count, int) else count
            told["data"] = f"{count} scenes of {about['dataset']['name']}."
        with suppress(KeyError, TypeError):
            told["recipe"] = f"`{join(public(about['command']))}`, version {about['version']}, on {about['device']}. "
        told["figures"] = dict(scalars(history[-1].get("tasks", {})))
        if (folder / "predictions.png").is_file():
            told["picture"] = folder / "predictions.png"
    if origin["step"]:
        minutes = origin["seconds"] / 60
        told["recipe"] = f"{told.get('recipe', '')}{origin['step']:,} steps in {minutes:.0f} minutes."
    return told
