"""Numbers by class: weights, alpha and shifts; validated, and laid along the classes of an input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_losses.functional import class_weights
from lightning_losses.functional._options import PerClass, Task


class ClassFactors(NamedTuple):
    """Numbers by class.

    Attributes:
        weight: Factor that enters the denominator of the mean.
        pos_weight: Factor that does not.
        alpha: Factor that does not.
        shift: What is added to each logit, `(C,)` or `(L,)`; binary a scalar.
        constant: What an `Extra` loss knows of the classes: margins, a transition matrix, counts.
    """

    weight: Tensor | None = None
    pos_weight: Tensor | None = None
    alpha: Tensor | None = None
    shift: Tensor | None = None
    constant: Tensor | None = None


NO_FACTORS = ClassFactors()


def class_factors(
    task: Task,
    weight: PerClass | Mapping[str, Any] | None = None,
    pos_weight: PerClass | float | None = None,
    alpha: PerClass | float | None = None,
) -> ClassFactors:
    """Validate the factors by class.

    Args:
        task: The task, which decides the shapes allowed.
        weight: See `Options`.
        pos_weight: See `Options`.
        alpha: Binary and multilabel: a number for class 1, `1 - alpha` for class 0. Multiclass: one number per class.

    Returns:
        The factors as tensors.

    Raises:
        ValueError: A factor is negative or not finite, or its shape does not fit the task.
        TypeError: `alpha` is a bare number in the multiclass task: libraries disagree on what that means.
    """
    if weight is None and pos_weight is None and alpha is None:
        return NO_FACTORS
    if task == "multiclass" and pos_weight is not None:
        raise ValueError(
            f"pos_weight applies to binary and multilabel tasks, got {pos_weight!r} with task='multiclass'"
        )
    if isinstance(weight, Mapping):
        weight = class_weights.from_mapping(weight)
    factors = ClassFactors(_factor("weight", weight), _factor("pos_weight", pos_weight), _factor("alpha", alpha))
    if task == "multiclass" and factors.alpha is not None and not factors.alpha.dim():
        raise TypeError(f"alpha must be one number per class in the multiclass task, got {alpha!r}")
    if factors.weight is not None and factors.weight.dim() != 1:
        raise ValueError(f"weight must have one dimension, got shape {tuple(factors.weight.shape)}")
    lengths = [len(factor) for factor in (factors.weight, factors.alpha) if factor is not None and factor.dim()]
    if task == "multiclass" and len(set(lengths)) > 1:
        raise ValueError(f"weight and alpha must have one number per class, got {lengths[0]} and {lengths[1]}")
    if task == "binary":
        _check_binary_factors(factors)
    if task != "multiclass" and factors.alpha is not None and bool((factors.alpha > 1).any()):
        raise ValueError(f"alpha must be in [0, 1] in the {task} task, got {alpha!r}")
    return factors


def _factor(name: str, value: PerClass | float | str | None) -> Tensor | None:
    if value is None:
        return None
    try:
        factor = value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        hint = "; only under a Trainer a word is counted from the training labels" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a tensor or a sequence of numbers, got {value!r}{hint}") from None
    if not bool(((factor >= 0) & factor.isfinite()).all()):
        raise ValueError(f"{name} must hold finite numbers >= 0, got {value!r}")
    return factor


def _check_binary_factors(factors: ClassFactors) -> None:
    if factors.weight is not None and factors.weight.numel() != 2:
        raise ValueError(f"weight must be [w0, w1] in the binary task, got {factors.weight.numel()} numbers")
    for name in ("pos_weight", "alpha"):
        factor = getattr(factors, name)
        if factor is not None and factor.numel() != 1:
            raise ValueError(f"{name} must be one number in the binary task, got {factor.numel()} numbers")


def check_length(factors: ClassFactors, classes: int) -> None:
    """Raise a ValueError if a factor holds another number of classes than the input."""
    by_class = {"weight": factors.weight, "alpha": factors.alpha, "the prior": factors.shift}
    for name, factor in by_class.items():
        if factor is not None and factor.shape != (classes,):
            raise ValueError(f"{name} must hold one number per class, {classes}, got shape {tuple(factor.shape)}")


def along_classes(name: str, factor: Tensor | None, scores: Tensor) -> Tensor:
    """Return `factor`, a number for each class or label, shaped to be broadcast against `scores`; 1 for None."""
    if factor is None:
        return scores.new_ones(())
    if factor.numel() == 1:
        return factor.reshape(())
    dim = min(scores.dim(), 2) - 1
    labels = scores.shape[dim] if scores.dim() else 1
    if factor.numel() != labels:
        raise ValueError(f"{name} must hold one number per class or label, {labels}, got {factor.numel()}")
    return factor.reshape(-1, *[1] * (scores.dim() - dim - 1))


class ElementFactors(NamedTuple):
    """What the loss of class 1 and that of class 0 are multiplied by, and the weights that enter the denominator."""

    positive: Tensor
    negative: Tensor
    weight_positive: Tensor
    weight_negative: Tensor


def element_factors(task: Task, factors: ClassFactors, scores: Tensor) -> ElementFactors:
    """Return the factors of the binary and multilabel tasks, shaped to be broadcast against `scores`."""
    one = scores.new_ones(())
    alpha, pos_weight = (
        along_classes(name, f, scores) for name, f in (("alpha", factors.alpha), ("pos_weight", factors.pos_weight))
    )
    if task == "binary":
        negative, positive = one.expand(2) if factors.weight is None else factors.weight
    else:
        negative = positive = along_classes("weight", factors.weight, scores)
    if factors.alpha is None:
        return ElementFactors(positive * pos_weight, negative, positive, negative)
    return ElementFactors(positive * pos_weight * alpha, negative * (1 - alpha), positive, negative)


def product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Return the product of those that are given."""
    if first is None or second is None:
        return second if first is None else first
    return first * second
