"""Recall of each class: how many of its rows are decided to be of it."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import recall_score
from torch import Tensor

from lightning_losses.app.data import Task


def recall_by_class(task: Task, target: Tensor, decision: Tensor, classes: int) -> list[float] | None:
    """Return the recall of each class (multilabel: of each label), NaN where it has no row; None for regression."""
    if task == "regression":
        return None
    if task != "multilabel":
        target, decision = target.flatten(), decision.flatten()
    recall = recall_score(target, decision, labels=range(classes), average=None, zero_division=np.nan)
    return [float(value) for value in recall]
