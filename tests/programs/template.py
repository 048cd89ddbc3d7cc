"""A module as the lightning-hydra-template writes it, and the same moved over to the mixin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

import lightning_losses as ll


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))


class Original(LightningModule):
    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = net()
        self.criterion = nn.CrossEntropyLoss()
        self.train_loss = MeanMetric()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss: Tensor = self.criterion(self.forward(x), y)
        self.train_loss(loss)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return {"optimizer": self.hparams["optimizer"](params=self.trainer.model.parameters())}


class Moved(ll.ObjectiveMixin, LightningModule):
    def __init__(self, loss: Any = "ce", optimizer: Any = "adam") -> None:
        super().__init__(loss=loss, optimizer=optimizer)
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
