"""How firmly a model holds with the label of each row, on the mean over the epochs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_losses._validation import choice
from lightning_losses.decide import takes_probabilities
from lightning_losses.losses import ForeignLoss, Loss

TASKS = ("binary", "multiclass")


class Margins(NamedTuple):
    """How a batch stands to its labels.

    Attributes:
        margin: Of each row, `(N,)`; NaN in rows that are ignored.
        label: The class that each is said to have; -1 in rows that are ignored.
        rival: The class with the largest other output.
    """

    margin: Tensor
    label: Tensor
    rival: Tensor


def margins(loss: Loss | ForeignLoss, outputs: Tensor, target: Tensor) -> Margins:
    r"""Return the margin of each row's own class, and the class that it is compared with.

    $$m_i = z_{y_i} - \max_{c \ne y_i} z_c, \quad \text{with one logit } m_i = (2 y_i - 1)\, z_i$$

    Args:
        loss: What the model is trained with.
        outputs: What the model returns, `(N, C)`, binary `(N,)` or `(N, 1)`; probabilities count by their logarithm or
            log-odds.
        target: Class indices or 0 and 1; soft rows count as the class with the largest part.

    Returns:
        The margins.

    Raises:
        ValueError: The rows have no single class.

    Example:
        >>> from lightning_losses import CrossEntropyLoss
        >>> outputs = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
        >>> margins(CrossEntropyLoss(), outputs, torch.tensor([0, 1]))
        Margins(margin=tensor([ 1., -2.]), label=tensor([0, 1]), rival=tensor([2, 0]))

    Source:
        Pleiss, Zhang, Elenberg, Weinberger: Identifying Mislabeled Data using the Area Under the Margin Ranking, 2020.
    """
    choice("the task of a loss whose labels are looked at", loss.task, TASKS)
    scores = outputs.detach().float()
    if takes_probabilities(loss):
        scores = scores.log() if loss.task == "multiclass" else scores.logit()
    if loss.task == "binary":
        scores = torch.stack([-scores.flatten() / 2, scores.flatten() / 2], dim=1)  # their difference is the log-odds
        target = target.flatten().round()
    elif target.shape == outputs.shape:
        target = target.argmax(dim=1)
    if scores.dim() != 2 or target.shape != scores.shape[:1]:
        raise ValueError(
            f"each row must have one class, got outputs {tuple(outputs.shape)}, target {tuple(target.shape)}"
        )
    known = (target >= 0) & (target < scores.shape[1])  # others are to be ignored
    own = target.long().where(known, 0).unsqueeze(1)
    rivals = scores.scatter(1, own, -torch.inf).max(dim=1)
    margin = scores.gather(1, own).squeeze(1) - rivals.values
    return Margins(margin.where(known, torch.nan), target.long().where(known, -1), rivals.indices)


class MeanMargins:
    """Running means of the margins of numbered rows.

    Example:
        >>> means = MeanMargins()
        >>> labels = torch.tensor([0, 1])
        >>> means.add(torch.tensor([2, 0]), Margins(torch.tensor([1.0, -3.0]), labels, 1 - labels))
        >>> means.add(torch.tensor([2]), Margins(torch.tensor([2.0]), labels[:1], labels[1:]))
        >>> means.mean
        tensor([-3.0000,     nan,  1.5000])
    """

    FIELDS = ("total", "count", "label", "rival")

    def __init__(self) -> None:
        self.total, self.count = torch.zeros(0), torch.zeros(0)
        self.label = self.rival = torch.zeros(0, dtype=torch.long)

    @property
    def mean(self) -> Tensor:
        """Mean margin of each row, NaN where it was never seen, `(rows,)`."""
        return self.total / self.count

    def add(self, rows: Tensor, batch: Margins) -> None:
        """Count a batch; rows without a margin do not count.

        Args:
            rows: Numbers of its rows, on the CPU.
            batch: Their margins.
        """
        margin, label, rival = batch
        self._grow(int(rows.max()) + 1 if len(rows) else 0, margin.device)
        rows = rows.to(margin.device, non_blocking=True)
        known = margin.isfinite()
        self.total.index_add_(0, rows, margin.where(known, 0))
        self.count.index_add_(0, rows, known.float())
        self.label[rows], self.rival[rows] = label, rival

    def state(self) -> dict[str, Tensor]:
        """Return it as tensors."""
        return {name: getattr(self, name).cpu() for name in self.FIELDS}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> MeanMargins:
        """Build it from what `state` returned."""
        means = cls()
        for name in cls.FIELDS:
            setattr(means, name, state[name])
        return means

    def merge(self, other: MeanMargins) -> None:
        """Add what others have seen; labels and rivals are theirs where they have seen a row."""
        rows = max(len(self.count), len(other.count))
        for means in (self, other):
            means._grow(rows, torch.device("cpu"))
        seen = other.count > 0
        self.total, self.count = self.total + other.total, self.count + other.count
        self.label, self.rival = (getattr(other, name).where(seen, getattr(self, name)) for name in ("label", "rival"))

    def _grow(self, rows: int, device: torch.device) -> None:
        more = max(rows - len(self.count), 0)
        if more or self.count.device != device:
            for name in self.FIELDS:
                old = getattr(self, name).to(device)
                setattr(self, name, torch.cat([old, old.new_full((more,), -1 if old.dtype == torch.long else 0)]))
