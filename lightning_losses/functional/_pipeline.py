"""Everything that is the same for all classification losses: tasks, weights, smoothing, ignored labels and reduction.

input -> shift -> log-likelihood -> phi -> class and sample weights -> (loss, weight) per row -> reduction
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot
from typing_extensions import Unpack

from lightning_losses._validation import choice, finite_non_negative, in_interval, unknown_arguments
from lightning_losses.functional import class_weights
from lightning_losses.functional._phi import Phi, apply, floored_log
from lightning_losses.kernels import row_expectation, target_log_likelihood

Task: TypeAlias = Literal["multiclass", "binary", "multilabel"]
Reduction: TypeAlias = Literal["mean", "sum", "none"]
Normalizer: TypeAlias = Literal["weights", "samples"]
PerClass: TypeAlias = "Tensor | Sequence[float]"

TASKS: tuple[Task, ...] = ("multiclass", "binary", "multilabel")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")
NORMALIZERS: tuple[Normalizer, ...] = ("weights", "samples")


class Options(TypedDict, total=False):
    """The options of every classification loss, with one meaning everywhere.

    Attributes:
        task: `"multiclass"`: input `(C,)`, `(N, C)` or `(N, C, d1, ...)`, target class indices without the class
            dimension, or one-hot rows or probabilities of the input's shape. `"binary"`, `"multilabel"`: input and
            target of one shape, targets in [0, 1]; the labels of `"multilabel"` are dimension 1 (0 without a batch).
        weight: Weight of each class, `(C,)`; binary `[w0, w1]`; multilabel of each label, `(L,)`. Or how to get them
            from class counts: `{"name": "effective_number", "counts": [...], "beta": 0.999}`, with a function of
            `class_weights`.
        pos_weight: Factor on the positive part, binary (a number) and multilabel (a number or `(L,)`). Like torch's, it
            does not enter the denominator of the mean.
        normalizer: What the mean divides by. `"weights"` (torch): the sum of `weight[target] * sample_weight`; for
            probability targets the class weights do not enter, again as in torch. `"samples"` (Keras, scikit-learn):
            the number of rows that are not ignored.
        label_smoothing: Share `e` of the target that is spread over all classes: `(1 - e) * target + e / C`.
        ignore_index: Targets of this value count for nothing; a soft row is ignored if all its entries have it.
        from_logits: False if `input` holds probabilities; their logarithm is floored at -100, as in `torch.nn.BCELoss`.
        z_loss: Multiclass: adds `z_loss * logsumexp(logits)^2` to each row that is not ignored, without its class
            weight, which keeps the logits from drifting (Chowdhery et al.: PaLM, 2022, use 1e-4).
        reduction: `"mean"`, `"sum"` or `"none"`.
    """

    task: Task
    weight: PerClass | Mapping[str, Any] | None
    pos_weight: PerClass | float | None
    normalizer: Normalizer
    label_smoothing: float
    ignore_index: int
    from_logits: bool
    z_loss: float
    reduction: Reduction


class FunctionOptions(Options, total=False):
    """`Options`, and the weight of each row at call time.

    Attributes:
        sample_weight: `(N,)`, or any shape that the target has.
    """

    sample_weight: Tensor | None


@dataclass(frozen=True)
class Settings:
    """Validated options that are not tensors."""

    task: Task = "multiclass"
    normalizer: Normalizer = "weights"
    label_smoothing: float = 0.0
    ignore_index: int = -100
    from_logits: bool = True
    z_loss: float = 0.0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        choice("task", self.task, TASKS)
        choice("normalizer", self.normalizer, NORMALIZERS)
        choice("reduction", self.reduction, REDUCTIONS)
        in_interval("label_smoothing", self.label_smoothing, 0, 1)
        for name in ("ignore_index", "from_logits"):
            kind = {"ignore_index": int, "from_logits": bool}[name]
            if type(getattr(self, name)) is not kind:
                raise TypeError(f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r}")
        if finite_non_negative("z_loss", self.z_loss) and (self.task != "multiclass" or not self.from_logits):
            raise ValueError(f"z_loss must be 0 unless task='multiclass' and from_logits=True, got {self.z_loss!r}")


SETTING_NAMES = tuple(field.name for field in fields(Settings))


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


class RowLoss(NamedTuple):
    """Weighted loss of each row and what it adds to the denominator of the mean, both of the target's shape."""

    loss: Tensor
    weight: Tensor


class Extra(ABC):
    """A classification loss that is not a function of the log-likelihood of the true class.

    Attributes:
        unsupported: Options, tasks and kinds of targets that it refuses, each with the reason.
        no_posterior: Why its trained outputs do not tell class probabilities, or None if they do.
        after_training: The function of the log-likelihood by whose rule they tell them.
    """

    unsupported: ClassVar[Mapping[str, str]]
    no_posterior: ClassVar[str | None]
    after_training: ClassVar[Phi]

    @abstractmethod
    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the loss of each row before sample weights; `scores` are at least float32."""


Formula: TypeAlias = Phi | Extra


def check_support(owner: str, formula: Formula, options: Mapping[str, Any]) -> None:
    """Raise a ValueError with the reason if `options` hold a task or an option that the loss refuses."""
    for name in options.keys() | {str(options.get("task", "multiclass"))}:
        if name in formula.unsupported and options.get(name, True) != getattr(Settings, name, None):
            raise ValueError(f"{owner} does not take {name}: {formula.unsupported[name]}")


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
    if task == "multiclass" and pos_weight is not None:
        raise ValueError(
            f"pos_weight applies to binary and multilabel tasks, got {pos_weight!r} with task='multiclass'"
        )
    if task == "multiclass" and isinstance(alpha, (int, float)):
        raise TypeError(f"alpha must be one number per class in the multiclass task, got {alpha!r}")
    if isinstance(weight, Mapping):
        weight = class_weights.from_mapping(weight)
    factors = ClassFactors(_factor("weight", weight), _factor("pos_weight", pos_weight), _factor("alpha", alpha))
    if factors.weight is not None and factors.weight.dim() != 1:
        raise ValueError(f"weight must have one dimension, got shape {tuple(factors.weight.shape)}")
    if (
        task == "multiclass"
        and None not in (factors.weight, factors.alpha)
        and len(factors.weight) != len(factors.alpha)
    ):
        raise ValueError(
            f"weight and alpha must have one number per class, got {len(factors.weight)} and {len(factors.alpha)}"
        )
    if task == "binary":
        _check_binary_factors(factors)
    if task != "multiclass" and factors.alpha is not None and bool((factors.alpha > 1).any()):
        raise ValueError(f"alpha must be in [0, 1] in the {task} task, got {alpha!r}")
    return factors


def _factor(name: str, value: PerClass | float | None) -> Tensor | None:
    if value is None:
        return None
    try:
        factor = value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a tensor or a sequence of numbers, got {value!r}") from None
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


def settings_from(owner: str, options: Mapping[str, Any]) -> Settings:
    """Validate the options that are not tensors; `owner` is named if one of them is unknown."""
    unknown_arguments(owner, options, SETTING_NAMES)
    return Settings(**options)


def compute(
    formula: Formula,
    input: Tensor,
    target: Tensor,
    *,
    alpha: PerClass | float | None = None,
    shift: Tensor | None = None,
    constant: Tensor | None = None,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    """Return the reduced loss, with every option validated.

    Args:
        formula: The loss as a function of the log-likelihood, or an extra one.
        input: Logits or probabilities, see `Options`.
        target: Class indices or probabilities, see `Options`.
        alpha: See `class_factors`.
        shift: See `ClassFactors`.
        constant: See `ClassFactors`.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or with `reduction="none"` one loss for each row of the target.
    """
    given: dict[str, Any] = dict(options)
    check_support("the loss", formula, given)
    sample_weight, weight, pos_weight = (given.pop(name, None) for name in ("sample_weight", "weight", "pos_weight"))
    settings = settings_from("the loss", given)
    factors = class_factors(settings.task, weight, pos_weight, alpha)._replace(shift=shift, constant=constant)
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
        TypeError: `input` is not floating point, or class indices are not integers.
    """
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}")
    dtype = torch.promote_types(input.dtype, torch.float32)
    scores = input.to(dtype)
    factors = ClassFactors(*(None if f is None else f.to(scores) for f in factors))
    if factors.shift is not None:
        scores = scores + along_classes("the prior", factors.shift, scores)
    if isinstance(formula, Extra):
        rows = formula.rows(settings, factors, scores, target)
    elif settings.task != "multiclass":
        rows = _elementwise(formula, settings, factors, scores, target)
    elif target.shape == input.shape:
        rows = _soft_rows(formula, settings, factors, scores, target)
    else:
        rows = _hard_rows(formula, settings, factors, scores, target)
    return rows if sample_weight is None else weigh(rows, sample_weight, settings.normalizer)


def reduce(rows: RowLoss, reduction: Reduction) -> Tensor:
    """Reduce to the mean, the sum or nothing; the mean over no weight at all is 0, with a graph."""
    if reduction == "none":
        return rows.loss
    total = rows.loss.sum()
    if reduction == "sum":
        return total
    weight = rows.weight.sum()
    return total / weight.where(weight != 0, 1)


def weigh(rows: RowLoss, sample_weight: Tensor, normalizer: Normalizer = "weights") -> RowLoss:
    """Multiply each row by its sample weight, which counts in the denominator unless that is the number of rows."""
    shape = rows.loss.shape
    if sample_weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"sample_weight must have shape {tuple(shape[:1])} or {tuple(shape)}, got {tuple(sample_weight.shape)}"
        )
    factor = sample_weight.to(rows.loss).reshape(*sample_weight.shape, *[1] * (len(shape) - sample_weight.dim()))
    check_values("sample_weight", factor, ~((factor >= 0) & factor.isfinite()), "finite numbers >= 0")
    return RowLoss(rows.loss * factor, rows.weight * factor if normalizer == "weights" else rows.weight)


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


def check_values(argument: str, values: Tensor, bad: Tensor, allowed: str) -> None:
    """Raise a ValueError that shows the first bad value, where looking neither stalls a device nor breaks a graph."""
    if may_look(bad) and bool(bad.any()):
        raise ValueError(f"{argument} must hold {allowed}, got {values[bad].flatten()[0].item()!r}")


def warn_if_probabilities(settings: Settings, input: Tensor) -> None:
    """Warn if what should be logits are probabilities: in [0, 1] with a sum of 1 over at least two classes."""
    if settings.task != "multiclass" or not settings.from_logits or not input.dim() or not input.numel():
        return
    sums = input.detach().sum(dim=min(input.dim() - 1, 1), dtype=torch.float64)
    tolerance = 4 * torch.finfo(input.dtype).eps
    if bool(((input >= 0) & (input <= 1)).all()) and bool(((sums - 1).abs() <= tolerance).all()):
        warnings.warn(
            "the logits all lie in [0, 1] and sum to 1: if they are probabilities, give the loss from_logits=False",
            stacklevel=5,
        )


def may_look(tensor: Tensor) -> bool:
    """Return whether a value can be read for free: not on an accelerator, while compiling or in `torch.func`."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return tensor.device.type == "cpu"


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
    matrix, shape = _as_matrix(scores)
    _check_length(factors, matrix.shape[1])
    if target.shape == scores.shape:
        share, used, bad = _soft_target(settings, target.to(matrix.dtype))
        weight = used.to(matrix)
    else:
        index, used, bad = _hard_target(settings, matrix, shape, scores.shape, target)
        share = one_hot(index.clamp_min(0), matrix.shape[1]).to(matrix)
        weight = _index_weight(settings, factors, index, used.to(matrix))
    share = _smooth(settings, share)
    by_class = _product(factors.weight, factors.alpha)
    coefficient = share if by_class is None else share * by_class
    table = class_losses(matrix.where(used.unsqueeze(1), 0))
    loss = (coefficient * table).where((coefficient > 0) & used.unsqueeze(1), 0).sum(dim=1)
    return RowLoss(_nan_where(bad, loss).reshape(shape), weight.reshape(shape))


class _Target(NamedTuple):
    """A checked multiclass target: indices (-1: not used) or shares; which rows are used, which out of range."""

    values: Tensor
    used: Tensor
    bad: Tensor


def _hard_target(
    settings: Settings, matrix: Tensor, shape: torch.Size, input_shape: torch.Size, target: Tensor
) -> _Target:
    if target.shape != shape:
        raise ValueError(
            f"target must have shape {tuple(shape)} (class indices) or {tuple(input_shape)} (one-hot rows or "
            f"probabilities) for input of shape {tuple(input_shape)}, got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"target must hold integers as class indices, got {target.dtype}")
    classes = matrix.shape[1]
    target = target.reshape(-1).long()
    ignored = target == settings.ignore_index
    bad = ~ignored & ((target < 0) | (target >= classes))
    allowed = f"class indices in [0, {classes - 1}] or ignore_index={settings.ignore_index}"
    check_values("target", target, bad, allowed)
    used = ~ignored & ~bad
    return _Target(target.where(used, -1), used, bad)


def _soft_target(settings: Settings, target: Tensor) -> _Target:
    share, _ = _as_matrix(target)
    used = ~(share == settings.ignore_index).all(dim=1)
    if not share.shape[1]:
        used = used.zero_()
    share = share.where(used.unsqueeze(1), 0)
    bad = ~((share >= 0) & (share <= 1))
    check_values("target", share, bad, "probabilities in [0, 1]")
    return _Target(share, used, bad.any(dim=1))


def _smooth(settings: Settings, share: Tensor) -> Tensor:
    return (1 - settings.label_smoothing) * share + settings.label_smoothing / max(share.shape[1], 1)


def _index_weight(settings: Settings, factors: ClassFactors, index: Tensor, used: Tensor) -> Tensor:
    if factors.weight is None or settings.normalizer == "samples":
        return used
    return used * factors.weight[index]


def _hard_rows(phi: Phi, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = _as_matrix(scores)
    index, used, bad = _hard_target(settings, matrix, shape, scores.shape, target)
    classes = matrix.shape[1]
    _check_length(factors, classes)
    loss = apply(phi, _target_log_p(matrix, index, settings.from_logits))
    by_class = _product(factors.weight, factors.alpha)
    if by_class is not None:
        loss = loss * by_class[index]
    if settings.label_smoothing:
        spread = matrix.new_ones(classes) if by_class is None else by_class
        uniform = _expectation(matrix, spread / classes, phi, used, settings.from_logits)
        loss = (1 - settings.label_smoothing) * loss + settings.label_smoothing * uniform
    loss = _add_z_loss(loss.where(used, 0), settings, matrix, used)
    weight = _index_weight(settings, factors, index, used.to(loss))
    return RowLoss(_nan_where(bad, loss).reshape(shape), weight.reshape(shape))


def _soft_rows(phi: Phi, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = _as_matrix(scores)
    _check_length(factors, matrix.shape[1])
    share, used, bad = _soft_target(settings, target.to(matrix.dtype))
    share = _smooth(settings, share)
    by_class = _product(factors.weight, factors.alpha)
    loss = _expectation(matrix, share if by_class is None else share * by_class, phi, used, settings.from_logits)
    loss = _add_z_loss(loss, settings, matrix, used)
    return RowLoss(_nan_where(bad, loss).reshape(shape), used.to(loss).reshape(shape))


def _add_z_loss(loss: Tensor, settings: Settings, matrix: Tensor, used: Tensor) -> Tensor:
    if not settings.z_loss:
        return loss
    squares = matrix.where(used.unsqueeze(1), 0).logsumexp(dim=1).square()
    return loss + settings.z_loss * squares.where(used, 0)


def _elementwise(phi: Phi, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
    if target.shape != scores.shape:
        raise ValueError(
            f"target must have the shape of input in the {settings.task} task, {tuple(scores.shape)}, "
            f"got {tuple(target.shape)}"
        )
    ignored = target == settings.ignore_index
    share = target.to(scores.dtype).where(~ignored, 0)
    bad = ~((share >= 0) & (share <= 1))
    check_values("target", share, bad, f"values in [0, 1] or ignore_index={settings.ignore_index}")
    positive, negative = _binary_log_p(scores.where(~ignored, 0), settings.from_logits)
    smooth = (1 - settings.label_smoothing) * share + settings.label_smoothing / 2
    factor = _element_factors(settings.task, factors, scores)
    loss = factor.positive * smooth * apply(phi, positive) + factor.negative * (1 - smooth) * apply(phi, negative)
    weight = torch.ones_like(loss)
    if settings.normalizer == "weights":
        weight = factor.weight_positive * share + factor.weight_negative * (1 - share)
    return RowLoss(_nan_where(bad, loss.where(~ignored, 0)), weight.where(~ignored, 0).detach())


class _ElementFactors(NamedTuple):
    positive: Tensor
    negative: Tensor
    weight_positive: Tensor
    weight_negative: Tensor


def _element_factors(task: Task, factors: ClassFactors, scores: Tensor) -> _ElementFactors:
    one = scores.new_ones(())
    alpha, pos_weight = (
        along_classes(name, f, scores) for name, f in (("alpha", factors.alpha), ("pos_weight", factors.pos_weight))
    )
    if task == "binary":
        negative, positive = one.expand(2) if factors.weight is None else factors.weight
    else:
        negative = positive = along_classes("weight", factors.weight, scores)
    if factors.alpha is None:
        return _ElementFactors(positive * pos_weight, negative, positive, negative)
    return _ElementFactors(positive * pos_weight * alpha, negative * (1 - alpha), positive, negative)


def _as_matrix(values: Tensor) -> tuple[Tensor, torch.Size]:
    """Return `(rows, C)` and the shape of the rows, for values `(C,)` or `(N, C, d1, ...)`."""
    if values.dim() == 0:
        raise ValueError("input must have a class dimension in the multiclass task, got a 0-dimensional tensor")
    last = values.movedim(min(values.dim() - 1, 1), -1)
    return last.unsqueeze(0).flatten(end_dim=-2), last.shape[:-1]


def _target_log_p(matrix: Tensor, target: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return target_log_likelihood(matrix, target)
    used = (target >= 0).unsqueeze(1)
    return floored_log(_probabilities(matrix, used).gather(1, target.clamp_min(0).unsqueeze(1)).squeeze(1))


def _expectation(matrix: Tensor, coefficient: Tensor, phi: Phi, used: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return row_expectation(matrix, coefficient, lambda log_p: apply(phi, log_p), used)
    rows = used.unsqueeze(1)
    return torch.where(rows, coefficient * apply(phi, floored_log(_probabilities(matrix, rows))), 0).sum(dim=1)


def _binary_log_p(scores: Tensor, from_logits: bool) -> tuple[Tensor, Tensor]:
    if from_logits:
        return logsigmoid(scores), logsigmoid(-scores)
    probabilities = _probabilities(scores, torch.ones_like(scores, dtype=torch.bool))
    return floored_log(probabilities), floored_log(1 - probabilities)


def _probabilities(scores: Tensor, used: Tensor) -> Tensor:
    """Return the probabilities that count, checked, and 1 in the place of the others."""
    probabilities = scores.where(used, 1)
    bad = (probabilities < 0) | (probabilities > 1)
    check_values("input", probabilities, bad, "probabilities in [0, 1], as from_logits=False")
    return probabilities


def _check_length(factors: ClassFactors, classes: int) -> None:
    for name, factor in zip(("weight", "alpha"), (factors.weight, factors.alpha), strict=True):
        if factor is not None and factor.shape != (classes,):
            raise ValueError(f"{name} must hold one number per class, {classes}, got shape {tuple(factor.shape)}")


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _nan_where(bad: Tensor, loss: Tensor) -> Tensor:
    """Mark rows whose target is out of range where `check_values` may not look."""
    return loss if may_look(bad) else loss.where(~bad, torch.nan)
