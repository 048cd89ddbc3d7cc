"""Whether a module learns the same however its batch is cut into micro-batches."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_losses.mixins import LossMixin

_LOOKS_AT_THE_BATCH: dict[type[nn.Module], str] = {
    nn.modules.batchnorm._BatchNorm: "normalizes by the mean and variance of the micro-batch at hand",
    nn.modules.dropout._DropoutNd: "draws other random numbers for other micro-batches",
}


class Split(NamedTuple):
    """What a module has learned from a batch that was cut.

    Attributes:
        sizes: Rows of each micro-batch.
        differences: By how much each parameter differs from what the whole batch teaches, where it differs.
        update: The largest change of a parameter that the whole batch makes.
    """

    sizes: Sequence[int]
    differences: dict[str, float]
    update: float

    @property
    def problem(self) -> str | None:
        """Which parameters differ, the worst first, or None."""
        if not self.differences:
            return None
        worst = sorted(self.differences, key=self.differences.__getitem__, reverse=True)
        shown = ", ".join(f"{name} by {self.differences[name]:.2g}" for name in worst[:3])
        others = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        return f"{shown}{others} (the largest update is {self.update:.2g})"


class _Batches:
    """Micro-batches as a trainer's loader."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def compare(
    module: Any, batch: Any, all_sizes: Sequence[Sequence[int]] | None, steps: int, precision: str, tolerance: float
) -> list[Split]:
    """Train copies of a module on a batch whole and cut, and return how the cuts differ."""
    rows = _rows(batch)
    for sizes in all_sizes or ():
        if sum(sizes) != rows or min(sizes) < 1:
            raise ValueError(f"sizes must hold positive numbers that add up to the batch's {rows} rows, got {sizes!r}")
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    whole = _train(module, _Batches([batch]), steps, precision)
    update = max(_largest_differences(before, whole).values(), default=0.0)
    splits = []
    for sizes in all_sizes or _default_sizes(rows):
        differ = _largest_differences(whole, _train(module, _cut_up(batch, sizes, rows), steps, precision))
        differ = {name: by for name, by in differ.items() if not by <= tolerance * update}
        splits.append(Split(sizes, differ, update))
    return splits


def causes(module: Any, batch: Any, sizes: Sequence[int], steps: int, precision: str, tolerance: float) -> list[str]:
    """Return why a module learns otherwise from a batch that is cut into `sizes`."""
    if not isinstance(module, LossMixin):
        return ["without LossMixin the trainer takes the mean of the means of micro-batches"]
    if module.objective.inexact:
        return [module.objective.inexact]
    if not module._ll_exact:
        return ["exact=False, or a training_step of its own, takes the mean of each micro-batch"]
    calm = copy.deepcopy(module)
    found = []
    for name, part in calm.named_modules():
        reason = next((why for kind, why in _LOOKS_AT_THE_BATCH.items() if isinstance(part, kind)), None)
        if reason and part.training:
            part.eval()
            found.append(f"{name} ({type(part).__name__}) {reason}")
    if not found or compare(calm, batch, [sizes], steps, precision, tolerance)[0].differences:
        found.append("something in its forward or its losses looks at other rows of the batch, or draws random numbers")
    return found


def _train(module: Any, batches: _Batches, steps: int, precision: str) -> dict[str, Tensor]:
    """Return the parameters that a copy of a module has after some steps, each on all of the micro-batches."""
    trained = copy.deepcopy(module)
    base = next(base for base in type(module).__mro__ if base.__name__ == "LightningModule")
    package = "lightning.pytorch" if base.__module__.startswith("lightning.") else "pytorch_lightning"
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    with torch.random.fork_rng(devices=[]), _quiet(package):
        torch.manual_seed(len(batches))  # where numbers are drawn, luck must not make them the same
        trainer = importlib.import_module(package).Trainer(
            max_epochs=steps,
            accelerator="cpu",
            devices=1,
            precision=precision,
            accumulate_grad_batches=len(batches),
            limit_val_batches=0,
            **dict.fromkeys(quiet, False),
        )
        trainer.fit(trained, batches)
    return {name: parameter.detach() for name, parameter in trained.named_parameters()}


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Leave out advice on speed, and what devices there are."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _largest_differences(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, float]:
    pairs = {name: (some[name].double(), others[name].double()) for name in some if some[name].numel()}
    return {name: float((one - other).abs().max()) for name, (one, other) in pairs.items()}


def _default_sizes(rows: int) -> list[list[int]]:
    """Return equal parts, up to four, and unequal ones; batch norm needs two rows."""
    if rows < 2:
        raise ValueError(f"batch must have at least 2 rows to be cut, got {rows}")
    size = -(-rows // 4)
    equal = [min(size, rows - start) for start in range(0, rows, size)]
    third = rows // 3
    return [equal, [2, third, rows - 2 - third] if third > 2 else [1, rows - 1]]


def _rows(batch: Any) -> int:
    """Return the length of the batch's first tensor that has one."""
    lengths = (len(tensor) for tensor in _tensors(batch) if tensor.dim())
    rows = next(lengths, None)
    if rows is None:
        raise ValueError(f"batch must hold a tensor with an entry for each row, got a {type(batch).__name__}")
    return rows


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (list, tuple, Mapping)):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(value)


def _cut_up(batch: Any, sizes: Sequence[int], rows: int) -> _Batches:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return _Batches([_take(batch, slice(start, start + n), rows) for start, n in zip(starts, sizes, strict=True)])


def _take(batch: Any, part: slice, rows: int) -> Any:
    """Return some rows of each tensor that has as many as the batch, and everything else as it is."""
    if isinstance(batch, Tensor):
        return batch[part] if batch.dim() and len(batch) == rows else batch
    if isinstance(batch, Mapping):
        return {key: _take(value, part, rows) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_take(value, part, rows) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(_take(value, part, rows) for value in batch)
    return batch
