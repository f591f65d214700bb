"""Libraries that only some uses need, loaded when they are used."""

from importlib import import_module
from types import ModuleType

from gqn.core.errors import Error


class MissingExtra(Error, ModuleNotFoundError):
    """A library of an extra that is not installed; the message says how to install it."""


def extra(module: str, name: str = "evaluate") -> ModuleType:
    """Return a module of a library of the extra `name`. Raises MissingExtra where it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(f"{package} is not installed: pip install 'gqn[{name}]'") from None
