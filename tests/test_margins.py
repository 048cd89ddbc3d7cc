"""Margins by their formula, and their means over batches in any order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lightning_losses as ll
from lightning_losses.margins import MeanMargins, margins

Z = torch.tensor([[3.0, 1.0, 2.0], [0.0, -1.0, 5.0], [1.0, 1.0, 1.0], [9.0, 8.0, 7.0]])
Y = torch.tensor([0, 1, 2, -100])

# loss, outputs, target -> margin, rival
CASES: dict[str, tuple[Any, torch.Tensor, torch.Tensor, list[float], list[int]]] = {
    "classes": (ll.FocalLoss(), Z, Y, [1, -6, 0, torch.nan], [2, 2, 0, 1]),
    "soft classes": (ll.CrossEntropyLoss(), Z[:2], torch.tensor([[0.9, 0.1, 0], [0, 0.8, 0.2]]), [1, -6], [2, 2]),
    "probabilities": (
        ll.CrossEntropyLoss(from_logits=False),
        torch.tensor([[0.2, 0.5, 0.3]]),
        torch.tensor([0]),
        [-0.9163],  # log(0.2 / 0.5)
        [1],
    ),
    "one logit": (
        ll.BinaryCrossEntropyLoss(),
        torch.tensor([2.0, 2.0, 2.0]),
        torch.tensor([1, 0, -100]),
        [2, -2, torch.nan],
        [0, 1, 1],
    ),
    "a column": (
        ll.BinaryCrossEntropyLoss(),
        torch.tensor([[2.0], [-3.0]]),
        torch.tensor([[1.0], [0.0]]),
        [2, 3],
        [0, 1],
    ),
    "one probability": (
        ll.BinaryCrossEntropyLoss(from_logits=False),
        torch.tensor([0.8]),
        torch.tensor([0]),
        [-1.3863],  # log(0.2 / 0.8)
        [1],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_margin_is_the_outputs_difference(name: str) -> None:
    loss, outputs, target, margin, rival = CASES[name]
    found = margins(loss, outputs, target)
    torch.testing.assert_close(
        found.margin, torch.tensor(margin, dtype=torch.float32), rtol=1e-4, atol=1e-6, equal_nan=True
    )
    known = found.margin.isfinite()
    assert found.rival[known].tolist() == [r for r, k in zip(rival, known, strict=True) if k]
    assert (found.label[~known] == -1).all()


@pytest.mark.parametrize(
    ("loss", "outputs", "target"),
    [
        (ll.MSELoss(), torch.zeros(2, 1), torch.zeros(2, 1)),
        (ll.BinaryCrossEntropyLoss(task="multilabel"), torch.zeros(2, 3), torch.zeros(2, 3)),
        (ll.CrossEntropyLoss(), torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)),
    ],
    ids=["regression", "multilabel", "pixels"],
)
def test_rows_without_one_class_are_refused(loss: ll.Loss, outputs: torch.Tensor, target: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"whose labels are looked at must be one of|each row must have one class"):
        margins(loss, outputs, target)


def test_means_do_not_depend_on_batches_or_on_who_has_seen_them() -> None:
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(30, 4, generator=generator), torch.randint(4, (30,), generator=generator)
    seen = margins(ll.CrossEntropyLoss(), z, y)
    rows = torch.arange(30) % 10  # three looks at each of ten rows
    whole, first, second = MeanMargins(), MeanMargins(), MeanMargins()
    whole.add(rows, seen)
    for start in range(0, 30, 5):
        part = slice(start, start + 5)
        (first if start < 15 else second).add(rows[part], type(seen)(*(values[part] for values in seen)))
    first.merge(MeanMargins.from_state(second.state()))
    torch.testing.assert_close(first.mean, whole.mean)
    torch.testing.assert_close(whole.mean, seen.margin.reshape(3, 10).mean(0))
