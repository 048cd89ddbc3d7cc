"""Checks of what users pass, with messages that name the argument, its value and what is allowed."""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from os import PathLike
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from typing_extensions import get_type_hints

_T = TypeVar("_T")
LISTS = (Sequence, Iterable, list)
LAST_SEED = 2**32 - 1
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


def check_seed(argument: str, value: object) -> None:
    """Raise where numpy, torch or scikit-learn takes no such seed."""
    if type(value) is not int or not 0 <= value <= LAST_SEED:
        raise ValueError(f"{argument} must be a whole number in [0, {LAST_SEED}], got {value!r}")


def as_block(name: str, given: Any) -> Mapping[str, Any]:
    """Return a block of a config, an empty one where it is None, or raise a TypeError where it is none."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a block, as in {{name: value}}, got {given!r}")
    return given


def check_types(prefix: str, given: Mapping[str, Any] | None, *owners: object) -> None:
    """Raise a TypeError if a value is not of the kind that its argument is annotated with.

    For what comes from YAML: truth values, numbers, texts, lists and blocks of them; and what only Python makes.

    Args:
        prefix: Before the name of each argument.
        given: The values, a block.
        owners: Functions or classes with annotations, the later ones hold.
    """
    kinds = {name: kind for owner in owners for name, kind in _kinds(owner).items()}
    for name, value in as_block(prefix, given).items():
        if name in kinds and not _is_of(value, kinds[name]):
            raise TypeError(f"{prefix}.{name} must be {_in_words(kinds[name])}, got {value!r}")


def _kinds(owner: Any) -> dict[str, Any]:
    """Return what is annotated, one by one: a name that torch imports for type checkers alone says nothing here."""
    kinds: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(owner).items():
        with suppress(NameError):
            one = SimpleNamespace(__annotations__={name: annotation})
            kinds |= get_type_hints(one, vars(sys.modules[owner.__module__]), vars(collections.abc))
    return kinds


def _is_of(value: object, kind: Any) -> bool:
    if get_origin(kind) is not None:
        return _is_made_of(value, get_origin(kind), get_args(kind))
    if kind in (int, float):  # True is no number, but an int to Python
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, (str, PathLike))
    return isinstance(value, kind) if isinstance(kind, type) and kind is not Any else True


def _is_made_of(value: object, origin: Any, parts: Sequence[Any]) -> bool:
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping)
    if origin not in (*LISTS, tuple):
        return True
    if not isinstance(value, Collection) or isinstance(value, (str, Mapping)):
        return False
    kinds = parts if origin is tuple else [*parts] * len(value)
    return len(value) == len(kinds) and all(map(_is_of, value, kinds))


def _in_words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        in_yaml = [part for part in parts if part in KINDS or get_origin(part) is not None]
        return " or ".join(map(_in_words, in_yaml or parts))
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is tuple:
        return f"a list of {len(parts)}, each {_in_words(parts[-1])}"
    if origin in LISTS:
        return f"a list, each {_in_words(*parts)}"
    if origin in (Mapping, dict):
        return "a block"
    return KINDS.get(kind, getattr(kind, "__name__", str(kind)))


def unknown_arguments(owner: str, given: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise a TypeError if `given` holds a name that `owner` does not take."""
    for name in given:
        if name not in allowed:
            hint = nearest(name, allowed)
            raise TypeError(f"{owner} has no argument {name!r}{hint} (it takes {', '.join(allowed)})")
