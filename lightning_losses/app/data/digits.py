"""Handwritten digits, 8 x 8 pixels, that scikit-learn brings along."""

from __future__ import annotations

from sklearn.datasets import load_digits

from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.split import split_rows


def digits(
    task: Task | None = None,
    *,
    split: str = "stratified",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Load 1,797 digits of 64 pixels, scaled to [0, 1].

    Args:
        task: `multiclass` or None.
        split: `stratified` or `random`.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for the test part; 0 leaves it out.
        seed: Of the split.

    Returns:
        A data set of ten classes.

    Raises:
        ValueError: A fraction is out of range.
    """
    bunch = load_digits()
    rows = split_rows(
        len(bunch.target),
        how=split,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        classes=bunch.target,
    )
    return Dataset(
        task=check_task(task, "multiclass"),
        parts=make_parts(bunch.data / 16.0, as_target("multiclass", bunch.target), rows),
        features=bunch.feature_names,
        targets=[str(name) for name in bunch.target_names],
        notes=["pixels divided by 16, their largest value"],
    )
