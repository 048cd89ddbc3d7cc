"""Wrong labels, planted in the training part to see which loss stands them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lightning_losses._validation import choice, in_interval
from lightning_losses.app.data.base import Dataset, as_target, class_indices

Matrix = npt.NDArray[np.float64]


def plant_label_noise(
    dataset: Dataset,
    seed: int = 0,
    *,
    rate: float = 0.0,
    pairs: str | Mapping[str, str] | None = None,
    transition: Sequence[Sequence[float]] | None = None,
) -> Dataset:
    """Replace labels of the training part by wrong ones; the true ones stay as its `clean`.

    Args:
        dataset: The data.
        seed: Of the draw.
        rate: Probability that a label is replaced.
        pairs: Which class takes the label of which: a mapping `{true: given}`, or `next` for the next one in order, the
            last one's being the first. None: each other class equally often (symmetric noise).
        transition: The whole matrix instead, (C, C): how likely each class (column) is given where one (row) is true.

    Returns:
        The data with these labels; the same where nothing is to be replaced.

    Raises:
        ValueError: A number, class or shape is out of range, or the task has no classes.
    """
    in_interval("data.label_noise.rate", rate, 0.0, 1.0)
    if not rate and transition is None:
        return dataset
    true = class_indices(dataset, "data.label_noise").numpy()
    if transition is not None:
        if rate or pairs is not None:
            raise ValueError("data.label_noise.transition says everything: leave rate at 0 and pairs at null")
        matrix = _checked(transition, len(dataset.targets))
    else:
        matrix = _matrix(rate, pairs, dataset.targets)
    # a stream of its own: the same seed also divides the rows
    uniform = np.random.default_rng([seed, 1]).random((len(true), 1))
    given = (uniform > matrix.cumsum(1)[true]).sum(1).clip(max=len(matrix) - 1)
    train = dataset.parts["train"]
    noisy = train._replace(y=as_target(dataset.task, given), clean=train.y)
    wrong = (given != true).sum()
    how = "by the given matrix" if transition is not None else "in pairs" if pairs else "symmetric"
    share = f"{wrong:,} of {len(true):,} labels are wrong ({wrong / len(true):.1%})"
    note = f"label noise in the training part, {how}: {share}"
    return replace(dataset, parts={**dataset.parts, "train": noisy}, notes=[*dataset.notes, note])


def _matrix(rate: float, pairs: str | Mapping[str, str] | None, classes: Sequence[str]) -> Matrix:
    """Return how likely each class (column) is given where a class (row) is true."""
    count = len(classes)
    if pairs is None:
        return np.full((count, count), rate / (count - 1)) + np.eye(count) * (1 - rate - rate / (count - 1))
    if isinstance(pairs, str):
        choice("data.label_noise.pairs", pairs, ("next",))
        others = {index: (index + 1) % count for index in range(count)}
    else:
        others = {_index(true, classes): _index(given, classes) for true, given in pairs.items()}
    matrix = np.eye(count)
    for true, given in others.items():
        matrix[true, true] -= rate
        matrix[true, given] += rate
    return matrix


def _index(name: object, classes: Sequence[str]) -> int:
    return list(classes).index(choice("data.label_noise.pairs", str(name), classes))


def _checked(transition: Sequence[Sequence[float]], count: int) -> Matrix:
    matrix = np.asarray(transition, dtype=float)
    if matrix.shape != (count, count):
        raise ValueError(f"data.label_noise.transition must be {count} x {count}, got shape {matrix.shape}")
    if (matrix < 0).any() or not np.allclose(matrix.sum(1), 1):
        raise ValueError(
            f"data.label_noise.transition must hold rows of probabilities that sum to 1, got {transition!r}"
        )
    return matrix
