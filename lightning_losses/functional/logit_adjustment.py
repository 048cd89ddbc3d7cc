"""Cross entropy of logits that are shifted by the class prior while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import Unpack

from lightning_losses._validation import finite_non_negative
from lightning_losses.functional._options import FunctionOptions
from lightning_losses.functional._pipeline import compute
from lightning_losses.functional._prior import log_prior, prior_from_counts
from lightning_losses.functional.classification import CrossEntropy


@dataclass(frozen=True)
class LogitAdjusted(CrossEntropy):
    """`-l` of logits that are shifted by `tau * log prior`."""

    unsupported: ClassVar = {"from_logits": "the prior is added to logits"}
    tau: float = 1.0

    def __post_init__(self) -> None:
        finite_non_negative("tau", self.tau)


def logit_adjusted_loss(
    input: Tensor,
    target: Tensor,
    prior: Tensor | Sequence[float],
    tau: float = 1.0,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Logit adjustment: cross entropy of logits that are shifted by the log prior while training.

    $$-\log \frac{\pi_t^\tau e^{z_t}}{\sum_c \pi_c^\tau e^{z_c}}$$

    For imbalance, when all classes matter alike: the decision, the largest unshifted logit, minimises the balanced
    error if `tau` is 1. `posterior` adds the shift again, so its probabilities are those of the training data.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        prior: Share of each class in the training data, `(C,)`; binary `[p0, p1]`; multilabel `P(1)` of each label.
        tau: Strength, at least 0; 0 is cross entropy.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `prior`, `tau` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> logit_adjusted_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), prior=[0.9, 0.1])
        tensor(2.3026)

    Source:
        Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-Tail Learning via Logit Adjustment, 2021.
    """
    phi = LogitAdjusted(tau)
    shift = tau * log_prior("prior", options.get("task", "multiclass"), prior)
    return compute(phi, input, target, options, shift=shift)


def balanced_softmax_loss(
    input: Tensor, target: Tensor, class_counts: Tensor | Sequence[Any], **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Balanced softmax: logit adjustment by the class counts of the training data.

    $$-\log \frac{n_t e^{z_t}}{\sum_c n_c e^{z_c}}$$

    `logit_adjusted_loss` with `tau` 1 and the prior `n_c / N`.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        class_counts: Training rows of each class, `(C,)`; binary `[n0, n1]`; multilabel `[n0, n1]` of each label,
            `(L, 2)`.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A count is not above 0, a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> balanced_softmax_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), class_counts=[90, 10])
        tensor(2.3026)

    Source:
        Ren, Yu, Sheng, Ma, Zhao, Yi, Li: Balanced Meta-Softmax for Long-Tailed Visual Recognition, 2020.
    """
    prior = prior_from_counts(options.get("task", "multiclass"), class_counts)
    return logit_adjusted_loss(input, target, prior, **options)
