"""The errors that are for the user: one line that names the file, record or option and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class Error(ValueError):
    """Base of every error whose message is for the user; scripts print it in one line. Any other error is a bug."""


class NoSuchItem(Error, IndexError):
    """A number past the end of what is counted from 0."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the line for the user about a name that is none of `known`: the nearest one, and all of them."""
    names = [str(other) for other in known]
    near = get_close_matches(str(name), names, 1)
    return f"no {kind} {name!r}{f', did you mean {near[0]!r}?' if near else ','} only {', '.join(names)}"


def of_memory(error: Exception) -> bool:
    """Return whether an error is one of memory: numpy, CUDA and torch's CPU allocator each have their own."""
    return isinstance(error, MemoryError) or any(
        sign in f"{type(error).__name__}: {error}" for sign in ("OutOfMemoryError", "DefaultCPUAllocator")
    )
