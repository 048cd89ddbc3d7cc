"""The options that all classification losses share, and those of them that are not tensors, validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict

from torch import Tensor

from lightning_losses._validation import choice, finite_non_negative, in_interval, unknown_arguments

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


def settings_from(owner: str, options: Mapping[str, Any]) -> Settings:
    """Validate the options that are not tensors; `owner` is named if one of them is unknown."""
    if not options:
        return DEFAULT_SETTINGS
    unknown_arguments(owner, options, SETTING_NAMES)
    return Settings(**options)
