"""Provenance of a figure: all that a reader must know to make it again."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from gqn import __version__
from gqn.core.distributed import Processes


def provenance(group: Processes) -> dict[str, Any]:
    """Return command, version, commit, time, libraries and machine as plain values."""
    cuda = group.device.type == "cuda"
    processor = torch.cpu.get_capabilities().get("cpu_name", "CPU")
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "version": __version__,
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(group.device) if cuda else processor,
        "processes": group.count,
        "threads": torch.get_num_threads(),
    }


def public(command: Sequence[str]) -> list[str]:
    """Return a command without the machine's own folders, which tell a reader nothing."""
    return [Path(part).name if Path(part).is_absolute() else part for part in command]


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of a folder's checkout, by default of this one, marked where files differ; None without one."""
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
