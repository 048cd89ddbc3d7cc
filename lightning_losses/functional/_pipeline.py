"""Everything that is the same for all classification losses: tasks, weights, smoothing, ignored labels and reduction.

input -> shift -> log-likelihood -> phi -> class and sample weights -> (loss, weight) per row -> reduction
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_losses.functional._class_factors import (
    NO_FACTORS,
    ClassFactors,
    along_classes,
    check_length,
    class_factors,
    element_factors,
    product,
)
from lightning_losses.functional._formula import Extra, Formula, check_support
from lightning_losses.functional._inputs import as_matrix, check_tensor, compute_dtype, given_probabilities
from lightning_losses.functional._options import FunctionOptions, PerClass, Settings, settings_from
from lightning_losses.functional._phi import floored_log
from lightning_losses.functional._rows import EqualRows, RowLoss, reduce, weigh
from lightning_losses.functional._targets import element_target, hard_target, nan_where, smooth, soft_target
from lightning_losses.kernels import Phi, apply, element_loss, row_expectation, target_loss


def compute(
    formula: Formula,
    input: Tensor,
    target: Tensor,
    options: FunctionOptions,
    *,
    alpha: PerClass | float | None = None,
    shift: Tensor | None = None,
    constant: Tensor | None = None,
) -> Tensor:
    """Return the reduced loss, with every option validated.

    Args:
        formula: The loss as a function of the log-likelihood, or an extra one.
        input: Logits or probabilities, see `Options`.
        target: Class indices or probabilities, see `Options`.
        options: See `FunctionOptions`.
        alpha: See `class_factors`.
        shift: See `ClassFactors`.
        constant: See `ClassFactors`.

    Returns:
        A scalar, or with `reduction="none"` one loss for each row of the target.
    """
    given: dict[str, Any] = dict(options)
    check_support("the loss", formula, given)
    sample_weight = given.pop("sample_weight", None)
    weight, pos_weight = given.pop("weight", None), given.pop("pos_weight", None)
    settings = settings_from("the loss", given)
    factors = class_factors(settings.task, weight, pos_weight, alpha)
    if shift is not None or constant is not None:
        factors = factors._replace(shift=shift, constant=constant)
    return reduce(row_loss(formula, settings, factors, input, target, sample_weight), settings.reduction)


def row_loss(
    formula: Formula,
    settings: Settings,
    factors: ClassFactors,
    input: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
) -> RowLoss:
    """Return the weighted loss of each row (binary, multilabel: of each element) and its share of the denominator.

    Args:
        formula: The loss as a function of the log-likelihood, or an extra one.
        settings: Validated options.
        factors: Numbers by class.
        input: Logits or probabilities, see `Options`.
        target: Class indices or probabilities, see `Options`.
        sample_weight: See `FunctionOptions`.

    Returns:
        Two tensors of the target's shape (without the class dimension for probabilities), in float32 for half inputs.

    Raises:
        ValueError: Shapes do not fit, or a target is out of range.
        TypeError: An argument is no tensor of real numbers, `input` is not floating point, or class indices are not
            integers.
    """
    check_tensor("input", input)
    check_tensor("target", target)
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}")
    if factors is not NO_FACTORS:
        dtype = compute_dtype(input)
        factors = ClassFactors(*(None if f is None else f.to(input.device, dtype) for f in factors))
    if isinstance(formula, Extra):
        rows = formula.rows(settings, factors, input.to(compute_dtype(input)), target)
    elif settings.task != "multiclass":
        rows = _elementwise(formula, settings, factors, input, target)
    elif target.shape == input.shape:
        rows = _soft_rows(formula, settings, factors, input, target)
    else:
        rows = _hard_rows(formula, settings, factors, input, target)
    return rows if sample_weight is None else weigh(rows, sample_weight, settings.normalizer)


def expected_rows(
    class_losses: Callable[[Tensor], Tensor], settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor
) -> RowLoss:
    """Return the rows of a multiclass loss that is known for every class, whatever its form.

    Args:
        class_losses: Maps scores `(rows, C)` to the loss that each class would cost as the true one, `(rows, C)`.
        settings: Validated options.
        factors: Numbers by class.
        scores: See `row_loss`.
        target: See `row_loss`.

    Returns:
        The rows.
    """
    matrix, shape = as_matrix(scores)
    check_length(factors, matrix.shape[1])
    if target.shape == scores.shape:
        share, mask, bad = soft_target(settings, target.to(matrix.dtype))
    else:
        index, mask, bad = hard_target(settings, matrix, shape, scores.shape, target)
        share = (index.unsqueeze(1) == torch.arange(matrix.shape[1], device=index.device)).to(matrix)
    used = matrix.new_ones(len(matrix), dtype=torch.bool) if mask is None else mask
    weight = used.to(matrix)
    if target.shape != scores.shape:
        weight = _index_weight(settings, factors, index, weight)
    share = smooth(settings, share)
    coefficient = share if factors.weight is None else share * factors.weight
    table = class_losses(matrix.where(used.unsqueeze(1), 0))
    loss = (coefficient * table).where((coefficient > 0) & used.unsqueeze(1), 0).sum(dim=1)
    return RowLoss(nan_where(bad, loss).reshape(shape), weight.reshape(shape))


def _hard_rows(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = as_matrix(input)
    index, used, bad = hard_target(settings, matrix, shape, input.shape, target)
    classes = matrix.shape[1]
    if factors is not NO_FACTORS:
        check_length(factors, classes)
    if settings.from_logits:
        loss = target_loss(phi, matrix, index, used, factors.shift)
    else:
        loss = apply(phi, floored_log(given_probabilities(matrix, used).gather(1, index.unsqueeze(1)).squeeze(1)))
    by_class = product(factors.weight, factors.alpha)
    if by_class is not None:
        loss = loss * by_class[index]
    if settings.label_smoothing:
        spread = loss.new_ones(classes) if by_class is None else by_class
        uniform = _expectation(phi, settings, factors, matrix, spread / classes, used)
        loss = (1 - settings.label_smoothing) * loss + settings.label_smoothing * uniform
    loss = _add_z_loss(loss, settings, factors, matrix, used)
    loss = _shaped(nan_where(bad, loss), shape)
    if used is None and (factors.weight is None or settings.normalizer == "samples"):
        return EqualRows(loss)
    weight = _index_weight(settings, factors, index, loss.new_ones(()) if used is None else used.to(loss))
    return RowLoss(loss, _shaped(weight.detach(), shape))


def _soft_rows(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = as_matrix(input)
    check_length(factors, matrix.shape[1])
    share, used, bad = soft_target(settings, target.to(compute_dtype(input)))
    share = smooth(settings, share)
    by_class = product(factors.weight, factors.alpha)
    loss = _expectation(phi, settings, factors, matrix, share if by_class is None else share * by_class, used)
    loss = _add_z_loss(loss, settings, factors, matrix, used)
    weight = torch.ones_like(loss) if used is None else used.to(loss)
    return RowLoss(_shaped(nan_where(bad, loss), shape), _shaped(weight.detach(), shape))


def _expectation(
    phi: Phi, settings: Settings, factors: ClassFactors, matrix: Tensor, coefficient: Tensor, used: Tensor | None
) -> Tensor:
    if settings.from_logits:
        return row_expectation(phi, matrix, coefficient, used, factors.shift)
    return (coefficient * apply(phi, floored_log(given_probabilities(matrix, used)))).sum(dim=1)


def _add_z_loss(loss: Tensor, settings: Settings, factors: ClassFactors, matrix: Tensor, used: Tensor | None) -> Tensor:
    if not settings.z_loss:
        return loss
    scores = matrix.to(loss.dtype) if used is None else matrix.to(loss.dtype).where(used.unsqueeze(1), 0)
    squares = (scores if factors.shift is None else scores + factors.shift).logsumexp(dim=1).square()
    return loss + settings.z_loss * (squares if used is None else squares.where(used, 0))


def _index_weight(settings: Settings, factors: ClassFactors, index: Tensor, used: Tensor) -> Tensor:
    if factors.weight is None or settings.normalizer == "samples":
        return used
    return used * factors.weight[index]


def _elementwise(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    if target.shape != input.shape:
        raise ValueError(
            f"target must have the shape of input in the {settings.task} task, {tuple(input.shape)}, "
            f"got {tuple(target.shape)}"
        )
    scores = input
    if factors.shift is not None:
        scores = input.to(compute_dtype(input)) + along_classes("the prior", factors.shift, input)
    share, used, bad = element_target(settings, target)
    factor = element_factors(settings.task, factors, input.new_ones((), dtype=compute_dtype(input)).expand_as(input))
    smoothed = share
    if settings.label_smoothing:
        smoothed = (1 - settings.label_smoothing) * share.to(factor.positive.dtype) + settings.label_smoothing / 2
    if settings.from_logits:
        loss = element_loss(phi, scores, smoothed, factor.positive, factor.negative, used)
    else:
        of_one, of_zero = (apply(phi, log_p) for log_p in _binary_log_p(scores, used))
        smoothed = smoothed.to(of_one.dtype)
        loss = factor.positive * smoothed * of_one + factor.negative * (1 - smoothed) * of_zero
        loss = loss if used is None else loss.where(used, 0)
    loss = nan_where(bad, loss)
    if settings.normalizer == "weights" and factors.weight is not None:
        share = share.to(loss.dtype)
        weight = factor.weight_positive * share + factor.weight_negative * (1 - share)
    elif used is None:
        return EqualRows(loss)
    else:
        weight = loss.new_ones(())
    return RowLoss(loss, (weight if used is None else weight.where(used, 0)).detach())


def _binary_log_p(scores: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor]:
    probabilities = given_probabilities(scores if used is None else scores.where(used, 1))
    return floored_log(probabilities), floored_log(1 - probabilities)


def _shaped(rows: Tensor, shape: torch.Size) -> Tensor:
    return rows if rows.shape == shape else rows.reshape(shape)  # not even a view where none is needed: it costs a node
