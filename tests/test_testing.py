"""`check_loss` and `check_split` pass what is right and name what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

import lightning_losses as ll
from lightning_losses.module import ObjectiveModule
from lightning_losses.testing import CHECKS
from tests.cases import make, tasks
from tests.test_mixins import ADAMW, SGD, Manual, Net, OwnStep, rows, weights

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


@pytest.mark.parametrize("optimizer", [SGD, ADAMW])
def test_a_sound_module_learns_the_same_from_every_cut(optimizer: dict[str, Any]) -> None:
    module = Net(optimizer=optimizer, regularizer={"l1": 1e-3})
    before = weights(module).clone()
    checks = ll.testing.check_split(module, rows(), steps=3)
    assert [check.name for check in checks] == ["16 + 16 + 16 + 16", "2 + 21 + 41"]
    assert weights(module).equal(before)


def test_batches_may_be_mappings_and_hold_other_things() -> None:
    class FromDict(Net):
        def supervised_step(self, batch: Any) -> ll.Supervised:
            assert batch["names"] == ["a", "b"]
            return super().supervised_step((batch["x"], *batch["labels"]))

    x, y, w = rows()
    batch = {"x": x, "labels": [y, w], "names": ["a", "b"], "temperature": torch.tensor(2.0)}
    assert len(ll.testing.check_split(FromDict(), batch, sizes=[[60, 4], [1] * 64])) == 2


def module_with(layer: nn.Module) -> ObjectiveModule:
    torch.manual_seed(0)
    return ObjectiveModule(nn.Sequential(nn.Linear(3, 8), layer, nn.Linear(8, 4)), optimizer=SGD)


class Foreign(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class LooksAround(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


@pytest.mark.parametrize(
    ("module", "cause"),
    [
        (module_with(nn.BatchNorm1d(8)), r"because net.1 \(BatchNorm1d\) normalizes by the mean and variance"),
        (module_with(nn.Dropout(0.5)), r"because net.1 \(Dropout\) draws other random numbers"),
        (Net(loss={"name": "ghm", "task": "multilabel"}), "because it weights a row by how many of its batch"),
        (Net(exact=False), "because exact=False"),
        (OwnStep(), "because exact=False, or a training_step of its own"),
        (Foreign(), "because without LossMixin"),
        (LooksAround(), "because something in its forward"),
    ],
    ids=["batch norm", "dropout", "ghm", "inexact", "own step", "foreign", "unknown"],
)
def test_what_depends_on_the_cut_is_told_with_its_cause(module: LightningModule, cause: str) -> None:
    x, y, w = rows()
    labels = nn.functional.one_hot(y.clamp_min(0), 4) if "how many of its batch" in cause else y
    batch = (x, labels, w) if isinstance(module, ll.LossMixin) else (x, labels)
    with pytest.raises(ValueError, match=rf"learns otherwise if its batch is cut:\n  \d+ \+ .*\n  {cause}") as failure:
        ll.testing.check_split(module, batch, sizes=[[9, 55]])
    assert "net." in str(failure.value)
    assert "something in its forward" in cause or "something" not in str(failure.value)


@pytest.mark.parametrize(
    ("module", "batch", "arguments", "error", "message"),
    [
        (nn.Linear(1, 1), rows(), {}, TypeError, "must be a LightningModule, got Linear"),
        (Manual(), rows(), {}, TypeError, "Manual steps its optimizers by itself"),
        (Net(), "text", {}, ValueError, "batch must hold a tensor"),
        (Net(), rows(1), {}, ValueError, "at least 2 rows to be cut, got 1"),
        (Net(), rows(), {"sizes": [[32, 31]]}, ValueError, r"add up to the batch's 64 rows, got \[32, 31\]"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    module: Any, batch: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ll.testing.check_split(module, batch, **arguments)
