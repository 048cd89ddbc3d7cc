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

from lightning_losses import _target_checks
from lightning_losses._validation import choice, finite_non_negative, in_interval, unknown_arguments
from lightning_losses.functional import class_weights
from lightning_losses.functional._mean import ratio
from lightning_losses.functional._phi import floored_log
from lightning_losses.kernels import Phi, apply, element_loss, row_expectation, target_loss

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
DEFAULT_SETTINGS = Settings()  # validated once: on small batches that costs as much as the loss


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


class RowLoss(NamedTuple):
    """Weighted loss of each row and what it adds to the denominator of the mean, both of the target's shape."""

    loss: Tensor
    weight: Tensor


class EqualRows(RowLoss):
    """Rows that add 1 each to the denominator of the mean."""


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
    for name in (options.get("task", ""), *options):
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


def settings_from(owner: str, options: Mapping[str, Any]) -> Settings:
    """Validate the options that are not tensors; `owner` is named if one of them is unknown."""
    unknown_arguments(owner, options, SETTING_NAMES)
    return Settings(**options) if options else DEFAULT_SETTINGS


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
    sample_weight, weight, pos_weight = (given.pop(name, None) for name in ("sample_weight", "weight", "pos_weight"))
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
        TypeError: `input` is not floating point, class indices are not integers, or targets are complex.
    """
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}")
    if target.is_complex():
        raise TypeError(f"target must hold real numbers, got {target.dtype}")
    dtype = _compute_dtype(input)
    if factors is not NO_FACTORS:
        factors = ClassFactors(*(None if f is None else f.to(input.device, dtype) for f in factors))
    if isinstance(formula, Extra):
        rows = formula.rows(settings, factors, input.to(dtype), target)
    elif settings.task != "multiclass":
        rows = _elementwise(formula, settings, factors, input, target)
    elif target.shape == input.shape:
        rows = _soft_rows(formula, settings, factors, input, target)
    else:
        rows = _hard_rows(formula, settings, factors, input, target)
    return rows if sample_weight is None else weigh(rows, sample_weight, settings.normalizer)


def reduce(rows: RowLoss, reduction: Reduction) -> Tensor:
    """Reduce to the mean, the sum or nothing; the mean over no weight at all is 0, with a graph."""
    if reduction == "none":
        return rows.loss
    if reduction == "sum":
        return rows.loss.sum()
    if isinstance(rows, EqualRows) and rows.loss.numel():
        return rows.loss.mean()
    return ratio(rows.loss.sum(), rows.weight.sum())


def weigh(rows: RowLoss, sample_weight: Tensor, normalizer: Normalizer = "weights") -> RowLoss:
    """Multiply each row by its sample weight, which counts in the denominator unless that is the number of rows."""
    shape = rows.loss.shape
    if sample_weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"sample_weight must have shape {tuple(shape[:1])} or {tuple(shape)}, got {tuple(sample_weight.shape)}"
        )
    factor = sample_weight.to(rows.loss).reshape([*sample_weight.shape, *[1] * (len(shape) - sample_weight.dim())])
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
    """Raise a ValueError that shows the first bad value, or keep one on its device where looking would stall it."""
    if may_look(bad):
        if bool(bad.any()):
            raise _target_checks.error(argument, allowed, values[bad].flatten()[0].item())
    elif not _is_traced():
        _target_checks.record(argument, allowed, values, bad)


def warn_if_probabilities(settings: Settings, input: Tensor) -> None:
    """Warn if what should be logits are probabilities: in [0, 1] with a sum of 1 over at least two classes."""
    if settings.task != "multiclass" or not settings.from_logits or not input.dim() or not input.numel():
        return
    sums = input.detach().sum(dim=min(input.dim() - 1, 1))
    tolerance = 4 * torch.finfo(input.dtype).eps
    if bool((input >= 0).all()) and bool(((sums - 1).abs() <= tolerance).all()):
        warnings.warn(
            "the logits all lie in [0, 1] and sum to 1: if they are probabilities, give the loss from_logits=False",
            stacklevel=6,  # the line that calls the module
        )


def may_look(tensor: Tensor) -> bool:
    """Return whether a value can be read: not while compiling or in `torch.func`; see `check_targets` for the rest."""
    return not _is_traced() and not _target_checks.is_deferred(tensor.device)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


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
        share, mask, bad = _soft_target(settings, target.to(matrix.dtype))
    else:
        index, mask, bad = _hard_target(settings, matrix, shape, scores.shape, target)
        share = (index.unsqueeze(1) == torch.arange(matrix.shape[1], device=index.device)).to(matrix)
    used = matrix.new_ones(len(matrix), dtype=torch.bool) if mask is None else mask
    weight = used.to(matrix)
    if target.shape != scores.shape:
        weight = _index_weight(settings, factors, index, weight)
    share = _smooth(settings, share)
    coefficient = share if factors.weight is None else share * factors.weight
    table = class_losses(matrix.where(used.unsqueeze(1), 0))
    loss = (coefficient * table).where((coefficient > 0) & used.unsqueeze(1), 0).sum(dim=1)
    return RowLoss(_nan_where(bad, loss).reshape(shape), weight.reshape(shape))


class _Target(NamedTuple):
    """A checked multiclass target: indices (0 where not used) or shares; which rows are used, which out of range.

    None for the two masks: every row is used, none is out of range.
    """

    values: Tensor
    used: Tensor | None
    bad: Tensor | None


def _hard_target(
    settings: Settings, matrix: Tensor, shape: torch.Size, input_shape: torch.Size, target: Tensor
) -> _Target:
    if target.shape != shape:
        raise ValueError(
            f"target must have shape {tuple(shape)} (class indices) or {tuple(input_shape)} (one-hot rows or "
            f"probabilities) for input of shape {tuple(input_shape)}, got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target must hold integers as class indices, got {target.dtype}")
    classes = matrix.shape[1]
    target = target.reshape(-1).long()
    if target.numel() and may_look(target):
        ends = target.aminmax()
        low, high = ends.min.item(), ends.max.item()
        if low >= 0 and high < classes and not low <= settings.ignore_index <= high:
            return _Target(target, None, None)
    ignored = target == settings.ignore_index
    bad = ~ignored & ((target < 0) | (target >= classes))
    allowed = f"class indices in [0, {classes - 1}] or ignore_index={settings.ignore_index}"
    check_values("target", target, bad, allowed)
    used = ~ignored & ~bad
    return _Target(target.where(used, 0), used, bad)


def _soft_target(settings: Settings, target: Tensor) -> _Target:
    share, _ = _as_matrix(target)
    used = ~(share == settings.ignore_index).all(dim=1)
    bad = used.unsqueeze(1) & ~((share >= 0) & (share <= 1))
    check_values("target", share, bad, "probabilities in [0, 1]")
    bad = bad.any(dim=1)
    used = used & ~bad
    return _Target(share.where(used.unsqueeze(1), 0), used, bad)


def _smooth(settings: Settings, share: Tensor) -> Tensor:
    return (1 - settings.label_smoothing) * share + settings.label_smoothing / share.shape[1]


def _index_weight(settings: Settings, factors: ClassFactors, index: Tensor, used: Tensor) -> Tensor:
    if factors.weight is None or settings.normalizer == "samples":
        return used
    return used * factors.weight[index]


def _hard_rows(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = _as_matrix(input)
    index, used, bad = _hard_target(settings, matrix, shape, input.shape, target)
    classes = matrix.shape[1]
    if factors is not NO_FACTORS:
        _check_length(factors, classes)
    if settings.from_logits:
        loss = target_loss(phi, matrix, index, used, factors.shift)
    else:
        loss = apply(phi, floored_log(_probabilities(matrix, used).gather(1, index.unsqueeze(1)).squeeze(1)))
    by_class = _product(factors.weight, factors.alpha)
    if by_class is not None:
        loss = loss * by_class[index]
    if settings.label_smoothing:
        spread = loss.new_ones(classes) if by_class is None else by_class
        uniform = _expectation(phi, settings, factors, matrix, spread / classes, used)
        loss = (1 - settings.label_smoothing) * loss + settings.label_smoothing * uniform
    loss = _add_z_loss(loss, settings, factors, matrix, used)
    loss = _shaped(_nan_where(bad, loss), shape)
    if used is None and (factors.weight is None or settings.normalizer == "samples"):
        return EqualRows(loss, loss.new_ones(()).expand(shape))
    weight = _index_weight(settings, factors, index, loss.new_ones(()) if used is None else used.to(loss))
    return RowLoss(loss, _shaped(weight.detach(), shape))


def _soft_rows(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    matrix, shape = _as_matrix(input)
    _check_length(factors, matrix.shape[1])
    share, used, bad = _soft_target(settings, target.to(_compute_dtype(input)))
    share = _smooth(settings, share)
    by_class = _product(factors.weight, factors.alpha)
    loss = _expectation(phi, settings, factors, matrix, share if by_class is None else share * by_class, used)
    loss = _add_z_loss(loss, settings, factors, matrix, used)
    weight = torch.ones_like(loss) if used is None else used.to(loss)
    return RowLoss(_shaped(_nan_where(bad, loss), shape), _shaped(weight.detach(), shape))


def _expectation(
    phi: Phi, settings: Settings, factors: ClassFactors, matrix: Tensor, coefficient: Tensor, used: Tensor | None
) -> Tensor:
    if settings.from_logits:
        return row_expectation(phi, matrix, coefficient, used, factors.shift)
    return (coefficient * apply(phi, floored_log(_probabilities(matrix, used)))).sum(dim=1)


def _add_z_loss(loss: Tensor, settings: Settings, factors: ClassFactors, matrix: Tensor, used: Tensor | None) -> Tensor:
    if not settings.z_loss:
        return loss
    scores = matrix.to(loss.dtype) if used is None else matrix.to(loss.dtype).where(used.unsqueeze(1), 0)
    squares = (scores if factors.shift is None else scores + factors.shift).logsumexp(dim=1).square()
    return loss + settings.z_loss * (squares if used is None else squares.where(used, 0))


def _elementwise(phi: Phi, settings: Settings, factors: ClassFactors, input: Tensor, target: Tensor) -> RowLoss:
    if target.shape != input.shape:
        raise ValueError(
            f"target must have the shape of input in the {settings.task} task, {tuple(input.shape)}, "
            f"got {tuple(target.shape)}"
        )
    scores = input
    if factors.shift is not None:
        scores = input.to(_compute_dtype(input)) + along_classes("the prior", factors.shift, input)
    share, used, bad = _element_target(settings, target)
    factor = _element_factors(settings.task, factors, input.new_ones((), dtype=_compute_dtype(input)).expand_as(input))
    smooth = share
    if settings.label_smoothing:
        smooth = (1 - settings.label_smoothing) * share.to(factor.positive.dtype) + settings.label_smoothing / 2
    if settings.from_logits:
        loss = element_loss(phi, scores, smooth, factor.positive, factor.negative, used)
    else:
        of_one, of_zero = (apply(phi, log_p) for log_p in _binary_log_p(scores, used))
        smooth = smooth.to(of_one.dtype)
        loss = factor.positive * smooth * of_one + factor.negative * (1 - smooth) * of_zero
        loss = loss if used is None else loss.where(used, 0)
    loss, weight = _nan_where(bad, loss), loss.new_ones(()).expand_as(loss)
    if settings.normalizer == "weights" and factors.weight is not None:
        weight = factor.weight_positive * share + factor.weight_negative * (1 - share)
    elif used is None:
        return EqualRows(loss, weight)
    return RowLoss(loss, (weight if used is None else weight.where(used, 0)).detach())


def _element_target(settings: Settings, target: Tensor) -> _Target:
    if target.numel() and may_look(target):
        low, high = (end.item() for end in target.aminmax())
        if low >= 0 and high <= 1 and not low <= settings.ignore_index <= high:
            return _Target(target, None, None)
    ignored = target == settings.ignore_index
    bad = ~ignored & ~((target >= 0) & (target <= 1))
    check_values("target", target, bad, f"values in [0, 1] or ignore_index={settings.ignore_index}")
    used = ~ignored & ~bad
    return _Target(target.where(used, 0), used, bad)


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
    if not values.shape[min(values.dim() - 1, 1)]:
        raise ValueError(f"input must have at least one class in the multiclass task, got shape {tuple(values.shape)}")
    if values.dim() == 2:
        return values, values.shape[:1]
    last = values.movedim(min(values.dim() - 1, 1), -1)
    return last.unsqueeze(0).flatten(end_dim=-2), last.shape[:-1]


def _binary_log_p(scores: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor]:
    probabilities = _probabilities(scores if used is None else scores.where(used, 1))
    return floored_log(probabilities), floored_log(1 - probabilities)


def _probabilities(values: Tensor, used: Tensor | None = None) -> Tensor:
    """Return the probabilities that count, checked, in float32 at least, and 1 in the rows that do not."""
    probabilities = values.to(_compute_dtype(values))
    if used is not None:
        probabilities = probabilities.where(used.unsqueeze(1), 1)
    bad = (probabilities < 0) | (probabilities > 1)
    check_values("input", probabilities, bad, "probabilities in [0, 1], as from_logits=False")
    return probabilities


def _compute_dtype(input: Tensor) -> torch.dtype:
    return torch.promote_types(input.dtype, torch.float32)


def _check_length(factors: ClassFactors, classes: int) -> None:
    by_class = {"weight": factors.weight, "alpha": factors.alpha, "the prior": factors.shift}
    for name, factor in by_class.items():
        if factor is not None and factor.shape != (classes,):
            raise ValueError(f"{name} must hold one number per class, {classes}, got shape {tuple(factor.shape)}")


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _shaped(rows: Tensor, shape: torch.Size) -> Tensor:
    return rows if rows.shape == shape else rows.reshape(shape)  # not even a view where none is needed: it costs a node


def _nan_where(bad: Tensor | None, loss: Tensor) -> Tensor:
    """Mark rows whose target is out of range where `check_values` may not look."""
    return loss if bad is None or may_look(bad) else loss.where(~bad, torch.nan)
