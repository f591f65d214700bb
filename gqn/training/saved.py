"""A network to share, in a folder as hubs of weights expect it: model.safetensors, config.json and README.md.

No file of it is code, and none names another: what is read is the two files of these names.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gqn.core.errors import Error
from gqn.core.files import whole_file, write_json

FILE = "model.safetensors"
CONFIG = "config.json"
LIBRARY = "gqn"
FORMAT = 1
LONGEST = 2**20  # bytes of config.json


class CheckpointError(Error):
    """Weights that can't be read or written; the message names the file and what to do."""


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds a saved network, whole or in part, and not a run, which has a config.json too."""
    return (folder / FILE).exists() or _values(folder / CONFIG).get("library") == LIBRARY


def write(folder: Path, contents: dict[str, Any]) -> None:
    """Write weights, `contents["ema"]`, and last the description that has their checksum and all else of contents."""
    folder.mkdir(parents=True, exist_ok=True)
    # A tensor of its own for each name: nodes that are tied share theirs, which the format does not take.
    own = {name: w.cpu().clone(memory_format=torch.contiguous_format) for name, w in contents["ema"].items()}
    data = safetensors.torch.save(own, metadata={"format": "pt"})
    with whole_file(folder / FILE) as file:
        file.write(data)
    told = {name: value for name, value in contents.items() if name != "ema"}
    write_json(folder / CONFIG, {"library": LIBRARY, "format": FORMAT, **told, "sha256": sha256(data).hexdigest()})


def read(folder: Path) -> dict[str, Any]:
    """Return what `write` was given. Raises CheckpointError."""
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {CONFIG}, which says what network it is: save it anew by gqn.save")
    contents = _values(path)
    if contents.get("library") != LIBRARY or contents.get("format") != FORMAT:
        raise CheckpointError(f"{path} describes no network of format {FORMAT}: save it anew by gqn.save")
    if not (folder / FILE).is_file():
        raise CheckpointError(f"{folder} has no {FILE}, the weights that {CONFIG} describes: copy it too")
    data = (folder / FILE).read_bytes()
    if sha256(data).hexdigest() != contents.get("sha256"):
        raise CheckpointError(f"{folder / FILE} is damaged or not what {CONFIG} describes: fetch or save both again")
    try:
        return {**contents, "ema": safetensors.torch.load(data)}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder / FILE} can't be read ({error}): use another") from None


def _values(path: Path) -> dict[str, Any]:
    """Return a file's values by name, none where it holds no such or is not there."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        text = file.read(LONGEST + 1)
    try:
        values = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
