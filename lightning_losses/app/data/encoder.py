"""Columns of a table as features, by statistics that are plain data: a checkpoint can hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_losses._validation import nearest

NO_TEXT = "(missing)"
OTHER = "(rare)"
Features = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers: holes take `fill`, then `(x - mean) / scale`; `holes` scales the indicator, if it has one.

    Attributes:
        name: Of the column.
        fill: The training part's median.
        mean: Of the filled training part.
        scale: Its standard deviation, 1 for a constant.
        holes: Mean and standard deviation of the column that says where the holes were; None without one.
    """

    name: str
    fill: float
    mean: float
    scale: float
    holes: tuple[float, float] | None

    @classmethod
    def fit(cls, values: pd.Series[Any]) -> NumberColumn:
        """Take the statistics of a training part."""
        holes = values.isna()
        fill = 0.0 if holes.all() else float(values.median())
        return cls(str(values.name), fill, *_moments(values.fillna(fill)), _moments(holes) if holes.any() else None)

    def encode(self, values: pd.Series[Any]) -> Features:
        """Return the standardised numbers, (rows,)."""
        return np.asarray((values.fillna(self.fill) - self.mean) / self.scale, dtype=np.float64)

    def encode_holes(self, values: pd.Series[Any]) -> Features:
        """Return the standardised indicator of holes, (rows,)."""
        mean, scale = self.holes or (0.0, 1.0)
        return np.asarray((values.isna() - mean) / scale, dtype=np.float64)


@dataclass(frozen=True)
class TextColumn:
    """A column of text, one-hot encoded.

    Attributes:
        name: Of the column.
        categories: Texts with a feature each, sorted.
        rare: Texts that share a last feature, as any other text does then; without them other text is none of all.
    """

    name: str
    categories: tuple[str, ...]
    rare: tuple[str, ...] = ()

    @classmethod
    def fit(cls, values: pd.Series[Any], limit: int | None) -> TextColumn:
        """Take the texts of a training part, the most frequent of them if there are more than `limit`."""
        texts = [str(text) for text in values.value_counts().sort_index().sort_values(kind="stable").index[::-1]]
        kept = len(texts) if limit is None or len(texts) <= limit else limit - 1
        return cls(str(values.name), tuple(sorted(texts[:kept])), tuple(sorted(texts[kept:])))

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [f"{self.name}_{text}" for text in (*self.categories, *([OTHER] if self.rare else []))]

    def encode(self, values: pd.Series[Any]) -> Features:
        """Return the features, (rows, features)."""
        position = pd.Index(self.categories).get_indexer(pd.Index(values))
        position[position < 0] = len(self.categories)
        return np.eye(len(self.categories) + 1)[position][:, : len(self.features)]

    def unknown(self, values: pd.Series[Any]) -> pd.Series[int]:
        """Return the texts that the training part did not have, with their counts."""
        return values[~values.isin([*self.categories, *self.rare])].value_counts()


@dataclass(frozen=True)
class Encoder:
    """What turns a table into features: the same columns in, the same features out, whatever their order.

    Attributes:
        numbers: The columns of numbers.
        text: The columns of text.
    """

    numbers: tuple[NumberColumn, ...]
    text: tuple[TextColumn, ...]

    @classmethod
    def fit(cls, table: pd.DataFrame, max_categories: int | None = None) -> Encoder:
        """Take the statistics of the training rows; columns of numbers and of text are told apart by their values."""
        numeric = [name for name in table.columns if is_numeric(table[name])]
        return cls(
            tuple(NumberColumn.fit(numbers_in(table[name])) for name in numeric),
            tuple(
                TextColumn.fit(text_in(table[name]), max_categories) for name in table.columns if name not in numeric
            ),
        )

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a table must have."""
        return [column.name for column in self.numbers] + [column.name for column in self.text]

    @property
    def features(self) -> list[str]:
        """Names of the features: numbers, indicators of holes, texts."""
        return [
            *(column.name for column in self.numbers),
            *(f"missingindicator_{column.name}" for column in self.numbers if column.holes),
            *(name for column in self.text for name in column.features),
        ]

    def encode(self, table: pd.DataFrame) -> Features:
        """Return the features of a table, (rows, features)."""
        numbers = {column.name: numbers_in(table[column.name]) for column in self.numbers}
        blocks = [
            *(column.encode(numbers[column.name])[:, None] for column in self.numbers),
            *(column.encode_holes(numbers[column.name])[:, None] for column in self.numbers if column.holes),
            *(column.encode(text_in(table[column.name])) for column in self.text),
        ]
        return np.hstack(blocks)

    def check(self, table: pd.DataFrame, source: str) -> list[str]:
        """Compare another table with the one that this was fitted to.

        Args:
            table: The other table.
            source: Where it comes from, for the message.

        Returns:
            What differs and is borne, a line each.

        Raises:
            ValueError: A column is missing, or holds text where there were numbers.
        """
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            hints = ", ".join(f"{name!r}{nearest(name, table.columns)}" for name in missing)
            raise ValueError(
                f"{source} lacks {_count(len(missing), 'column')} that the model was trained on: {hints} "
                f"(columns: {', '.join(table.columns)})"
            )
        for column in self.numbers:
            _check_numbers(table[column.name], source)
        extra = [name for name in table.columns if name not in self.columns]
        notes = [f"columns that the model does not know, left out: {', '.join(extra)}"] if extra else []
        return [*notes, *self._notes_on_holes(table), *self._notes_on_text(table)]

    def state(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Sequence[Mapping[str, Any]]]) -> Encoder:
        """Build it from what `state` returned."""
        return cls(
            tuple(NumberColumn(**column) for column in state["numbers"]),
            tuple(TextColumn(**column) for column in state["text"]),
        )

    def _notes_on_holes(self, table: pd.DataFrame) -> list[str]:
        holes = {column.name: int(numbers_in(table[column.name]).isna().sum()) for column in self.numbers}
        shown = ", ".join(f"{name} ({count})" for name, count in holes.items() if count)
        return [f"holes filled with the training part's median: {shown}"] if shown else []

    def _notes_on_text(self, table: pd.DataFrame) -> list[str]:
        notes = []
        for column in self.text:
            unknown = column.unknown(text_in(table[column.name]))
            if len(unknown):
                shown = ", ".join(map(repr, unknown.index[:3])) + (", ..." if len(unknown) > 3 else "")
                taken = "taken as rare ones" if column.rare else "no category is set"
                notes.append(f"column {column.name!r}: {unknown.sum()} rows with unknown categories, {shown}: {taken}")
        return notes


def numbers_in(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column as floats; what is no finite number becomes a hole."""
    return pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def text_in(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column as text; a hole becomes a text of its own."""
    return column.fillna(NO_TEXT).astype(str).astype(object)


def is_numeric(column: pd.Series[Any]) -> bool:
    """Tell whether a column is one of numbers: by type, or text of which more than half reads as numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return True
    filled = column.dropna()
    return bool(len(filled)) and bool(numbers_in(filled).notna().mean() > 0.5)


def _moments(values: pd.Series[Any]) -> tuple[float, float]:
    """Return the mean and the standard deviation of the population, 1 where it is 0."""
    mean, scale = float(values.mean()), float(values.astype(float).std(ddof=0))
    return mean, scale if scale > 1e-12 * max(1.0, abs(mean)) else 1.0


def _check_numbers(column: pd.Series[Any], source: str) -> None:
    if column.notna().any() and not is_numeric(column):
        text = column[numbers_in(column).isna() & column.notna()].tolist()[0]
        raise ValueError(f"{source}: column {column.name!r} held numbers in training, here it holds {text!r}")


def _count(number: int, what: str) -> str:
    return f"the {what}" if number == 1 else f"{number} {what}s"
