"""Which rows are for training, validation and test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from lightning_losses._validation import choice, in_interval

Rows = npt.NDArray[np.intp]
WAYS = ("stratified", "random", "group", "time")


def split_rows(
    count: int,
    *,
    how: str = "stratified",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    classes: npt.NDArray[Any] | None = None,
    groups: npt.NDArray[Any] | None = None,
    times: npt.NDArray[Any] | None = None,
) -> dict[str, Rows]:
    """Split `count` rows into `train`, `val` and, if `test_fraction` > 0, `test`.

    Args:
        count: Number of rows.
        how: `stratified` (each class in the same proportion; without `classes` the same as random), `random`,
            `group` (a group is never divided) or `time` (the latest rows are the test part, those before them the
            validation part).
        val_fraction: Share of all rows (of all groups) for validation.
        test_fraction: The same for the test part; 0 leaves it out.
        seed: Of the shuffling.
        classes: Class of each row, for `stratified`.
        groups: Group of each row, for `group`.
        times: Time of each row, for `time`; anything that can be sorted.

    Returns:
        Row numbers of each part.

    Raises:
        ValueError: A fraction is out of range, `groups` or `times` are missing or the rows do not suffice.
    """
    choice("data.split", how, WAYS)
    in_interval("data.val_fraction", val_fraction, 0.0, 1.0)
    in_interval("data.test_fraction", test_fraction, 0.0, 1.0)
    if not 0 < val_fraction < 1 - test_fraction:
        raise ValueError(
            f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} must leave rows for every part"
        )
    rest: Rows = np.arange(count)
    if how == "time":
        if times is None:
            raise ValueError("data.split=time needs data.time, the column to sort by")
        rest = np.argsort(times, kind="stable")
    elif how == "group" and groups is None:
        raise ValueError("data.split=group needs data.group, the column that names the group of a row")
    parts = {}
    left = 1.0
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction:
            rest, parts[name] = _cut(rest, fraction / left, how, seed, classes, groups)
            left -= fraction
    return {"train": rest, **dict(reversed(parts.items()))}


def _cut(
    rows: Rows,
    fraction: float,
    how: str,
    seed: int,
    classes: npt.NDArray[Any] | None,
    groups: npt.NDArray[Any] | None,
) -> tuple[Rows, Rows]:
    """Cut `fraction` of the rows off; return what is left and what was cut."""
    try:
        if how == "time":
            keep, cut = train_test_split(rows, test_size=fraction, shuffle=False)
        elif groups is not None and how == "group":
            splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
            kept, taken = next(splitter.split(rows, groups=groups[rows]))
            keep, cut = rows[kept], rows[taken]
        else:
            stratify = classes[rows] if how == "stratified" and classes is not None else None
            keep, cut = train_test_split(rows, test_size=fraction, random_state=seed, stratify=stratify)
    except ValueError as error:
        reason = str(error).partition(". ")[0]  # what follows is sklearn's advice for its own arguments
        raise ValueError(f"data.split={how}: {reason}") from error
    return keep, cut
