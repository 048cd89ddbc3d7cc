"""Train a sharded module on two ranks and write what it learned to the given file.

Run by tests/test_distributed.py as a script of its own, because Lightning starts the other rank by running it again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from lightning_losses.module import ObjectiveModule
from tests.test_mixins import rows

PENALTIES = {"l1": 1e-3, "l2": 1e-2}


class Sharded(ObjectiveModule):
    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for layer in (self.net[0], self.net[2]):
            fully_shard(layer, mesh=mesh)
        fully_shard(self.net, mesh=mesh)


def train(cls: type[ObjectiveModule], batch_size: int, **trainer: Any) -> tuple[ObjectiveModule, Trainer]:
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    optimizer = {"name": "adamw", "lr": 0.01, "weight_decay": 0.0}
    module = cls(
        net, loss={"name": "focal", "weight": [1.0, 2.0, 0.5, 3.0]}, regularizer=PENALTIES, optimizer=optimizer
    )
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    runner = Trainer(max_epochs=5, accelerator="cpu", **quiet, **trainer)
    runner.fit(module, DataLoader(TensorDataset(*rows()), batch_size=batch_size))
    return module, runner


if __name__ == "__main__":
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    module, trainer = train(
        Sharded, 16, strategy=strategy, devices=2, accumulate_grad_batches=2, gradient_clip_val=0.05
    )
    weights = {name: p.full_tensor().detach() for name, p in module.net.named_parameters()}
    if trainer.is_global_zero:
        torch.save({"weights": weights, "logged": dict(trainer.callback_metrics)}, Path(sys.argv[1]))
