"""`check_loss` passes what is right and names what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lightning_losses as ll
from lightning_losses.testing import CHECKS
from tests.cases import make, tasks

LOG_P = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(1)
# Losses of inputs other than scores.
BATCHES = {
    "cosine_similarity": (LOG_P, LOG_P.flip(0)),
    "kl_div": (LOG_P, LOG_P.flip(0).exp()),
}
# loss and check -> why it is not meant to hold
NOT_MEANT = {
    ("adaptive_log_softmax", "shift invariance"): "its input are features",
    ("adaptive_log_softmax", "per-row gradient"): "torch's looks at the labels",
    ("ghm", "per-row gradient"): "its rows depend on each other",
    ("ghm", "sample weight"): "its rows depend on each other",
    ("ghm", "split"): "its rows depend on each other",
    ("hinge", "ignored"): "it takes labels alone",
    ("kl_div", "ignored"): "its targets are probabilities, as torch takes them",
    ("kl_div", "shift invariance"): "its input are log-probabilities",
    ("kl_div", "targets"): "its targets are probabilities, as torch takes them",
    ("nll", "shift invariance"): "its input are log-probabilities",
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("name", "task"), [(name, task) for name in ll.list_losses() for task in tasks(name)])
def test_every_listed_loss_passes(name: str, task: str, check: str) -> None:
    problem = ll.testing.problem(check, make(name, task, classes=5), BATCHES.get(name))
    if (name, check) in NOT_MEANT:
        assert problem
    else:
        assert problem is None


def test_checks_that_pass_are_returned() -> None:
    assert [check.name for check in ll.testing.check_loss(ll.FocalLoss(gamma=0.5))] == list(CHECKS)


class Wrong(ll.Loss):
    """Cross entropy by `log` of `softmax`, divided by all rows, in the input's dtype, for any target."""

    task = "multiclass"

    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        rows = -input.softmax(1).log()[torch.arange(len(input)), target.clamp(0, 4)]
        return rows.sum(), torch.ones_like(rows).sum()


def test_a_wrong_loss_is_told_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=rf"Wrong fails \d+ of {len(CHECKS)} checks") as failure:
        ll.testing.check_loss(Wrong())
    for name in ("finite", "half precision", "sample weight", "ignored", "targets"):
        assert f"\n  {name}: " in str(failure.value)
    for name in ("gradient", "order", "split", "mean"):
        assert f"\n  {name}: " not in str(failure.value)


def test_checks_can_be_skipped() -> None:
    with pytest.raises(ValueError, match=rf"GHMLoss fails 3 of {len(CHECKS)} "):
        ll.testing.check_loss(ll.GHMLoss())
    assert (
        len(ll.testing.check_loss(ll.GHMLoss(), skip=["split", "sample weight", "per-row gradient"])) == len(CHECKS) - 3
    )


def test_mistakes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"lightning_losses\.Loss"):
        ll.testing.check_loss(torch.nn.MSELoss())
    with pytest.raises(ValueError, match=r"skip .*'splt'"):
        ll.testing.check_loss(ll.MSELoss(), skip=["splt"])
