"""A table from the user's own file: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import torch
from typing_extensions import Required, TypedDict, Unpack

from lightning_losses._validation import nearest
from lightning_losses.app.data.base import Dataset, Task, as_target, make_parts
from lightning_losses.app.data.columns import fit_encoder, refuse_holes
from lightning_losses.app.data.encoder import numbers_in
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.target import read_target

Name: TypeAlias = str | int  # of a column: YAML makes a number of 0


class Columns(TypedDict, total=False):
    """What the columns of a table mean; the defaults stand in `table_dataset`."""

    target: Required[Name | Sequence[Name]]
    positive: str | float | bool | None
    features: Sequence[Name] | None
    drop: Sequence[Name]
    strict: bool
    max_classes: int
    max_categories: int | None
    scale_target: bool
    group: Name | None
    time: Name | None


def csv(
    task: Task | None,
    split: Split,
    *,
    path: str,
    separator: str = ",",
    na_values: Sequence[str | float] = ("?",),
    **columns: Unpack[Columns],
) -> Dataset:
    """Read a CSV file with one row a sample and a header.

    Args:
        task: See `table_dataset`.
        split: Which rows are for what.
        path: The file; whatever pandas reads, compressed files and addresses included.
        separator: Between the columns.
        na_values: Texts that stand for a hole, besides pandas' own.
        **columns: See `table_dataset`.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty or unreadable, or see `table_dataset`.
    """
    return table_dataset(task, split, read_table(path, separator, na_values), **columns)


def parquet(task: Task | None, split: Split, *, path: str, **columns: Unpack[Columns]) -> Dataset:
    """Read a Parquet file, or a folder of them, with one row a sample.

    Args:
        task: See `table_dataset`.
        split: Which rows are for what.
        path: The file or the folder.
        **columns: See `table_dataset`.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: pyarrow is not installed.
        ValueError: The file is empty or unreadable, or see `table_dataset`.
    """
    return table_dataset(task, split, read_parquet(path), **columns)


def table_dataset(
    task: Task | None,
    split: Split,
    table: pd.DataFrame,
    *,
    target: Name | Sequence[Name],
    positive: str | float | bool | None = None,
    features: Sequence[Name] | None = None,
    drop: Sequence[Name] = (),
    strict: bool = False,
    max_classes: int = 20,
    max_categories: int | None = 50,
    scale_target: bool = True,
    group: Name | None = None,
    time: Name | None = None,
) -> Dataset:
    """Make features and a target of the columns of a table.

    Columns of numbers: holes take the training part's median and get an indicator column, then all are standardised.
    Columns of text: one-hot encoded. All statistics come from the training part. The notes say what was done.

    Args:
        task: What the target is. None infers it: text, booleans or at most `max_classes` different whole numbers are
            classes (two of them: binary), other numbers are regression, several columns of 0 and 1 are multilabel.
        split: Which rows are for what.
        table: One row a sample.
        target: Column to predict, or several.
        positive: The class that counts as 1 in a binary task; None takes the last one in sorted order.
        features: Columns to predict from; None takes all others.
        drop: Columns to leave out.
        strict: Refuse holes and text in a column of numbers instead of repairing them.
        max_classes: Up to so many different whole numbers count as classes.
        max_categories: One-hot columns of one text column; the rarest categories share the last. None: no limit.
        scale_target: Standardise a regression target.
        group: Column that names a row's group, for `split=group`; never a feature.
        time: Column to sort by, for `split=time`; never a feature.

    Returns:
        The data set.

    Raises:
        ValueError: A column is missing, the target does not fit the task, or `strict` found something to repair.
    """
    given = {"target": target, "features": features, "drop": drop, "group": group, "time": time}
    columns = {argument: column_names(names) for argument, names in given.items()}
    for argument, names in columns.items():
        _check_columns(f"data.{argument}", names, table)
    targets, groups, times = (columns[argument] for argument in ("target", "group", "time"))

    table, notes = _drop_rows_without(table, [*targets, *groups, *times], strict)
    labels = read_target(table[targets], task, positive=positive, max_classes=max_classes)
    rows = split.rows(
        len(table),
        classes=labels.values if labels.task in ("binary", "multiclass") else None,
        names=labels.names,
        groups=table[groups[0]].to_numpy() if groups else None,
        times=_times(table[times[0]]).to_numpy() if times else None,
    )
    unused = {*targets, *columns["drop"], *groups, *times}
    used = [name for name in columns["features"] or table.columns if name not in unused]
    if not used:
        raise ValueError(f"data.features: no column is left to predict from (columns: {', '.join(table.columns)})")
    encoder, encoded = fit_encoder(table[used], rows["train"], strict=strict, max_categories=max_categories)

    y = as_target(labels.task, labels.values)
    scale = None
    if labels.task == "regression" and scale_target:
        exact = y[rows["train"]].double()  # in float32 the last digit depends on how many threads add up
        scale = exact.mean(0).to(y), exact.std(0).to(y).clamp_min(torch.finfo(y.dtype).tiny)
        y = (y - scale[0]) / scale[1]
        shown = ", ".join(
            f"{name}: mean {mean:g}, sd {sd:g}" for name, mean, sd in zip(labels.names, *scale, strict=True)
        )
        notes.append(f"target standardised, losses and metrics are in these units: {shown}")
    return Dataset(
        task=labels.task,
        parts=make_parts(encoder.encode(table[used]), y, rows, table.index.to_numpy()),
        features=encoder.features,
        targets=labels.names,
        notes=[*labels.notes, *notes, *encoded],
        target_scale=scale,
        encoder=encoder,
    )


def column_names(given: Name | Sequence[Name] | None) -> list[str]:
    """Return names of columns as tables have them, as text."""
    if given is None:
        return []
    return [str(name) for name in ([given] if isinstance(given, (str, int)) else given)]


def read_table(path: str, separator: str, na_values: Sequence[str | float]) -> pd.DataFrame:
    """Read a CSV file; every problem with the file itself is an error that names it."""
    try:
        table = pd.read_csv(
            path, sep=separator, na_values=list(map(str, na_values)), skipinitialspace=True, low_memory=False
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"data.path: there is no file {str(Path(path).absolute())!r}") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"data.path: {path!r} is empty") from error
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, EOFError) as error:  # the last two: a folder, a cut .gz
        raise ValueError(f"data.path: {path!r} cannot be read as CSV: {error}") from error
    if table.empty:
        raise ValueError(f"data.path: {path!r} has a header but no rows")
    table.columns = table.columns.astype(str)
    return table


def read_parquet(path: str) -> pd.DataFrame:
    """Read a Parquet file; every problem with the file itself is an error that names it."""
    if not Path(path).exists():
        raise FileNotFoundError(f"data.path: there is no file {str(Path(path).absolute())!r}")
    try:
        table = pd.read_parquet(path).reset_index(drop=True)
    except ImportError as error:
        raise ImportError('data=parquet needs pyarrow: pip install "lightning-losses[parquet]"') from error
    except (ValueError, OSError) as error:
        raise ValueError(f"data.path: {path!r} cannot be read as Parquet: {error}") from error
    if table.empty:
        raise ValueError(f"data.path: {path!r} has columns but no rows")
    table.columns = table.columns.astype(str)
    return table


def _check_columns(argument: str, names: Sequence[str], table: pd.DataFrame) -> None:
    for name in names:
        if name not in table.columns:
            known = list(table.columns)
            raise ValueError(f"{argument}: no column {name!r}{nearest(name, known)} (columns: {', '.join(known)})")


def _drop_rows_without(table: pd.DataFrame, columns: list[str], strict: bool) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows that have no target, group or time."""
    if strict:
        refuse_holes(table[columns])
    kept = table.dropna(subset=columns)
    if kept.empty:
        raise ValueError(f"no row has a value in each of the columns {', '.join(columns)}")
    left_out = len(table) - len(kept)
    notes = [f"{left_out} rows without {', '.join(columns)} left out"] if left_out else []
    return kept, notes


def _times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers or dates to sort by."""
    if pd.api.types.is_numeric_dtype(column):
        return numbers_in(column)
    try:
        return pd.to_datetime(column, format="mixed")
    except ValueError as error:
        raise ValueError(f"data.time: column {column.name!r} holds neither numbers nor dates: {error}") from error
