"""Checks for losses and modules of one's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_losses import _cutting
from lightning_losses._validation import positive
from lightning_losses.losses import Loss

ROWS, CLASSES = 8, 5


class Check(NamedTuple):
    """One row of the table of `check_loss`.

    Attributes:
        name: What was checked.
        problem: What is wrong, or None.
    """

    name: str
    problem: str | None


def check_loss(loss: Loss, skip: Collection[str] = (), batch: tuple[Tensor, Tensor] | None = None) -> list[Check]:
    """Put a loss through the cases at which losses break.

    Args:
        loss: The loss, reduced by its mean; it is copied. A multiclass one gets five classes.
        skip: Names of checks that are not meant to hold.
        batch: Input and target to start from, a row for each index of the first dimension; the input in float64. By
            default eight rows of the kind that the loss's task says.

    Returns:
        The checks that it passed.

    Raises:
        TypeError: `loss` is not a `Loss`.
        ValueError: A check fails; the message lists all that do.

    Example:
        >>> import lightning_losses as ll
        >>> [check.name for check in check_loss(ll.FocalLoss())][:3]
        ['finite', 'gradient', 'second gradient']
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a lightning_losses.Loss, with sum_and_weight, got {loss!r}")
    if unknown := set(skip) - set(CHECKS):
        raise ValueError(f"skip must hold names of checks, {', '.join(CHECKS)}, got {sorted(unknown)[0]!r}")
    checks = [Check(name, problem(name, loss, batch)) for name in CHECKS if name not in skip]
    if failed := [check for check in checks if check.problem]:
        lines = "\n".join(f"  {check.name}: {check.problem}" for check in failed)
        raise ValueError(f"{type(loss).__name__} fails {len(failed)} of {len(checks)} checks:\n{lines}")
    return checks


def check_split(
    module: Any,
    batch: Any,
    sizes: Sequence[Sequence[int]] | None = None,
    *,
    steps: int = 2,
    precision: str = "64-true",
    tolerance: float = 1e-6,
) -> list[Check]:
    """Show that a LightningModule learns the same however its batch is cut into micro-batches.

    Copies of the module are trained on the CPU, on the batch whole and on its parts with `accumulate_grad_batches`; the
    module itself stays as it is.

    Args:
        module: The module, with its own optimizer.
        batch: A batch of training data; tensors as long as the first one are cut along their first dimension.
        sizes: Rows of the micro-batches of each cut. Default: four equal ones, and unequal ones.
        steps: Optimizer steps, all on the same batch.
        precision: The trainer's; in float64 no rounding hides or feigns a difference.
        tolerance: Largest difference of a parameter, as a share of the largest update.

    Returns:
        The cuts that it passed.

    Raises:
        TypeError: `module` is no LightningModule, or steps its optimizers by itself.
        ValueError: A cut changes what is learned; the message says which parameters, and the usual or the found cause.

    Example:
        >>> import lightning_losses as ll
        >>> from lightning_losses.module import ObjectiveModule
        >>> module = ObjectiveModule(torch.nn.Linear(2, 3), loss={"name": "focal", "weight": [1.0, 2.0, 3.0]})
        >>> batch = torch.randn(8, 2), torch.tensor([0, -100, -100, 1, 2, -100, 2, 2])
        >>> [check.name for check in ll.testing.check_split(module, batch)]
        ['2 + 2 + 2 + 2', '1 + 7']
    """
    if not hasattr(module, "automatic_optimization"):
        raise TypeError(f"module must be a LightningModule, got {type(module).__name__}")
    if not module.automatic_optimization:
        raise TypeError(f"{type(module).__name__} steps its optimizers by itself: what belongs to a step is up to it")
    how = steps, precision, positive("tolerance", tolerance)
    splits = _cutting.compare(module, batch, sizes, *how)
    checks = [Check(" + ".join(map(str, split.sizes)), split.problem) for split in splits]
    if failed := [split for split in splits if split.differences]:
        lines = [f"  {check.name}: {check.problem}" for check in checks if check.problem]
        reasons = [f"  because {cause}" for cause in _cutting.causes(module, batch, failed[0].sizes, *how)]
        raise ValueError(
            "\n".join([f"{type(module).__name__} learns otherwise if its batch is cut:", *lines, *reasons])
        )
    return checks


def problem(name: str, loss: Loss, batch: tuple[Tensor, Tensor] | None = None) -> str | None:
    """Return what is wrong with a loss by one of the checks, or None; see `check_loss`."""
    z, y = _batch(loss.task) if batch is None else batch
    try:
        return CHECKS[name](copy.deepcopy(loss).double(), z.clone(), y.clone())
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _batch(task: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    if task == "multiclass":
        return z, torch.randint(CLASSES, (ROWS,), generator=generator)
    if task == "regression":
        return z[:, 0], z[:, 1]
    y = torch.rand(ROWS, CLASSES, generator=generator).round()
    return (z[:, 0], y[:, 0]) if task == "binary" else (z, y)


def _evaluate(loss: Loss, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, its parameters in the input's dtype, and its gradient, in float64."""
    z = z.detach().clone().requires_grad_()
    value = copy.deepcopy(loss).to(z.dtype)(z, y)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach().double(), gradient.double()


def _differ(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> bool:
    pairs = zip(actual, expected, strict=True)
    return any(bool((a - e).abs().max() > tolerance * (e.abs().max() + 1e-3)) for a, e in pairs)


def _finite(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    sizes = (1e4,) if loss.task != "regression" else (10.0,)
    for size in (*sizes, 100.0, 16.75):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            value, gradient = _evaluate(loss, (z.sign() * size).to(dtype), y)
            if not bool(value.isfinite()) or not bool(gradient.isfinite().all()):
                return f"value or gradient is not finite at inputs of {size:g} in {dtype}"
    return None


def _gradient(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    torch.autograd.gradcheck(lambda x: loss(x, y), z.requires_grad_())
    return None


def _second_gradient(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    torch.autograd.gradgradcheck(lambda x: loss(x, y), z.requires_grad_())
    return None


def _functional_gradient(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    differ = _differ((torch.func.grad(lambda x: loss(x, y))(z),), _evaluate(loss, z, y)[1:], 1e-9)
    return "torch.func.grad gives another gradient" if differ else None


def _per_row_gradient(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    def total(x: Tensor, t: Tensor) -> Tensor:
        return loss.sum_and_weight(x, t)[0]

    per_row = torch.func.vmap(torch.func.grad(total))(z.unsqueeze(1), y.unsqueeze(1)).squeeze(1)
    (expected,) = torch.autograd.grad(total(z.requires_grad_(), y), z)
    return "vmap of torch.func.grad gives another gradient" if _differ((per_row,), (expected,), 1e-9) else None


def _half_precision(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    for dtype in (torch.bfloat16, torch.float16):
        half, x = copy.deepcopy(loss).to(dtype), z.to(dtype)
        if half(x, y).dtype != torch.float32:
            return f"inputs in {dtype} give a loss in {half(x, y).dtype}, not in float32"
        if _differ(_evaluate(half, x, y), _evaluate(half, x.double(), y), 1e-2):
            return f"differs from float64 on the same inputs by more than 1 % in {dtype}"
    return None


def _shift_invariance(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    if loss.task != "multiclass":
        return None
    z = (64 * z).round() / 64  # exact after the shift
    if _differ(_evaluate(loss, (z + 1000).float(), y), _evaluate(loss, z.float(), y), 1e-3):
        return "adding 1000 to all logits changes value or gradient"
    return None


def _order(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    return "the order of the rows matters" if _differ((loss(z.flip(0), y.flip(0)),), (loss(z, y),), 1e-9) else None


def _split(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    whole = loss.sum_and_weight(z, y)
    parts = [loss.sum_and_weight(z[part], y[part]) for part in (slice(3), slice(3, None))]
    added = parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
    return "sums and weights of parts do not add up to those of the whole" if _differ(added, whole, 1e-9) else None


def _mean(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    total, weight = loss.sum_and_weight(z, y)
    return "the loss is not its sum over its weight" if _differ((loss(z, y),), (total / weight,), 1e-9) else None


def _sample_weight(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    twice = torch.tensor([2] + [1] * (len(z) - 1))
    repeated = loss(z.repeat_interleave(twice, dim=0), y.repeat_interleave(twice, dim=0))
    differ = _differ((loss(z, y, twice.double()),), (repeated,), 1e-9)
    return "a sample weight of 2 is not the row twice" if differ else None


def _nothing(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    value, _ = _evaluate(loss, z[:0], y[:0])
    return None if value == 0 else f"an empty batch costs {value.item()}, not 0"


def _ignored(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    if loss.task == "regression":
        return None
    expected, _ = _evaluate(loss, z[1:], y[1:])
    z[0], y[0] = torch.nan, -100
    value, gradient = _evaluate(loss, z, y)
    if _differ((value,), (expected,), 1e-9):
        return "a row with the target -100 changes the mean"
    return None if bool((gradient[0] == 0).all()) else "the gradient of an ignored row that holds NaN is not 0"


def _shapes(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    return _accepts(loss, z, y[:-1], "a target of another length")


def _targets(loss: Loss, z: Tensor, y: Tensor) -> str | None:
    if loss.task == "regression":
        return None
    y[0] = z.shape[-1]
    return _accepts(loss, z, y, f"the target {z.shape[-1]}")


def _accepts(loss: Loss, z: Tensor, y: Tensor, what: str) -> str | None:
    try:
        loss(z, y)
    except (ValueError, TypeError, IndexError, RuntimeError):
        return None
    return f"{what} is accepted"


CHECKS: dict[str, Callable[[Loss, Tensor, Tensor], str | None]] = {
    "finite": _finite,
    "gradient": _gradient,
    "second gradient": _second_gradient,
    "functional gradient": _functional_gradient,
    "per-row gradient": _per_row_gradient,
    "half precision": _half_precision,
    "shift invariance": _shift_invariance,
    "order": _order,
    "split": _split,
    "mean": _mean,
    "sample weight": _sample_weight,
    "nothing": _nothing,
    "ignored": _ignored,
    "shapes": _shapes,
    "targets": _targets,
}
