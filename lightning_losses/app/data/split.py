"""Which rows are for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, StratifiedKFold, train_test_split

from lightning_losses._validation import check_seed, choice, in_interval

Rows = npt.NDArray[np.intp]
WAYS = ("stratified", "random", "group", "time")


@dataclass(frozen=True)
class Split:
    """How rows are divided into the parts `train`, `val` and `test`.

    Args:
        how: `stratified` (each class in the same proportion; without classes the same as random), `random`, `group` (a
            group is never divided) or `time` (the latest rows are the test part, those before them the validation
            part).
        val_fraction: Share of all rows (of all groups) for validation; `folds` takes its place.
        test_fraction: Share of all rows (of all groups) for the test part; 0 leaves it out.
        seed: Of the shuffling.
        folds: Cut what is not for the test into so many folds, of which one is the validation part.
        fold: Which one, from 0.

    Raises:
        ValueError: A name is unknown or a number is out of range.
    """

    how: str = "stratified"
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    seed: int = 0
    folds: int | None = None
    fold: int = 0

    def __post_init__(self) -> None:
        choice("data.split", self.how, WAYS)
        check_seed("data.seed", self.seed)
        in_interval("data.val_fraction", self.val_fraction, 0.0, 1.0)
        in_interval("data.test_fraction", self.test_fraction, 0.0, 1.0)
        if not 0 < self.val_fraction < 1 - self.test_fraction:
            raise ValueError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction={self.test_fraction} must leave rows "
                "for every part"
            )
        if self.folds is None:
            if self.fold:  # the part would be the same for each
                raise ValueError(f"data.fold={self.fold} needs data.folds, as in data.folds=5")
            return
        if self.folds < 2:
            raise ValueError(f"data.folds must be at least 2, got {self.folds}")
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"data.fold must be from 0 to {self.folds - 1}, below data.folds, got {self.fold}")
        if self.how == "time":
            raise ValueError("data.folds: with data.split=time the earlier folds would be predicted from later rows")

    def rows(
        self,
        count: int,
        *,
        classes: npt.NDArray[Any] | None = None,
        names: Sequence[str] = (),
        groups: npt.NDArray[Any] | None = None,
        times: npt.NDArray[Any] | None = None,
    ) -> dict[str, Rows]:
        """Divide `count` rows.

        Args:
            count: Number of rows.
            classes: Index of the class of each row, for `stratified`.
            names: Of the classes, for messages.
            groups: Group of each row, for `group`.
            times: Time of each row, for `time`; anything that can be sorted.

        Returns:
            Row numbers of `train`, `val` and, if `test_fraction` > 0, `test`.

        Raises:
            ValueError: `groups` or `times` are missing, or the rows do not suffice.
        """
        rest: Rows = np.arange(count)
        if self.how == "time":
            if times is None:
                raise ValueError("data.split=time needs data.time, the column to sort by")
            rest = np.argsort(times, kind="stable")
        elif self.how == "group" and groups is None:
            raise ValueError("data.split=group needs data.group, the column that names the group of a row")
        labels = {"stratified": classes, "group": groups}.get(self.how)
        if self.how == "stratified" and classes is not None:
            self._check_classes(classes, names)
        try:
            return self._parts(rest, labels)
        except ValueError as error:  # scikit-learn's, about arguments that a user has not written
            raise ValueError(f"data.split={self.how}: {count} rows are too few for these fractions or folds") from error

    def _check_classes(self, classes: npt.NDArray[Any], names: Sequence[str]) -> None:
        """Refuse a class that cannot be in every part."""
        needed = (self.folds or 2) + (self.test_fraction > 0)
        for index, count in enumerate(np.bincount(classes)):
            if 0 < count < needed:
                name = names[index] if names else str(index)
                raise ValueError(
                    f"data.split=stratified: class {name!r} has {count} {'row' if count == 1 else 'rows'}, "
                    f"{needed} are needed, one for each part or fold: add rows or leave the class out"
                )

    def _parts(self, rows: Rows, labels: npt.NDArray[Any] | None) -> dict[str, Rows]:
        test = {}
        if self.test_fraction:
            rows, test["test"] = self._cut(rows, self.test_fraction, labels)
        if self.folds is None:
            train, val = self._cut(rows, self.val_fraction / (1 - self.test_fraction), labels)
        else:
            train, val = self._fold(rows, labels)
        return {"train": train, "val": val, **test}

    def _cut(self, rows: Rows, fraction: float, labels: npt.NDArray[Any] | None) -> tuple[Rows, Rows]:
        """Cut `fraction` of the rows off; return what is left and what was cut."""
        if self.how == "group" and labels is not None:
            splitter = GroupShuffleSplit(1, test_size=fraction, random_state=self.seed)
            kept, taken = next(splitter.split(rows, groups=labels[rows]))
            return rows[kept], rows[taken]
        if self.how == "time":
            keep, cut = train_test_split(rows, test_size=fraction, shuffle=False)
        else:
            stratify = None if labels is None else labels[rows]
            keep, cut = train_test_split(rows, test_size=fraction, random_state=self.seed, stratify=stratify)
        return keep, cut

    def _fold(self, rows: Rows, labels: npt.NDArray[Any] | None) -> tuple[Rows, Rows]:
        """Return the rows of the other folds and those of this one."""
        own = None if labels is None else labels[rows]
        if self.how == "group":
            folds = GroupKFold(self.folds).split(rows, groups=own)
        elif own is not None:
            folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed).split(rows, own)
        else:
            folds = KFold(self.folds, shuffle=True, random_state=self.seed).split(rows)
        train, val = next(islice(folds, self.fold, None))
        return rows[train], rows[val]
