"""Networks on the Hugging Face Hub, by addresses hf://user/name and hf://user/name@revision."""

import re
from pathlib import Path

from gqn.core.extras import extra
from gqn.training import saved

# One slash is what is left of the two where an address has been a path.
ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")


def is_address(path: str | Path) -> bool:
    """Return whether a path is meant as an address of the hub."""
    return str(path).startswith("hf:/")


def fetched(address: str | Path) -> Path:
    """Return the folder, in the hub's cache, of the network at an address; without a network the one that is there.

    Args:
        address: hf://user/name, or hf://user/name@revision.

    Raises:
        CheckpointError: where it is no address, or nothing can be fetched.
        MissingExtra: where the library of the extra `hub` is not installed.
    """
    found = ADDRESS.fullmatch(str(address))
    if not found or ".." in str(address):
        raise saved.CheckpointError(f"{address}: no address of a network: wanted as hf://user/name or with @revision")
    hub = extra("huggingface_hub", "hub")
    # Nothing but what is read: a repository may hold code, which nobody needs.
    wanted = [saved.CONFIG, saved.FILE]
    try:
        return Path(hub.snapshot_download(found["repository"], revision=found["revision"], allow_patterns=wanted))
    except (OSError, ValueError) as error:  # the library's own are kinds of these
        reason = " ".join(str(error).split())[:200]
        raise saved.CheckpointError(f"{address} can't be fetched: {reason or type(error).__name__}") from error
