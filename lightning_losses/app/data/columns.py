"""Columns of a table as features: holes filled, numbers standardised, text one-hot encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lightning_losses.app.data.split import Rows

NO_TEXT = "(missing)"


def encode(
    table: pd.DataFrame, train: Rows, *, strict: bool = False, max_categories: int | None = None
) -> tuple[npt.NDArray[np.float64], list[str], list[str]]:
    """Encode the columns of `table`, with statistics of the rows `train` alone.

    Args:
        table: The feature columns, all rows.
        train: Row numbers of the training part.
        strict: Refuse holes and text in a column of numbers.
        max_categories: One-hot columns of one text column at most.

    Returns:
        Features (rows, F), their names, and what was done, a line each.

    Raises:
        ValueError: `strict` found a hole, or text in a column of numbers.
    """
    if strict:
        refuse_holes(table)
    numeric = [name for name in table.columns if _is_numeric(table[name])]
    text = [name for name in table.columns if name not in numeric]
    if strict:
        for name in numeric:
            _refuse_text(table[name])
    clean = pd.DataFrame(
        {name: numbers_in(table[name]) for name in numeric}
        | {name: table[name].fillna(NO_TEXT).astype(str).astype(object) for name in text}
    )
    holes = {name: int(clean[name].isna().sum()) for name in numeric}
    transformer = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
                ),
                numeric,
            ),
            (
                "text",
                OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=max_categories, sparse_output=False),
                text,
            ),
        ],
        verbose_feature_names_out=False,
        sparse_threshold=0.0,
    )
    transformer.fit(clean.iloc[train])
    names = list(transformer.get_feature_names_out())
    return transformer.transform(clean), names, _notes(transformer, table, text, holes)


def numbers_in(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column as floats; what is no finite number becomes a hole."""
    return pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


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


def _is_numeric(column: pd.Series[Any]) -> bool:
    """A column of numbers: by type, or text of which more than half reads as numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return True
    filled = column.dropna()
    return bool(len(filled)) and bool(numbers_in(filled).notna().mean() > 0.5)


def _notes(transformer: ColumnTransformer, table: pd.DataFrame, text: list[str], holes: dict[str, int]) -> list[str]:
    notes = []
    if holes:
        notes.append(f"columns of numbers standardised by the training part's mean and deviation: {len(holes)}")
    filled = {name: count for name, count in holes.items() if count}
    if filled:
        shown = ", ".join(f"{name} ({count})" for name, count in filled.items())
        notes.append(f"holes filled with the training part's median, with an indicator column: {shown}")
    replaced = {name: count - int(table[name].isna().sum()) for name, count in filled.items()}
    if any(replaced.values()):
        shown = ", ".join(f"{name} ({count})" for name, count in replaced.items() if count)
        notes.append(f"text or infinities in columns of numbers taken as holes: {shown}")
    if text:
        categories = transformer.named_transformers_["text"].categories_
        shown = ", ".join(f"{name} ({len(found)})" for name, found in zip(text, categories, strict=True))
        notes.append(f"text columns one-hot encoded (categories): {shown}")
    return notes
