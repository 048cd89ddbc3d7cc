"""The block `compare` of the config, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, TypedDict

from lightning_losses._validation import as_block, check_types, choice, unknown_arguments
from lightning_losses.app.compare.references import KINDS

RANGE = ("low", "high", "log")


class Settings(TypedDict):
    """What its values are."""

    metric: str | None
    baseline: str | None
    references: Sequence[str] | None
    reference_limit: float
    space: Mapping[str, Any] | None


class Range(TypedDict):
    """Between what a number is drawn."""

    low: float
    high: float
    log: bool


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise where a value cannot be meant, also one that would be needed only after hours.

    Args:
        settings: The block, as plain data.

    Raises:
        TypeError: A value is of another type.
        ValueError: A name is unknown, or a number is out of range.
    """
    check_types("compare", settings, Settings)
    for kind in settings["references"] or ():
        choice("compare.references", kind, KINDS)
    trials = settings["trials"]
    if trials is not None and (type(trials) is not int or trials < 1):
        raise ValueError(f"compare.trials must be a whole number of at least 1, or null, got {trials!r}")
    for key, given in ranges(settings["space"]):
        _check_range(f"compare.space.{key}", given)


def ranges(space: Mapping[str, Any] | None, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield the key of each value that is drawn, and between what; null leaves a value or a block of them out."""
    for key, value in as_block("compare.space", space).items():
        if isinstance(value, Mapping) and not set(RANGE).intersection(value):
            yield from ranges(value, *path, key)
        elif value is not None:
            yield ".".join([*path, key]), value


def _check_range(key: str, given: Any) -> None:
    if isinstance(given, list) and given:
        return
    if not isinstance(given, Mapping):
        raise TypeError(f"{key} must be a list of values, or a block of {', '.join(RANGE)}, got {given!r}")
    unknown_arguments(key, given, RANGE)
    if missing := [name for name in ("low", "high") if name not in given]:
        raise TypeError(f"{key} needs {', '.join(missing)}")
    check_types(key, given, Range)
    if not -inf < given["low"] < given["high"] < inf or (given.get("log") and given["low"] <= 0):
        raise ValueError(f"{key} must have low < high, and low > 0 with log, got {given}")
