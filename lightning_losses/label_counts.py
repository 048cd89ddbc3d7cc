"""Arguments of a loss that depend on how often each class occurs among the training labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from lightning_losses._mapping import name_and_arguments
from lightning_losses._validation import choice
from lightning_losses.functional import class_weights
from lightning_losses.functional._prior import prior_from_counts
from lightning_losses.losses.base import Loss
from lightning_losses.losses.registry import ALIASES, LOSSES, LossSpec, required_arguments
from lightning_losses.objective import mean_loss

COUNTED = ("class_counts", "prior")  # arguments that a loss cannot do without


class LabelCounts(NamedTuple):
    """How often each class occurs.

    Attributes:
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
        counts: Multiclass `(C,)`, binary `[n0, n1]`, multilabel `[n0, n1]` of each label, `(L, 2)`.
    """

    task: Any
    counts: Tensor

    def numbers(self, argument: str, spec: Mapping[str, Any]) -> Any:
        """Return what stands for an argument, as plain numbers.

        Args:
            argument: `weight`, `pos_weight`, `prior` or `class_counts`.
            spec: For a weight, the function of `class_weights` and its other arguments.

        Raises:
            ValueError: A class does not occur, or there is no such weight in this task.
        """
        counts = self.counts
        if not bool((counts > 0).all()):
            missing = ", ".join(
                str(row) for row in (counts.reshape(len(counts), -1) == 0).any(1).nonzero().flatten().tolist()
            )
            kind = "both classes of label" if self.task == "multilabel" else "class"
            raise ValueError(f"loss.{argument} from the training labels: they hold no row of {kind} {missing}")
        if argument == "class_counts":
            return counts.tolist()
        if argument == "prior":
            return prior_from_counts(self.task, counts).tolist()
        if argument == "pos_weight":
            return (counts[..., 0] / counts[..., 1]).tolist()
        if self.task == "multilabel":
            raise ValueError(
                "loss.weight from the training labels is for classes; for labels there is pos_weight=balanced"
            )
        return class_weights.from_mapping({**spec, "counts": counts}).tolist()


def needs_counts(loss: LossSpec) -> bool:
    """Return whether a loss is configured with arguments that come from the training labels.

    Args:
        loss: See `get_loss`.

    Example:
        >>> needs_counts({"name": "focal", "weight": "balanced"}), needs_counts("logit_adjusted"), needs_counts("ce")
        (True, True, False)
    """
    return bool(_open_arguments(loss))


def count_labels(task: str, targets: Iterable[Tensor], ignore_index: int = -100) -> Tensor:
    """Count the classes of targets in one pass.

    Args:
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
        targets: Of one batch after another: class indices, or in the multiclass task probabilities `(N, C, ...)`, which
            count in part; 0 and 1 in the other tasks, multilabel `(N, L, ...)`.
        ignore_index: Label that does not count.

    Returns:
        See `LabelCounts`, in float64.

    Example:
        >>> count_labels("multiclass", [torch.tensor([0, 2, 2]), torch.tensor([1, -100])])
        tensor([1., 1., 2.], dtype=torch.float64)
    """
    counts = torch.zeros(0, dtype=torch.float64)
    for target in targets:
        counts = add_padded(counts, _count(task, target.detach().cpu(), ignore_index))
    return counts


def _count(task: str, target: Tensor, ignore_index: int) -> Tensor:
    if task == "multiclass" and not target.is_floating_point():
        return torch.bincount(target[target != ignore_index].flatten()).double()
    rows = target.double().movedim(1, -1).flatten(0, -2) if task != "binary" else target.double().reshape(-1, 1)
    used = rows != ignore_index
    positive = rows.where(used, 0).sum(0)
    if task == "multiclass":
        return positive
    pairs = torch.stack([used.sum(0) - positive, positive], dim=1)
    return pairs[0] if task == "binary" else pairs


def add_padded(counts: Tensor, more: Tensor) -> Tensor:
    """Add counts of which one may not have seen the last classes."""
    length = max(len(counts), len(more))
    sizes = (length, *more.shape[1:])
    total = torch.zeros(sizes, dtype=torch.float64)
    for part in (counts, more):
        if part.numel():
            total[: len(part)] += part
    return total


def with_counts(loss: LossSpec, counts: LabelCounts) -> LossSpec:
    """Put numbers into what depends on the training labels.

    Args:
        loss: See `get_loss`.
        counts: How often each class occurs.

    Returns:
        The mapping with plain numbers, from which a checkpoint can build the loss again; `loss` itself where nothing
        depends on labels.

    Raises:
        ValueError: A class does not occur, or a name is unknown.

    Example:
        >>> with_counts({"name": "ce", "weight": "balanced"}, LabelCounts("multiclass", torch.tensor([3, 1])))
        {'name': 'ce', 'weight': [0.6666666666666666, 2.0]}
    """
    open_arguments = _open_arguments(loss)
    if not open_arguments or not isinstance(loss, (str, Mapping)):
        return loss
    name, arguments = name_and_arguments("loss", loss)
    for argument, spec in open_arguments.items():
        arguments[argument] = counts.numbers(argument, spec)
    return {"name": name, **arguments}


def task_of(loss: LossSpec) -> str:
    """Return the task of a loss that is given by its name or a mapping."""
    name, arguments = _resolved(loss)
    cls = LOSSES[name]
    if "terms" in arguments and "task" not in arguments:
        first, term = next(iter(arguments["terms"].items()))
        return task_of({"name": first, **(term if isinstance(term, Mapping) else {})})
    return str(arguments.get("task") or getattr(cls, "default_task", cls.task))


class UncountedLoss(Loss):
    """Stands where a loss will stand as soon as the training labels are counted.

    Args:
        loss: The name or the mapping of the loss.

    Raises:
        ValueError: An argument is not allowed, counts apart.
        TypeError: The loss takes no such argument.
    """

    def __init__(self, loss: LossSpec) -> None:
        super().__init__()
        self.spec = loss
        self.task = task_of(loss)
        _, arguments = _resolved(loss)
        alpha = arguments.get("alpha")
        classes = len(alpha) if isinstance(alpha, Sequence) else 2
        shape = (classes, 2) if self.task == "multilabel" else (classes,)
        self.ignore_index = int(arguments.get("ignore_index", -100))
        mean_loss(with_counts(loss, LabelCounts(self.task, torch.ones(shape))))  # all other mistakes show here

    def sum_and_weight(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> NoReturn:
        """Raise a RuntimeError: the labels are not counted."""
        raise RuntimeError(
            f"{' and '.join(_open_arguments(self.spec))} of the loss must be counted from the training labels first, "
            "which Trainer.fit does: fit, load a checkpoint, or give numbers"
        )

    def predict(self, input: Tensor) -> NoReturn:
        """Raise a RuntimeError: the labels are not counted."""
        self.sum_and_weight(input, input)


def _resolved(loss: LossSpec) -> tuple[str, dict[str, Any]]:
    """Return the short name, not an alias, and the arguments."""
    name, arguments = name_and_arguments("loss", loss)  # type: ignore[arg-type]
    return name_and_arguments("loss", {**ALIASES.get(name, {"name": name}), **arguments})


def _open_arguments(loss: LossSpec) -> dict[str, dict[str, Any]]:
    """Return the arguments that wait for counts, each with what else it says."""
    if not isinstance(loss, (str, Mapping)) or (isinstance(loss, Mapping) and "name" not in loss):
        return {}
    name, arguments = _resolved(loss)
    if name not in LOSSES:
        return {}
    found: dict[str, dict[str, Any]] = {
        argument: {}
        for argument in required_arguments(LOSSES[name])
        if argument in COUNTED and arguments.get(argument) is None
    }
    weight = arguments.get("weight")
    if isinstance(weight, str):
        found["weight"] = {"name": choice("loss.weight", weight, class_weights.FUNCTIONS)}
    elif isinstance(weight, Mapping) and "counts" not in weight:
        found["weight"] = dict(weight)
    if isinstance(arguments.get("pos_weight"), str):
        choice("loss.pos_weight", arguments["pos_weight"], ("balanced",))
        found["pos_weight"] = {}
    return found
