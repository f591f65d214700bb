"""Libraries that only some uses need, loaded when they are used."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

from gqn.core.errors import Error


class MissingExtra(Error, ModuleNotFoundError):
    """A library of an extra that is not installed; the message says how to install it."""


def import_own(modules: Iterable[str]) -> None:
    """Import a user's modules by name, from the working folder too: they add heads or senses of their own.

    Raises Error where there is no such module; what goes wrong in one is its own.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in modules:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name and not f"{name}.".startswith(f"{error.name}."):
                raise
            raise Error(f"--import {name}: no such module here or in Python's path: wanted as package.module") from None
        except (ValueError, TypeError) as error:
            raise Error(f"--import {name}: no name of a module ({error})") from None


def extra(module: str, name: str = "evaluate") -> ModuleType:
    """Return a module of a library of the extra `name`. Raises MissingExtra where it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(f"{package} is not installed: pip install 'gqn[{name}]'") from None
