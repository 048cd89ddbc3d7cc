from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

import lightning_losses as ll
from lightning_losses.callbacks import Constraints, ObjectiveMonitor, Regularizers
from lightning_losses.module import ObjectiveModule
from tests.test_mixins import SGD, Net, fit, loader, weights

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

PENALTIES = {"l1": 1e-2, "l2": 0.1}


class Foreign(LightningModule):
    """A module that cannot be edited."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1], ignore_index=-100)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_foreign_module_is_penalized_once_for_each_step() -> None:
    with_callback, by_hand = Foreign(), Foreign()
    logged = fit(with_callback, loader(64), callbacks=[Regularizers(PENALTIES)]).callback_metrics
    x, y, _ = loader(64).dataset.tensors
    optimizer = by_hand.configure_optimizers()
    kernels = [by_hand.net[0].weight, by_hand.net[2].weight]
    l1, l2 = 1e-2 * sum(k.abs().sum() for k in kernels), 0.05 * sum(k.square().sum() for k in kernels)
    (by_hand.training_step((x, y), 0) + l1 + l2).backward()
    optimizer.step()
    torch.testing.assert_close(weights(with_callback), weights(by_hand), rtol=0, atol=1e-6)
    torch.testing.assert_close(logged["train/regularizer/l1"], l1.detach())


def test_a_module_with_the_mixin_takes_the_penalties_over() -> None:
    own, handed = Net(regularizer=PENALTIES), Net()
    fit(own, loader(16), accumulate_grad_batches=2)
    logged = fit(handed, loader(16), accumulate_grad_batches=2, callbacks=[Regularizers(PENALTIES)]).callback_metrics
    torch.testing.assert_close(weights(handed), weights(own), rtol=0, atol=0)
    assert "train/regularizer/l2" in logged


def test_a_module_with_a_loss_alone_takes_the_penalties_over_in_every_fit() -> None:
    class LossAlone(ll.LossMixin, LightningModule):
        def __init__(self) -> None:
            super().__init__(loss="ce")
            torch.manual_seed(1)
            self.net = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = Regularizers({"l2": 1.0})
    modules = LossAlone(), LossAlone()
    by_hand = LossAlone()
    x, y, w = loader(64).dataset.tensors
    optimizer = by_hand.configure_optimizers()
    (by_hand.objective.loss(by_hand(x), y, w) + 0.5 * by_hand.net.weight.square().sum()).backward()
    optimizer.step()
    for module in modules:
        fit(module, loader(64), callbacks=[callback])
        torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)


def test_constraints_hold_on_a_foreign_module() -> None:
    module = Foreign()
    fit(module, loader(16), callbacks=[Constraints({"max_norm": 0.5})])
    assert (module.net[0].weight.norm(dim=1) <= 0.5 + 1e-6).all()


def test_proximal_penalties_make_zeros_in_a_foreign_module() -> None:
    module = Foreign()
    fit(module, loader(16), max_epochs=5, callbacks=[Regularizers({"proximal_l1": 0.3})])
    assert (module.net[0].weight == 0).any()


def test_penalties_on_outputs_need_the_mixin() -> None:
    with pytest.raises(ValueError, match="give it to ObjectiveMixin"):
        Regularizers({"activity_l2": 0.1})


def test_the_monitor_logs_the_gradient_of_each_term() -> None:
    module = Net(regularizer=PENALTIES, optimizer={"name": "sgd", "lr": 0.0})
    logged = fit(module, loader(64), callbacks=[ObjectiveMonitor(every_n_steps=1)]).callback_metrics
    x, y, w = loader(64).dataset.tensors
    parameters = list(module.net.parameters())
    loss = torch.autograd.grad(module.objective.loss(module(x), y, w), parameters)
    torch.testing.assert_close(logged["train/gradient/loss"], torch.cat([g.flatten() for g in loss]).norm())
    kernels = torch.cat([module.net[0].weight.flatten(), module.net[2].weight.flatten()])
    torch.testing.assert_close(logged["train/gradient/l2"], 0.1 * kernels.norm().detach())


def test_the_monitor_bears_penalties_without_a_gradient() -> None:
    logged = fit(Net(regularizer={"proximal_l1": 0.1}), loader(16), callbacks=[ObjectiveMonitor(1)]).callback_metrics
    assert logged["train/gradient/proximal_l1"] == 0


def test_the_monitor_warns_of_a_penalty_that_dominates() -> None:
    module = Net(regularizer={"l1": 10.0})
    with pytest.warns(UserWarning, match="gradient of regularizer 'l1' .* outweighed"):
        fit(module, loader(16), callbacks=[ObjectiveMonitor(every_n_steps=1)])


def test_the_monitor_warns_of_constant_outputs() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.expand(len(x), 4)

    module = ObjectiveModule(Constant(), optimizer=SGD)
    with pytest.warns(UserWarning, match="all rows got the same output"):
        fit(module, loader(16), val_dataloaders=loader(16), callbacks=[ObjectiveMonitor()])
    healthy = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec")
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        warnings.filterwarnings("ignore", "The number of training batches")
        fit(healthy, loader(16), val_dataloaders=loader(16), callbacks=[ObjectiveMonitor()])
