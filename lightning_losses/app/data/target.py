"""What a table's target columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_losses._validation import choice
from lightning_losses.app.data.base import Task
from lightning_losses.app.data.columns import first_row
from lightning_losses.app.data.encoder import numbers_in

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "regression")


class Target(NamedTuple):
    """A target: its task, class indices or numbers for each row, the names of its classes, labels or columns."""

    task: Task
    values: npt.NDArray[Any]
    names: list[str]
    notes: list[str]


def read_target(
    table: pd.DataFrame, task: Task | None = None, *, positive: str | float | bool | None = None, max_classes: int = 20
) -> Target:
    """Read target columns without holes.

    Args:
        table: One or several columns.
        task: What they mean; None infers it.
        positive: The class that counts as 1 in a binary task.
        max_classes: Up to so many different whole numbers count as classes.

    Returns:
        The target.

    Raises:
        ValueError: The columns do not fit the task, or hold one class only.
    """
    if task is not None:
        choice("task", task, TASKS)
    found = task or _infer(table, max_classes)
    how = "given" if task else "inferred"
    columns = ", ".join(map(str, table.columns))
    if found in ("multilabel", "regression"):
        values = np.stack([_numbers(table[name], found) for name in table], axis=1)
        names = [str(name) for name in table]
    else:
        if table.shape[1] > 1:
            raise ValueError(f"task={found}: needs one target column, data.target names {columns}")
        values, names = _classes(table.iloc[:, 0], found, positive)
    positive_class = f", class 1 is {names[1]!r}" if found == "binary" else ""
    return Target(found, values, names, [f"target {columns}: {found} ({how}){positive_class}"])


def encode_target(table: pd.DataFrame, task: Task, names: Sequence[str]) -> npt.NDArray[Any]:
    """Encode target columns without holes as those of another table were.

    Args:
        table: The columns.
        task: What they meant there.
        names: The classes there, in order.

    Returns:
        Class indices or numbers for each row.

    Raises:
        ValueError: The columns do not fit the task, or hold another class.
    """
    if task in ("multilabel", "regression"):
        return np.stack([_numbers(table[name], task) for name in table], axis=1)
    column = _whole(table.iloc[:, 0]).astype(str)
    unknown = ~column.isin(list(names))
    if unknown.any():
        known = ", ".join(names)
        raise ValueError(
            f"column {column.name!r} holds {column[unknown].iloc[0]!r} in data row {first_row(unknown)}, "
            f"the model knows the classes {known}"
        )
    return column.map({name: i for i, name in enumerate(names)}).to_numpy()


def _infer(table: pd.DataFrame, max_classes: int) -> Task:
    if table.shape[1] > 1:
        for name in table:
            if numbers_in(table[name]).isna().any():
                raise ValueError(
                    "several target columns must hold 0 and 1 (multilabel) or numbers (regression), "
                    f"column {name!r} holds text"
                )
        return "multilabel" if all(_is_zero_one(table[name]) for name in table) else "regression"
    column = table.iloc[:, 0]
    if pd.api.types.is_float_dtype(column) and (column % 1 != 0).any():
        return "regression"
    count = column.nunique()
    if pd.api.types.is_numeric_dtype(column) and count > max_classes:
        return "regression"
    return "binary" if count <= 2 else "multiclass"


def _is_zero_one(column: pd.Series[Any]) -> bool:
    return bool(numbers_in(column).isin([0, 1]).all())


def _numbers(column: pd.Series[Any], task: Task) -> npt.NDArray[np.float64]:
    """Return the column as numbers, 0 and 1 alone for multilabel."""
    numbers = numbers_in(column)
    bad = numbers.isna() if task == "regression" else ~numbers.isin([0, 1])
    if bad.any():
        allowed = "numbers" if task == "regression" else "0 and 1"
        raise ValueError(
            f"task={task}: column {column.name!r} must hold {allowed}, got {column[bad].tolist()[0]!r} "
            f"in data row {first_row(bad)}"
        )
    return numbers.to_numpy()


def _whole(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers as such: beside holes they were read as floats."""
    is_whole = pd.api.types.is_float_dtype(column) and (column % 1 == 0).all()
    return column.astype(np.int64) if is_whole else column


def _classes(
    column: pd.Series[Any], task: Task, positive: str | float | bool | None
) -> tuple[npt.NDArray[Any], list[str]]:
    """Return class indices and names, sorted; `positive` goes last."""
    column = _whole(column)
    values = column.unique()
    if len({isinstance(value, str) for value in values}) > 1:
        text = next(value for value in values if isinstance(value, str))
        other = next(value for value in values if not isinstance(value, str))
        raise ValueError(f"data.target: column {column.name!r} mixes text and other values, {text!r} and {other!r}")
    classes = sorted(values)
    names = [str(value) for value in classes]
    if len(classes) == 1:
        raise ValueError(f"data.target: column {column.name!r} holds one class only, {names[0]!r}")
    if task == "binary" and len(classes) != 2:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"task=binary: column {column.name!r} holds {len(classes)} classes ({shown})")
    if positive is not None:
        choice("data.positive", str(positive), names)
        if task != "binary":
            raise ValueError(f"data.positive is for a binary target, column {column.name!r} is {task}")
        if names[0] == str(positive):
            classes.reverse()
            names.reverse()
    index = {value: i for i, value in enumerate(classes)}
    return column.map(index).to_numpy(), names
