"""Random rows with several yes/no labels each: to see a multilabel network train, not to learn from."""

from __future__ import annotations

import numpy as np

from lightning_losses._validation import in_interval, positive
from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.split import Split


def random_labels(
    task: Task | None,
    split: Split,
    *,
    rows: int = 1000,
    features: int = 64,
    labels: int = 10,
    positive_share: float = 0.5,
) -> Dataset:
    """Draw features from N(0, 1) and labels that do not depend on them.

    Args:
        task: `multilabel` or None.
        split: Which rows are for what; its seed is also that of the rows.
        rows: Number of rows.
        features: Number of features.
        labels: Number of labels.
        positive_share: Probability of a label to be 1.

    Returns:
        A multilabel data set; AUROC 0.5 is all there is to reach on its validation part.

    Raises:
        ValueError: A number is out of range.
    """
    positive("data.rows", rows)
    in_interval("data.positive_share", positive_share, 0.0, 1.0)
    generator = np.random.default_rng(split.seed)
    x = generator.standard_normal((rows, features))
    y = generator.random((rows, labels)) < positive_share
    parts = split.rows(rows)
    return Dataset(
        task=check_task(task, "multilabel"),
        parts=make_parts(x, as_target("multilabel", y), parts),
        features=[f"x{i}" for i in range(features)],
        targets=[f"label {i}" for i in range(labels)],
        notes=["the labels are drawn without looking at the features"],
    )
