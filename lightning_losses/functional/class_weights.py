"""Class weights from class counts, for the option `weight` of every classification loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_losses._mapping import name_and_arguments
from lightning_losses._validation import choice, in_interval, unknown_arguments

Counts = Tensor | Sequence[float]


def inverse_frequency(counts: Counts) -> Tensor:
    r"""Return weights that give all classes the same share of the loss.

    $$w_c = \frac{N}{C\, n_c}$$

    The weighted mean over the training set's labels is 1. scikit-learn calls these `"balanced"`.

    Args:
        counts: Training rows of each class, `(C,)`.

    Returns:
        `(C,)`, in float64.

    Raises:
        ValueError: A count is not above 0.

    Example:
        >>> inverse_frequency([90, 10])
        tensor([0.5556, 5.0000], dtype=torch.float64)
    """
    number = checked_counts("counts", counts)
    return number.sum() / (len(number) * number)


def effective_number(counts: Counts, beta: float = 0.999) -> Tensor:
    r"""Return weights that fall with the effective number of rows of a class.

    $$w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}, \quad \sum_c w_c = C$$

    Between no weights (`beta` 0) and `inverse_frequency` (`beta` towards 1). The paper tries 0.9 to 0.9999.

    Args:
        counts: Training rows of each class, `(C,)`.
        beta: In [0, 1).

    Returns:
        `(C,)`, in float64.

    Raises:
        ValueError: A count is not above 0, or `beta` is out of range.

    Example:
        >>> effective_number([90, 10], beta=0.9)
        tensor([0.7889, 1.2111], dtype=torch.float64)

    Source:
        Cui, Jia, Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples, 2019.
    """
    number = checked_counts("counts", counts)
    if in_interval("beta", beta, 0, 1) == 1:
        raise ValueError(f"beta must be below 1, where the weights are those of inverse_frequency, got {beta!r}")
    inverse = torch.expm1(number * torch.tensor(beta, dtype=torch.float64).log()).reciprocal()  # < 0, as is its sum
    return inverse * len(number) / inverse.sum()


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "balanced": inverse_frequency,
    "effective_number": effective_number,
    "inverse_frequency": inverse_frequency,
}


def from_mapping(spec: Mapping[str, Any]) -> Tensor:
    """Return the weights of `{"name": "inverse_frequency", "counts": [...]}`.

    Args:
        spec: A function of this module and its arguments.

    Returns:
        `(C,)`, in float64.

    Raises:
        ValueError: There is no such function, or an argument is not allowed.
        TypeError: The function takes no such argument, or `counts` are missing.
    """
    name, arguments = name_and_arguments("weight", spec)
    choice("weight", name, FUNCTIONS)
    unknown_arguments(f"weight {name!r}", arguments, ("counts", "beta") if name == "effective_number" else ("counts",))
    if "counts" not in arguments:
        raise TypeError(f"weight {name!r} needs counts; only under a Trainer they come from the training labels")
    return FUNCTIONS[name](**arguments)


def checked_counts(argument: str, counts: Counts) -> Tensor:
    """Return the counts in float64, or raise a ValueError that names `argument` if one is not above 0."""
    number = torch.as_tensor(counts, dtype=torch.float64)
    if number.dim() == 0 or not bool(((number > 0) & number.isfinite()).all()):
        raise ValueError(f"{argument} must hold finite numbers > 0, got {counts!r}")
    return number
