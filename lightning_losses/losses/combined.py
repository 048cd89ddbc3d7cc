"""Sums of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses._validation import positive
from lightning_losses.functional._options import Reduction
from lightning_losses.functional._rows import RowLoss, reduce
from lightning_losses.losses.base import Prediction, RowwiseLoss
from lightning_losses.losses.registry import LOSSES, get_loss

DENOMINATOR = ("task", "weight", "normalizer", "ignore_index", "reduction")


class CombinedLoss(RowwiseLoss):
    r"""Weighted sum of losses over one denominator.

    $$\sum_k f_k L_k$$

    With an active loss that raises the true class and a passive one that lowers the others it learns from noisy labels
    better than each alone (active-passive losses): `{"nce": 1, "rce": 0.1}`.

    Args:
        terms: The factor of each loss by its short name, above 0; a mapping gives arguments of its own, and may name
            the loss: `{"nfl": {"factor": 1.0, "gamma": 0.5}}`, `{"near": {"name": "huber", "factor": 2.0}}`.
        **options: Options that all terms share: `task` and those that say which rows the mean counts and how, which a
            term must not have for itself.

    Raises:
        ValueError: There is no term, a name is unknown, a factor is not above 0, or the terms differ in what their
            means divide by.
        TypeError: A term does not take an option.

    Example:
        >>> loss = CombinedLoss({"nce": 1.0, "rce": 0.1})
        >>> logits, labels = torch.zeros(1, 4), torch.tensor([1])
        >>> loss(logits, labels)
        tensor(0.9408)
        >>> loss.terms(logits, labels)
        {'nce': tensor(0.2500), 'rce': tensor(0.6908)}

    Source:
        Ma, Huang, Wang, Romano, Erfani, Bailey: Normalized Loss Functions for Deep Learning with Noisy Labels, 2020.
    """

    def __init__(self, terms: Mapping[str, float | Mapping[str, Any]], **options: Any) -> None:
        super().__init__()
        if not terms:
            raise ValueError("terms must hold at least one loss")
        self.factors: dict[str, float] = {}
        losses: dict[str, nn.Module] = {}
        for name, term in terms.items():
            own = dict(term) if isinstance(term, Mapping) else {"factor": term}
            self.factors[name] = positive(f"the factor of {name}", own.pop("factor", 1.0))
            if brought := [option for option in DENOMINATOR if option in own]:
                raise ValueError(
                    f"{brought[0]} must be given for the whole sum, which has one denominator, got "
                    f"{brought[0]}={own[brought[0]]!r} for {name!r}"
                )
            losses[name] = get_loss({"name": name, **options, **own})
        if foreign := [name for name, loss in losses.items() if not isinstance(loss, RowwiseLoss)]:
            raise TypeError(f"terms must be losses that are known for each row, {foreign[0]!r} is not")
        tasks = {name: loss.task for name, loss in losses.items()}
        if len({*tasks.values()}) > 1:
            raise ValueError(f"terms must be losses for one task, got {tasks}")
        self.losses = nn.ModuleDict(losses)

    @property
    def _first(self) -> RowwiseLoss:
        return next(iter(self.losses.values()))  # type: ignore[return-value]

    @property
    def task(self) -> str:  # type: ignore[override]
        """The task of the terms."""
        return self._first.task

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""
        return self._first.reduction

    @property
    def inexact(self) -> str | None:  # type: ignore[override]
        """Why the mean over several batches is not exact, or None."""
        return next((loss.inexact for loss in self.losses.values() if loss.inexact), None)  # type: ignore[return-value]

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted sum of each row and what it adds to the denominator of the mean."""
        rows = self.term_rows(input, target, sample_weight)
        return RowLoss(torch.stack([row.loss for row in rows.values()]).sum(dim=0), next(iter(rows.values())).weight)

    def terms(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> dict[str, Tensor]:
        """Return what each term adds to the loss, by its name.

        Args:
            input: What the model returns.
            target: What it should return.
            sample_weight: Weight of each row.

        Returns:
            Reduced like the loss, which is their sum.
        """
        rows = self.term_rows(input, target, sample_weight)
        return {name: reduce(row, self.reduction) for name, row in rows.items()}

    def predict(self, input: Tensor) -> Prediction:
        """Return decisions without probabilities."""
        return Prediction(self._first.predict(input).decision, None)

    def posterior(self, input: Tensor) -> Tensor:
        """Raise a TypeError: the posterior of a sum is not that of its terms."""
        raise TypeError("CombinedLoss has no posterior: its minimum is not that of one of its terms")

    def term_rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> dict[str, RowLoss]:
        """Return what each term adds to each row; all have the same denominators."""
        rows = {name: loss.rows(input, target, sample_weight) for name, loss in self.losses.items()}  # type: ignore[operator]
        return {name: RowLoss(self.factors[name] * row.loss, row.weight) for name, row in rows.items()}


# A term is looked up in the registry, so the registry cannot import this class.
LOSSES["combined"] = CombinedLoss
