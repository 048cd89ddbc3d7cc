"""Handwritten digits, 8 x 8 pixels, that scikit-learn brings along."""

from __future__ import annotations

from sklearn.datasets import load_digits

from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.split import Split


def digits(task: Task | None, split: Split) -> Dataset:
    """Load 1,797 digits of 64 pixels, scaled to [0, 1].

    Args:
        task: `multiclass` or None.
        split: Which rows are for what.

    Returns:
        A data set of ten classes.

    Raises:
        ValueError: The task is another, or the rows do not suffice.
    """
    bunch = load_digits()
    rows = split.rows(len(bunch.target), classes=bunch.target)
    return Dataset(
        task=check_task(task, "multiclass"),
        parts=make_parts(bunch.data / 16.0, as_target("multiclass", bunch.target), rows),
        features=bunch.feature_names,
        targets=[str(name) for name in bunch.target_names],
        notes=["pixels divided by 16, their largest value"],
    )
