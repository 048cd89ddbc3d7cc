"""Checks of what users pass, with messages that name the argument, its value and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from typing_extensions import get_type_hints

_T = TypeVar("_T")
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}


def nearest(name: object, known: Iterable[str]) -> str:
    """Return `", did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return f", did you mean {by_lower[matches[0]]!r}?" if matches else ""


def choice(argument: str, value: _T, known: Iterable[_T]) -> _T:
    """Return `value` if it is one of `known`."""
    known = list(known)
    if value not in known:
        allowed = ", ".join(repr(name) for name in known)
        hint = nearest(value, map(str, known))
        raise ValueError(f"{argument} must be one of {allowed}, got {value!r}{hint}")
    return value


def _number(argument: str, value: object, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (float, Real)):  # float alone is found at once
        raise TypeError(f"{argument} must be {allowed}, got {value!r}")
    return float(value)


def finite_non_negative(argument: str, value: object) -> float:
    """Return `value` as a float if it is finite and at least 0."""
    number = _number(argument, value, "a finite number >= 0")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{argument} must be a finite number >= 0, got {value!r}")
    return number


def positive(argument: str, value: object) -> float:
    """Return `value` as a float if it is finite and above 0."""
    number = _number(argument, value, "a finite number > 0")
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{argument} must be a finite number > 0, got {value!r}")
    return number


def in_interval(argument: str, value: object, low: float, high: float) -> float:
    """Return `value` as a float if `low <= value <= high`."""
    allowed = f"a number in [{low:g}, {high:g}]"
    number = _number(argument, value, allowed)
    if not low <= number <= high:
        raise ValueError(f"{argument} must be {allowed}, got {value!r}")
    return number


def check_types(prefix: str, given: Mapping[str, Any], *owners: object) -> None:
    """Raise a TypeError if a value is not of the kind that its argument is annotated with.

    For what comes from YAML: truth values, numbers, texts and lists of them. Other kinds take anything.

    Args:
        prefix: Before the name of each argument.
        given: The values.
        owners: Functions or classes with annotations, the later ones hold.
    """
    kinds = {name: kind for owner in owners for name, kind in get_type_hints(owner).items()}
    for name, value in given.items():
        if name in kinds and not _is_of(value, kinds[name]):
            raise TypeError(f"{prefix}.{name} must be {_in_words(kinds[name])}, got {value!r}")


def _is_of(value: object, kind: Any) -> bool:
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if get_origin(kind) is Literal:
        return value in parts
    if get_origin(kind) is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_is_of(v, *parts) for v in value)
    if kind in (int, float):  # True is no number, but an int to Python
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, (str, PathLike))
    return isinstance(value, kind) if kind in (bool, NoneType) else True


def _in_words(kind: Any) -> str:
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(part) for part in parts)
    if get_origin(kind) is Literal:
        return " or ".join(map(str, parts))
    if get_origin(kind) is Sequence:
        return f"a list, each {_in_words(*parts)}"
    return KINDS.get(kind, getattr(kind, "__name__", str(kind)))


def unknown_arguments(owner: str, given: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise a TypeError if `given` holds a name that `owner` does not take."""
    for name in given:
        if name not in allowed:
            hint = nearest(name, allowed)
            raise TypeError(f"{owner} has no argument {name!r}{hint} (it takes {', '.join(allowed)})")
