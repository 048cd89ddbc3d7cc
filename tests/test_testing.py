"""`check_loss` passes what is right and names what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lightning_losses as ll
from lightning_losses.testing import CHECKS


@pytest.mark.parametrize(
    "loss", [ll.CrossEntropyLoss(), ll.FocalLoss(task="binary"), ll.AsymmetricLoss(), ll.HuberLoss()], ids=str
)
def test_sound_losses_pass(loss: ll.Loss) -> None:
    assert [check.name for check in ll.testing.check_loss(loss)] == list(CHECKS)


class Wrong(ll.Loss):
    """Cross entropy by `log` of `softmax`, divided by all rows, in the input's dtype, for any target."""

    task = "multiclass"

    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        rows = -input.softmax(1).log()[torch.arange(len(input)), target.clamp(0, 4)]
        return rows.sum(), torch.ones_like(rows).sum()


def test_a_wrong_loss_is_told_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"Wrong fails \d+ of 12 checks") as failure:
        ll.testing.check_loss(Wrong())
    for name in ("finite", "half precision", "sample weight", "ignored", "targets"):
        assert f"\n  {name}: " in str(failure.value)
    for name in ("gradient", "order", "split", "mean"):
        assert f"\n  {name}: " not in str(failure.value)


def test_checks_can_be_skipped() -> None:
    with pytest.raises(ValueError, match=r"GHMLoss fails 2 of 12"):
        ll.testing.check_loss(ll.GHMLoss())
    assert len(ll.testing.check_loss(ll.GHMLoss(), skip=["split", "sample weight"])) == 10


def test_mistakes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"lightning_losses\.Loss"):
        ll.testing.check_loss(torch.nn.MSELoss())
    with pytest.raises(ValueError, match=r"skip .*'splt'"):
        ll.testing.check_loss(ll.MSELoss(), skip=["splt"])
