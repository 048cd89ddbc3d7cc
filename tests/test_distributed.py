"""Two ranks learn what one process learns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_losses.callbacks import Decide, LabelAudit
from lightning_losses.module import ObjectiveModule
from tests.programs import fsdp2
from tests.test_mixins import ADAMW, SGD, Net, fit, loader, rows, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    # forking is safe here: nothing has been started that the children would miss
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

PENALTIES = {"l1": 1e-3, "l2": 1e-2}


@pytest.mark.parametrize(
    ("optimizer", "clip", "batch_size", "accumulate", "epochs"),
    [(SGD, None, 32, 1, 1), (SGD, 0.05, 16, 2, 5), (ADAMW, 0.05, 8, 4, 5)],
    ids=["2x32", "2x2x16", "2x4x8"],
)
def test_two_ranks_learn_what_one_process_learns(
    optimizer: dict[str, Any], clip: float | None, batch_size: int, accumulate: int, epochs: int
) -> None:
    one, two = (Net(optimizer=optimizer, regularizer=PENALTIES) for _ in range(2))
    options = {"gradient_clip_val": clip, "max_epochs": epochs}
    alone = fit(one, loader(64), **options)
    ranks = {"strategy": "ddp_fork", "devices": 2, "accumulate_grad_batches": accumulate}
    together = fit(two, loader(batch_size), **options, **ranks)
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=1e-6)
    for name in ("train/loss", "train/objective", "train/regularizer/l1"):
        torch.testing.assert_close(together.callback_metrics[name], alone.callback_metrics[name])


def test_a_rank_whose_labels_are_all_ignored_adds_nothing() -> None:
    x, y, w = rows()
    data = TensorDataset(x, y.masked_fill(torch.arange(64) % 2 == 1, -100), w)  # every second row is the second rank's
    one, two = (Net(regularizer=PENALTIES) for _ in range(2))
    alone = fit(one, DataLoader(data, 64), DataLoader(data, 64), max_epochs=3)
    ranks = {"strategy": "ddp_fork", "devices": 2, "accumulate_grad_batches": 2}
    together = fit(two, DataLoader(data, 16), DataLoader(data, 24), max_epochs=3, **ranks)
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=1e-6)
    for name in ("train/loss", "train/objective", "val/loss"):
        torch.testing.assert_close(together.callback_metrics[name], alone.callback_metrics[name])


class OfFirstRank(IterableDataset):
    """Rows that one rank alone has."""

    def __iter__(self) -> Iterator[Any]:
        return zip(*rows(), strict=True) if torch.distributed.get_rank() == 0 else iter(())


def test_a_rank_without_validation_batches_is_not_waited_for() -> None:
    data = DataLoader(OfFirstRank(), 16)
    trainer = fit(Net(), loader(32), data, strategy="ddp_fork", devices=2, num_sanity_val_steps=0)
    alone = fit(Net(), loader(64), loader(64))
    torch.testing.assert_close(trainer.callback_metrics["val/loss"], alone.callback_metrics["val/loss"])


def test_sharded_parameters_learn_what_whole_ones_learn(tmp_path: Path) -> None:
    result = tmp_path / "sharded.pt"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, fsdp2.__file__, str(result)]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sharded = torch.load(result, weights_only=True)
    module, trainer = fsdp2.train(ObjectiveModule, 64, gradient_clip_val=0.05)
    for name, parameter in module.net.named_parameters():
        torch.testing.assert_close(sharded["weights"][name], parameter.detach(), rtol=0, atol=1e-6)
    for name in ("train/loss", "train/objective", "train/regularizer/l1", "train/regularizer/l2"):
        torch.testing.assert_close(sharded["logged"][name], trainer.callback_metrics[name])


def test_two_ranks_audit_and_decide_together(tmp_path: Path) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] > 1).long()
    rows = DataLoader(TensorDataset(x, y), batch_size=8)
    found = []
    for name, ranks in {"one": {}, "two": {"strategy": "ddp_fork", "devices": 2}}.items():
        torch.manual_seed(0)
        loss = {"name": "focal", "task": "binary"}
        module = ObjectiveModule(nn.Linear(3, 1), loss=loss, optimizer={"name": "sgd", "lr": 0.0})
        (tmp_path / name).mkdir()
        callbacks = [
            Decide("f1", temperature=True),
            LabelAudit(tmp_path / name / "suspects.csv"),
            ModelCheckpoint(tmp_path / name, filename="run"),
        ]
        fit(module, rows, rows, max_epochs=2, callbacks=callbacks, enable_checkpointing=True, **ranks)
        saved = torch.load(tmp_path / name / "run.ckpt", weights_only=True)["lightning_losses"]["decider"]
        found.append((saved, (tmp_path / name / "suspects.csv").read_text().splitlines()))
    (one, alone), (two, together) = found
    assert len(alone) == 65
    assert together == alone
    assert two["threshold"] == pytest.approx(one["threshold"])
    assert two["temperature"] == pytest.approx(one["temperature"])
