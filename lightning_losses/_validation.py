"""Checks of what users pass, with messages that name the argument, its value and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TypeVar

_T = TypeVar("_T")


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


def unknown_arguments(owner: str, given: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise a TypeError if `given` holds a name that `owner` does not take."""
    for name in given:
        if name not in allowed:
            hint = nearest(name, allowed)
            raise TypeError(f"{owner} has no argument {name!r}{hint} (it takes {', '.join(allowed)})")
