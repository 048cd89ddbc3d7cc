"""Columns of a table as features: holes filled, numbers standardised, text one-hot encoded."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lightning_losses.app.data.encoder import Encoder, TextColumn, numbers_in
from lightning_losses.app.data.split import Rows


def fit_encoder(
    table: pd.DataFrame, train: Rows, *, strict: bool = False, max_categories: int | None = None
) -> tuple[Encoder, list[str]]:
    """Fit what turns columns into features, with statistics of the rows `train` alone.

    Args:
        table: The feature columns, all rows.
        train: Row numbers of the training part.
        strict: Refuse holes and text in a column of numbers.
        max_categories: One-hot columns of one text column at most.

    Returns:
        The encoder, and what it does to the table, a line each.

    Raises:
        ValueError: `strict` found a hole, or text in a column of numbers.
    """
    if strict:
        refuse_holes(table)
    encoder = Encoder.fit(table.iloc[train], max_categories)
    if strict:
        for column in encoder.numbers:
            _refuse_text(table[column.name])
    return encoder, _notes(encoder, table)


def refuse_holes(table: pd.DataFrame) -> None:
    """Raise if a column has a hole, naming the column and the first row."""
    for name in table:
        column = numbers_in(table[name]) if pd.api.types.is_numeric_dtype(table[name]) else table[name]
        holes = column.isna()
        if holes.any():
            raise ValueError(
                f"data.strict: column {name!r} has {holes.sum()} holes, the first in data row {first_row(holes)}"
            )


def _refuse_text(column: pd.Series[Any]) -> None:
    bad = numbers_in(column).isna()
    if bad.any():
        raise ValueError(
            f"data.strict: column {column.name!r} holds {column[bad].tolist()[0]!r} among numbers, "
            f"the first time in data row {first_row(bad)}"
        )


def first_row(flags: pd.Series[bool]) -> int:
    """Return the number of the first row that is flagged; the row below the header is 1."""
    return int(flags.index[int(flags.to_numpy().argmax())]) + 1


def _notes(encoder: Encoder, table: pd.DataFrame) -> list[str]:
    notes = []
    if encoder.numbers:
        notes.append(
            f"columns of numbers standardised by the training part's mean and deviation: {len(encoder.numbers)}"
        )
    holes = {column.name: int(numbers_in(table[column.name]).isna().sum()) for column in encoder.numbers}
    filled = {name: count for name, count in holes.items() if count}
    if filled:
        shown = ", ".join(f"{name} ({count})" for name, count in filled.items())
        notes.append(f"holes filled with the training part's median, with an indicator column: {shown}")
    replaced = {name: count - int(table[name].isna().sum()) for name, count in filled.items()}
    if any(replaced.values()):
        shown = ", ".join(f"{name} ({count})" for name, count in replaced.items() if count)
        notes.append(f"text or infinities in columns of numbers taken as holes: {shown}")
    if encoder.text:
        shown = ", ".join(f"{column.name} ({_kept(column)})" for column in encoder.text)
        notes.append(f"text columns one-hot encoded (categories): {shown}")
    return notes


def _kept(column: TextColumn) -> str:
    kept, rare = len(column.categories), len(column.rare)
    return f"{kept} of {kept + rare}, the others as one" if rare else f"{kept}"
