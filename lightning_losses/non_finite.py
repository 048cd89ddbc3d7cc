"""The first batch whose objective is not finite: which it was, which of its terms, and what the network returned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_losses._target_checks import may_look
from lightning_losses.objective import Terms


class NonFinite:
    """Remembers the first batch of a run whose objective is not finite.

    On a CPU it looks at each batch. On an accelerator nothing waits for the device: the batch's number and the values
    of its terms are kept there until `describe` reads them.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._record: Tensor | None = None
        self._outputs = ""

    def see(self, terms: Terms, batch_idx: int, outputs: Any) -> None:
        """Look at a batch.

        Args:
            terms: What its objective consists of.
            batch_idx: The batch's number in its epoch.
            outputs: What the network has returned for it.
        """
        objective = terms.total
        looks = may_look(objective)
        if looks and (self._record is not None or math.isfinite(objective.item())):
            return
        means = [part.mean for part in terms.named.values()]
        values = [value.detach().to(objective) for value in (objective, *means)]
        record = torch.stack([*values, torch.full_like(objective, batch_idx)])
        self._names = tuple(terms.named)
        self._record = record if self._record is None else record.where(self._record[0].isfinite(), self._record)
        if looks:
            self._outputs = f"; {_statistics(outputs)}"

    def describe(self, epoch: int) -> str:
        """Return what was not finite, or that it was on another rank."""
        *values, batch_idx = (0.0, 0.0) if self._record is None else self._record.tolist()
        if math.isfinite(values[0]):
            return f"the objective is not finite in epoch {epoch}, in a batch of another rank"
        bad = {n: v for n, v in zip(self._names, values[1:], strict=True) if not math.isfinite(v)}
        terms = ", ".join(f"{name} is {value}" for name, value in bad.items()) or "the sum of its terms overflows"
        return f"the objective is not finite at batch {batch_idx:.0f} of epoch {epoch}: {terms}{self._outputs}"


@torch.no_grad()
def _statistics(outputs: Any, name: str = "") -> str:
    """Describe what a network returned."""
    if isinstance(outputs, Mapping):
        return "; ".join(_statistics(value, f" of {key}") for key, value in outputs.items())
    if isinstance(outputs, (tuple, list)):
        return "; ".join(_statistics(value, f"[{i}]") for i, value in enumerate(outputs))
    if not isinstance(outputs, Tensor):
        return f"the output{name} is a {type(outputs).__name__}"
    finite = outputs[outputs.isfinite()].double()
    bad = outputs.numel() - finite.numel()
    shown = f"outputs{name} of shape {tuple(outputs.shape)}: {bad} of {outputs.numel()} not finite"
    if not finite.numel():
        return shown
    return f"{shown}, the others from {finite.min():.6g} to {finite.max():.6g} with mean {finite.mean():.6g}"
