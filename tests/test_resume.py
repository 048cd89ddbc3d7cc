"""A run that is resumed, also within an epoch, ends with the weights of one that was not interrupted, bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

import lightning_losses as ll
from lightning_losses.app.data import Dataset, InMemoryData, Part
from lightning_losses.callbacks import Schedule
from lightning_losses.checkpoints import AtomicCheckpointIO
from lightning_losses.mixins import Supervised
from lightning_losses.module import ObjectiveModule
from tests.test_mixins import ADAMW, CLASSES, SGD, Net, fit, rows, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

EPOCHS, BATCHES = 3, 4
# epoch and what was finished last in it: a batch, or the epoch
CUTS = ["0-0", "0-end", "1-1", "1-3", "1-end"]


def part() -> Part:
    x, y, _ = rows()
    return Part(x, y.clamp_min(0), torch.arange(len(y)))


def data(batch_size: int = 16) -> InMemoryData:
    return InMemoryData(Dataset("multiclass", {"train": part(), "val": part()}, "abc", "0123"), batch_size)


class Noisy(Net):
    """Draws from three generators in each training step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dropout = nn.Dropout(0.5)

    def supervised_step(self, batch: Any) -> Supervised:
        x, y = batch
        factor = 1 + random.random() + np.random.random() if self.training else 1
        return Supervised(self.net(self.dropout(x) * factor), y)


class Keeps(Checkpoint):
    """Writes a checkpoint at each of the cuts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, trainer.fit_loop.batch_idx)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "end")

    def save(self, trainer: Any, finished: Any) -> None:
        if (cut := f"{trainer.current_epoch}-{finished}") in CUTS:
            trainer.save_checkpoint(self.folder / f"{cut}.ckpt", weights_only=False)


def train(module: Any, loaders: Any, ckpt_path: Path | None = None, **trainer: Any) -> Any:
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    if ckpt_path is not None:  # a new process has drawn something else
        random.random(), np.random.random(), torch.rand(7)
    keeps = any(isinstance(callback, Checkpoint) for callback in trainer.get("callbacks", ()))
    options = {"max_epochs": EPOCHS, "plugins": [AtomicCheckpointIO()], "enable_checkpointing": keeps}
    return fit(module, loaders, None, ckpt_path, **{**options, **trainer})


def schedules() -> list[Schedule]:
    by_step = Schedule("regularizer.l2.factor", [0, 9], [0.0, 0.1], "linear", "step")
    return [Schedule("loss.gamma", [0, 3], [0.0, 2.0], "linear"), by_step]


OPTIMIZERS = {"sgd": SGD, "adam": {"name": "adam", "lr": 0.01}, "adamw": ADAMW}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_ends_bit_for_bit_like_an_uninterrupted_run(optimizer: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": OPTIMIZERS[optimizer], "regularizer": {"l2": 0.0}}
    whole = Noisy(**options)
    logged = train(whole, data(), callbacks=[*schedules(), Keeps(tmp_path)]).callback_metrics
    for cut in CUTS:
        resumed = Noisy(**options)
        again = train(resumed, data(), tmp_path / f"{cut}.ckpt", callbacks=schedules())
        assert weights(resumed).equal(weights(whole)), cut
        assert again.global_step == EPOCHS * BATCHES
        assert again.callback_metrics["train/loss"] == logged["train/loss"], cut


LIMITS: dict[str, dict[str, Any]] = {
    "so many steps": {"max_steps": 10, "max_epochs": -1},
    "so many batches in an epoch": {"limit_train_batches": 2},
    "validation within an epoch": {"val_check_interval": 0.5},
    "windows of two batches": {"accumulate_grad_batches": 2},
}


@pytest.mark.parametrize("limits", LIMITS)
def test_it_ends_like_an_uninterrupted_run_with(limits: str, tmp_path: Path) -> None:
    whole = Noisy()
    logged = train(whole, data(), callbacks=[Keeps(tmp_path)], **LIMITS[limits])
    for cut in ("0-end", "1-1", "1-end"):
        resumed = Noisy()
        again = train(resumed, data(), tmp_path / f"{cut}.ckpt", **LIMITS[limits])
        assert weights(resumed).equal(weights(whole)), cut
        assert (again.global_step, again.current_epoch) == (logged.global_step, logged.current_epoch)


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("cuda", marks=NO_GPU)])
@pytest.mark.parametrize("cut", ["0-0", "1-1"])
def test_the_epoch_that_was_cut_is_logged_as_a_whole(cut: str, accelerator: str, tmp_path: Path) -> None:
    def module() -> ObjectiveModule:
        torch.manual_seed(0)
        metrics = {
            "decision": {"accuracy": MulticlassAccuracy(CLASSES)},
            "probabilities": {"auroc": MulticlassAUROC(CLASSES)},
        }
        return ObjectiveModule(nn.Linear(3, CLASSES), loss="focal", optimizer=SGD, metrics=metrics)

    options = {"max_epochs": int(cut[0]) + 1, "accelerator": accelerator, "devices": 1}
    logged = train(module(), data(), callbacks=[Keeps(tmp_path)], **options).callback_metrics
    again = train(module(), data(), tmp_path / f"{cut}.ckpt", **options).callback_metrics
    names = ("train/loss", "train/objective", "train/accuracy", "train/auroc", "val/accuracy")
    assert {name: again[name].item() for name in names} == {name: logged[name].item() for name in names}


ADAPTIVE = {"name": "adaptive_log_softmax", "in_features": 3, "n_classes": CLASSES, "cutoffs": [2], "div_value": 1.0}
LEARNING: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a running count": ({"name": "ghm", "task": "multilabel", "bins": 4, "momentum": 0.9}, "multilabel", "012"),
    "a trained head": (ADAPTIVE, "multiclass", "0123"),
}


@pytest.mark.parametrize("what", LEARNING)
def test_what_a_loss_has_learned_goes_on(what: str, tmp_path: Path) -> None:
    loss, task, targets = LEARNING[what]
    y = part().y
    y = nn.functional.one_hot(y, CLASSES)[:, :3] if task == "multilabel" else y
    loaders = InMemoryData(Dataset(task, {"train": part()._replace(y=y)}, "abc", targets), 16)

    def module() -> ObjectiveModule:
        torch.manual_seed(0)
        return ObjectiveModule(nn.Linear(3, 3), loss=loss, optimizer=SGD)

    whole, resumed = module(), module()
    train(whole, loaders.train_dataloader(), callbacks=[Keeps(tmp_path)])
    train(resumed, loaders.train_dataloader(), tmp_path / "1-1.ckpt")
    for name, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


@pytest.mark.parametrize("scheduler", ["plateau", "cosine"])
def test_schedulers_go_on(scheduler: str, tmp_path: Path) -> None:
    arguments = {"monitor": "train/loss", "patience": 0, "threshold": 10.0} if scheduler == "plateau" else {}
    options = {"scheduler": {"name": scheduler, **arguments}}
    whole = Noisy(**options)
    train(whole, data(), callbacks=[Keeps(tmp_path)])
    for cut in ("0-end", "1-1", "1-end"):
        resumed = Noisy(**options)
        train(resumed, data(), tmp_path / f"{cut}.ckpt")
        assert weights(resumed).equal(weights(whole)), cut


def test_another_scheduler_makes_no_step_that_plateau_was_about_to_make(tmp_path: Path) -> None:
    plateau = {"name": "plateau", "monitor": "train/loss", "patience": 0, "threshold": 10.0}
    train(Noisy(scheduler=plateau), data(), callbacks=[Keeps(tmp_path)])
    for scheduler in (None, "cosine"):
        assert train(Noisy(scheduler=scheduler), data(), tmp_path / "1-end.ckpt").global_step == EPOCHS * BATCHES


class WithoutMetrics(ll.ObjectiveMixin, LightningModule):
    def __init__(self) -> None:
        super().__init__(optimizer=SGD)
        self.net = nn.Linear(3, CLASSES)

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)


class WithoutLoss(ll.RegularizerMixin, ll.OptimizerMixin, LightningModule):
    def __init__(self) -> None:
        super().__init__(optimizer=SGD)
        self.net = nn.Linear(3, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.compute_objective(self.net(batch[0]), batch[1]).total


@pytest.mark.parametrize("before", [WithoutMetrics, WithoutLoss])
def test_what_a_module_of_another_kind_has_not_saved_begins_anew(before: type[Any], tmp_path: Path) -> None:
    train(before(), data().train_dataloader(), callbacks=[Keeps(tmp_path)])
    after = ObjectiveModule(nn.Linear(3, CLASSES), optimizer=SGD)
    assert train(after, data(), tmp_path / "1-1.ckpt").global_step == EPOCHS * BATCHES


def test_foreign_loaders_are_exact_at_the_ends_of_epochs_and_said_to_be_not_within(tmp_path: Path) -> None:
    def loaders() -> DataLoader[Any]:
        return DataLoader(TensorDataset(*part()[:2]), batch_size=16, shuffle=True)

    whole, resumed = Noisy(), Noisy()
    train(whole, loaders(), callbacks=[Keeps(tmp_path)])
    train(resumed, loaders(), tmp_path / "1-end.ckpt")
    assert weights(resumed).equal(weights(whole))
    with pytest.warns(UserWarning, match="dataloader is not resumable"):
        train(Noisy(), loaders(), tmp_path / "1-1.ckpt")


class ReadsLate(SingleDeviceStrategy):
    """Reads a checkpoint when all is set up, as strategies that shard parameters do."""

    restore_checkpoint_after_setup = True


def test_a_strategy_that_reads_the_checkpoint_late_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, resumed = Noisy(), Noisy()
    logged = train(whole, data(), callbacks=[Keeps(tmp_path)]).callback_metrics
    again = train(resumed, data(), tmp_path / "1-1.ckpt", strategy=ReadsLate("cpu"), max_epochs=EPOCHS)
    assert weights(resumed).equal(weights(whole))
    assert again.callback_metrics["train/loss"] == logged["train/loss"]


def test_two_ranks_go_on_bit_for_bit(tmp_path: Path) -> None:
    whole, resumed = Noisy(), Noisy()
    ranks = {"strategy": "ddp_fork", "devices": 2}
    train(whole, data(8), callbacks=[Keeps(tmp_path)], **ranks)
    train(resumed, data(8), tmp_path / "1-1.ckpt", **ranks)
    assert weights(resumed).equal(weights(whole))


def test_one_rank_goes_on_where_two_stopped(tmp_path: Path) -> None:
    whole, alone = Net(), Net()
    logged = train(whole, data(8), callbacks=[Keeps(tmp_path)], max_epochs=2, strategy="ddp_fork", devices=2)
    with pytest.warns(UserWarning, match="the checkpoint is of 2 processes, now there are 1: random numbers"):
        again = train(alone, data(16), tmp_path / "1-1.ckpt", max_epochs=2)
    torch.testing.assert_close(weights(alone), weights(whole), rtol=0, atol=1e-6)
    torch.testing.assert_close(again.callback_metrics["train/loss"], logged.callback_metrics["train/loss"])


def test_other_batches_are_refused_within_an_epoch_and_allowed_at_its_end(tmp_path: Path) -> None:
    train(Net(), data(), callbacks=[Keeps(tmp_path)])
    with pytest.raises(ValueError, match=r"with 16 rows of a batch \(now 32, all processes together\)"):
        train(Net(), data(32), tmp_path / "1-1.ckpt")
    assert train(Net(), data(32), tmp_path / "1-end.ckpt").current_epoch == EPOCHS
