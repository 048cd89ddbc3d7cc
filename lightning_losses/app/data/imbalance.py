"""Classes made rare in the training part, to see which loss stands it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lightning_losses._validation import choice, finite_non_negative
from lightning_losses.app.data.base import Dataset, Part, class_indices

KINDS = ("long_tailed", "step")


def make_imbalanced(dataset: Dataset, seed: int = 0, *, factor: float = 1.0, kind: str = "long_tailed") -> Dataset:
    """Leave rows of the training part out, more of each class than of the one before it.

    Of `C` classes, class `c` (from 0) keeps the share `factor^(-c / (C - 1))` of its rows (`long_tailed`), or all of
    them in the first half of the classes and `1 / factor` in the second (`step`).

    Args:
        dataset: The data.
        seed: Of the choice of rows.
        factor: How many times fewer rows the last class keeps, at least 1; 1 keeps all.
        kind: `long_tailed` or `step`.

    Returns:
        The data with these training rows; each class keeps at least one.

    Raises:
        ValueError: `factor` is below 1, `kind` is unknown, or the task has no classes.

    Source:
        Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, 2019.
    """
    choice("data.imbalance.kind", kind, KINDS)
    if finite_non_negative("data.imbalance.factor", factor) < 1:
        raise ValueError(f"data.imbalance.factor must be at least 1, got {factor}")
    if factor == 1:
        return dataset
    y = class_indices(dataset, "data.imbalance").numpy()
    last = len(dataset.targets) - 1
    generator = np.random.default_rng([seed, 2])  # a stream of its own: the same seed also divides the rows
    kept = []
    for index in range(last + 1):
        position = index / last if kind == "long_tailed" else float(index > last / 2)
        rows = np.flatnonzero(y == index)
        kept.append(generator.permutation(rows)[: max(1, round(len(rows) * factor**-position))])
    chosen = torch.from_numpy(np.sort(np.concatenate(kept)))
    train = dataset.parts["train"]
    thinned = Part(train.x[chosen], train.y[chosen], train.rows[chosen])
    note = f"imbalance in the training part, {kind} by {factor:g}: {len(chosen):,} of {len(y):,} rows kept"
    return replace(dataset, parts={**dataset.parts, "train": thinned}, notes=[*dataset.notes, note])
