"""A scheduled hyper-parameter in a training: the same as a training that is cut into pieces by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torchmetrics.classification import MulticlassAUROC

from lightning_losses.callbacks import Regularizers, Schedule
from lightning_losses.module import ObjectiveModule
from tests.test_callbacks import Foreign
from tests.test_mixins import Net, fit, loader, rows, weights

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


class Record(Callback):
    """Notes what is in force in each batch."""

    def __init__(self, read: Any) -> None:
        self.read, self.seen = read, []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(self.read(pl_module))


def gamma(module: Any) -> float:
    return float(module.objective.loss.phi.gamma)


def by_hand(stages: list[dict[str, Any]], **options: Any) -> torch.Tensor:
    """Train by a plain loop an epoch for each objective."""
    module = Net(**options)
    optimizer = module.configure_optimizers()["optimizer"]
    x, y, w = rows()
    for stage in stages:
        objective = Net(**{**options, **stage}).objective.bind(module)
        for start in range(0, 64, 16):
            part = slice(start, start + 16)
            optimizer.zero_grad()
            objective(module(x[part]), y[part], w[part]).total.backward()
            optimizer.step()
    return weights(module)


FOCAL = {"name": "focal", "gamma": 0.0}
# options of the module, arguments of the schedule, the objective of each epoch
COURSES: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "gamma annealed": (
        {"loss": FOCAL},
        {"target": "loss.gamma", "at": [0, 2], "values": [0.0, 3.0], "shape": "linear"},
        [{"loss": {**FOCAL, "gamma": value}} for value in (0.0, 1.5, 3.0, 3.0)],
    ),
    "warm-up": (
        {"loss": "ce"},
        {"target": "loss", "at": [0, 2], "values": ["ce", {"name": "sce", "alpha": 0.1}]},
        [{"loss": "ce"}, {"loss": "ce"}, *[{"loss": {"name": "sce", "alpha": 0.1}}] * 2],
    ),
    "deferred re-weighting": (
        {"loss": "ce"},
        {"target": "loss.weight", "at": [0, 3], "values": [None, [1.0, 2.0, 0.5, 3.0]]},
        [*[{"loss": "ce"}] * 3, {"loss": {"name": "ce", "weight": [1.0, 2.0, 0.5, 3.0]}}],
    ),
    "a penalty that fades": (
        {"loss": "ce", "regularizer": {"l2": 0.4}},
        {"target": "regularizer.l2.factor", "at": [0, 1, 2], "values": [0.4, 0.1, 0.0]},
        [{"regularizer": {"l2": factor}} for factor in (0.4, 0.1, 0.0, 0.0)],
    ),
}


@pytest.mark.parametrize("name", COURSES)
def test_each_epoch_learns_by_its_own_objective(name: str) -> None:
    options, arguments, stages = COURSES[name]
    module = Net(**options)
    fit(module, loader(16), max_epochs=4, callbacks=[Schedule(**arguments)])
    torch.testing.assert_close(weights(module), by_hand(stages, **options), rtol=0, atol=1e-6)


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_resumed_run_goes_on_with_the_right_value(interval: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    schedule = {"target": "loss.gamma", "at": [0, 10], "values": [0.0, 5.0], "shape": "linear", "interval": interval}
    whole, half, resumed = Net(loss=FOCAL), Net(loss=FOCAL), Net(loss=FOCAL)
    seen = Record(gamma)
    fit(whole, loader(16), max_epochs=4, callbacks=[Schedule(**schedule)])
    fit(half, loader(16), max_epochs=2, callbacks=[Schedule(**schedule)]).save_checkpoint(path)
    fit(resumed, loader(16), max_epochs=4, ckpt_path=path, callbacks=[Schedule(**schedule), seen])
    expected = [1.0] * 4 + [1.5] * 4 if interval == "epoch" else [4.0, 4.5, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    assert seen.seen == pytest.approx(expected)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_steps_are_those_of_the_optimizer() -> None:
    seen = Record(gamma)
    schedule = Schedule("loss.gamma", at=[0, 1], values=[0.0, 1.0], interval="step")
    fit(Net(loss=FOCAL), loader(16), accumulate_grad_batches=2, callbacks=[schedule, seen])
    assert seen.seen == [0.0, 0.0, 1.0, 1.0]


def test_the_value_is_logged() -> None:
    callbacks = [
        Schedule("loss.gamma", at=[0, 2], values=[0.0, 3.0], shape="linear"),
        Schedule("loss.weight", at=[0, 1, 9], values=[None, [1.0, 2.0, 0.5, 3.0], None]),
    ]
    logged = fit(Net(loss=FOCAL), loader(16), max_epochs=2, callbacks=callbacks).callback_metrics
    assert (logged["schedule/loss.gamma"], logged["schedule/loss.weight"]) == (1.5, 1)


def test_a_checkpoint_tells_the_loss_in_force(tmp_path: Path) -> None:
    schedule = Schedule("loss", at=[0, 1], values=["ce", {"name": "sce", "alpha": 0.1}])
    fit(Net(loss="ce"), loader(16), max_epochs=2, callbacks=[schedule]).save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["loss"] == {"name": "sce", "alpha": 0.1, "task": "multiclass"}


def test_penalties_of_a_module_that_cannot_be_edited() -> None:
    scheduled, penalized = Foreign(), Foreign()
    schedule = Schedule("regularizer.l2.factor", at=[0], values=[0.3])
    fit(scheduled, loader(16), callbacks=[Regularizers({"l2": 0.1}), schedule])
    fit(penalized, loader(16), callbacks=[Regularizers({"l2": 0.3})])
    torch.testing.assert_close(weights(scheduled), weights(penalized), rtol=0, atol=0)


# the module, the schedules, what is said before anything is trained
REFUSED: dict[str, tuple[Any, list[dict[str, Any]], str]] = {
    "out of range at the end": (
        lambda: Net(loss=FOCAL),
        [{"target": "loss.gamma", "at": [0, 7], "values": [1.0, -1.0]}],
        "gamma must be a finite number >= 0, got -1.0",
    ),
    "whole numbers only": (
        lambda: Net(loss="taylor_ce"),
        [{"target": "loss.order", "at": [0, 4], "values": [1, 3], "shape": "linear"}],
        "order",
    ),
    "two for one": (
        lambda: Net(loss=FOCAL),
        [{"target": "loss", "at": [0], "values": ["ce"]}, {"target": "loss.gamma", "at": [0], "values": [1.0]}],
        "two schedules change the same: target='loss' and target='loss.gamma'",
    ),
    "a module without a loss of ours": (
        Foreign,
        [{"target": "loss.gamma", "at": [0], "values": [1.0]}],
        "needs a module with LossMixin, Foreign is none",
    ),
    "probabilities that end": (
        lambda: ObjectiveModule(nn.Linear(3, 4), metrics={"probabilities": {"auroc": MulticlassAUROC(4)}}),
        [{"target": "loss", "at": [0, 5], "values": ["ce", "prob_mae"]}],
        "metrics of probabilities need a loss that has them, ProbMAELoss has none",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_fail_later_is_refused_at_the_start(name: str) -> None:
    make, arguments, message = REFUSED[name]
    module, seen = make(), Record(id)
    before = weights(module)
    with pytest.raises((ValueError, TypeError), match=message):
        fit(module, loader(16), callbacks=[*(Schedule(**each) for each in arguments), seen])
    assert not seen.seen
    assert weights(module).equal(before)


def test_an_unknown_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="interval must be one of 'epoch', 'step', got 'batch'"):
        Schedule("loss.gamma", at=[0], values=[1.0], interval="batch")
