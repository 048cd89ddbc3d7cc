"""How often each class occurs, as what a logit gains from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_losses.functional._options import Task
from lightning_losses.functional.class_weights import checked_counts


def log_prior(argument: str, task: Task, prior: Tensor | Sequence[float]) -> Tensor:
    """Return the logarithm of the prior on the scale of the logits.

    Args:
        argument: The name that a message shows.
        task: The task.
        prior: Multiclass `(C,)` and binary `[p0, p1]`, which sum to 1; multilabel `P(1)` of each label, `(L,)`.

    Returns:
        Multiclass log-probabilities `(C,)`, binary and multilabel log-odds, `()` and `(L,)`; in float64.

    Raises:
        ValueError: A probability is not in (0, 1), or they do not sum to 1.
    """
    probability = torch.as_tensor(prior, dtype=torch.float64)
    if probability.dim() != 1 or not bool(((probability > 0) & (probability < 1)).all()):
        raise ValueError(f"{argument} must hold probabilities in (0, 1), got {prior!r}")
    if task == "multilabel":
        return probability.logit()
    if task == "binary" and len(probability) != 2:
        raise ValueError(f"{argument} must be [p0, p1] in the binary task, got {prior!r}")
    if abs(float(probability.sum()) - 1) > 1e-4:
        raise ValueError(f"{argument} must sum to 1, got {prior!r}")
    return probability.log() if task == "multiclass" else probability[1].log() - probability[0].log()


def prior_from_counts(task: Task, class_counts: Tensor | Sequence[Any]) -> Tensor:
    """Return the share of each class.

    Args:
        task: The task.
        class_counts: Multiclass `(C,)`; binary `[n0, n1]`; multilabel a row `[n0, n1]` for each label, `(L, 2)`.

    Returns:
        Probabilities as `log_prior` takes them.

    Raises:
        ValueError: A count is not above 0, or the shape does not fit the task.
    """
    counts = checked_counts("class_counts", class_counts)
    dims = 2 if task == "multilabel" else 1
    if counts.dim() != dims or (task != "multiclass" and counts.shape[-1] != 2):
        form = {"multiclass": "(C,)", "binary": "[n0, n1]", "multilabel": "(L, 2)"}[task]
        raise ValueError(f"class_counts must have shape {form} in the {task} task, got {tuple(counts.shape)}")
    share = counts / counts.sum(dim=-1, keepdim=True)
    return share[:, 1] if task == "multilabel" else share
