"""Checking of public functions' arguments by their annotations: a wrong type is refused in one line."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from gqn.core.errors import Error

P = ParamSpec("P")
R = TypeVar("R")
NUMBERS: dict[Any, type] = {int: Integral, float: Real}  # numpy's too


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its arguments checked against their annotations. It raises Error for a wrong one."""
    signature = inspect.signature(function)
    hints = cache(lambda: get_type_hints(function))

    @wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        name = function.__qualname__.removesuffix(".__init__")
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise Error(f"{name}: {error}") from None
        for argument, value in given.items():
            check_type(
                f"{name}: {argument}", value, Any if argument in ("self", "kwargs") else hints().get(argument, Any)
            )
        return function(*args, **kwargs)

    return checking


def check_type(what: str, value: Any, kind: Any) -> None:
    """Raise Error where a value is not of an annotated type; what: its name."""
    if not fits(value, kind):
        wanted = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind).replace("typing.", "")
        raise Error(f"{what} is {' '.join(repr(value).split())[:60]}, must be {wanted}")


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of an annotated type; types that are not plain are not checked."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (tuple, list, Sequence):
        array = origin is Sequence and getattr(value, "ndim", 0) == 1
        return (isinstance(value, origin) or array) and not isinstance(value, str | bytes)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if kind in NUMBERS:
        return isinstance(value, NUMBERS[kind]) and not isinstance(value, bool)
    plain = origin or kind
    if plain is os.PathLike:
        return isinstance(value, os.PathLike)
    if not isinstance(plain, type) or plain.__module__.startswith("numpy."):  # numpy says itself what is like an array
        return True
    if getattr(plain, "_is_protocol", False):
        return all(hasattr(value, name) for name, part in vars(plain).items() if inspect.isfunction(part))
    return isinstance(value, plain)
