"""A run whose objective is not finite stops before its weights are ruined, or leaves the step out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll
from lightning_losses.gradient_window import Verdict
from lightning_losses.mixins import HasObjective
from lightning_losses.non_finite import NonFinite
from lightning_losses.objective import Part, Terms
from tests.test_heads import HEADS
from tests.test_heads import Net as TwoHeads
from tests.test_heads import rows as rows_of_heads
from tests.test_mixins import Net, OwnStep, fit, loader, rows, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]


def poisoned(batch_size: int = 16) -> Any:
    """Rows of which one, in the second quarter, holds an input that is not finite."""
    x, y, w = rows()
    x[20], y[20] = torch.inf, 1
    return DataLoader(TensorDataset(x, y, w), batch_size=batch_size)


@pytest.mark.parametrize("cls", [Net, OwnStep])
def test_the_run_stops_with_the_batch_the_term_and_the_outputs(cls: type[Net]) -> None:
    module, before = cls(), cls()
    with pytest.raises(FloatingPointError) as stop:
        fit(module, poisoned())
    assert str(stop.value).startswith("the objective is not finite at batch 1 of epoch 0: loss is nan; outputs")
    assert "of shape (16, 4): 4 of 64 not finite, the others from " in str(stop.value)
    fit(before, DataLoader(TensorDataset(*(column[:16] for column in rows())), batch_size=16))
    assert weights(module).equal(weights(before))  # the one good step has been taken, the bad one not


def test_a_penalty_is_named() -> None:
    module = Net(regularizer={"l2": 1e-3})
    with torch.no_grad():
        module.net[0].weight[0, 0] = 1e30  # its square overflows, the network's outputs do not
    with pytest.raises(FloatingPointError, match="batch 0 of epoch 0: regularizer/l2 is inf; outputs"):
        fit(module, loader(16))


def test_a_head_is_named() -> None:
    x, classes, numbers, weight = rows_of_heads()
    numbers[40] = torch.nan
    data = DataLoader(TensorDataset(x, classes, numbers, weight), batch_size=16)
    with pytest.raises(FloatingPointError, match=r"batch 2 of epoch 0: loss/aux is nan; outputs of cls .*; outputs of"):
        fit(TwoHeads(loss=HEADS), data)


def test_the_last_good_checkpoint_is_left(tmp_path: Path) -> None:
    class DivergesLater(Net):
        def supervised_step(self, batch: Any) -> ll.Supervised:
            supervised = super().supervised_step(batch)
            return supervised._replace(input=supervised.input * (torch.nan if self.current_epoch == 2 else 1))

    keeper = ModelCheckpoint(dirpath=tmp_path, save_on_exception=True, save_top_k=-1)
    module = DivergesLater()
    with pytest.raises(FloatingPointError, match="of epoch 2"):
        fit(module, loader(16), max_epochs=5, callbacks=[keeper], enable_checkpointing=True)
    assert len(list(tmp_path.glob("epoch=*.ckpt"))) == 2
    for path in tmp_path.glob("*.ckpt"):
        assert all(value.isfinite().all() for value in torch.load(path, weights_only=True)["state_dict"].values())


@pytest.mark.filterwarnings("ignore:weight_decay and a penalty act on the same parameters")
@pytest.mark.parametrize("exact", [None, False])
@pytest.mark.parametrize("optimizer", ["adamw", {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}])
def test_a_skipped_step_changes_nothing_and_is_counted(exact: bool | None, optimizer: Any) -> None:
    x, y, w = poisoned().dataset.tensors
    x, y, w = (torch.cat([c[:16], c[32:]]) for c in (x, y, w))  # the same without the second batch
    options = {"optimizer": optimizer, "exact": exact, "regularizer": {"proximal_l1": 1e-2}}
    module, without = Net(non_finite="skip", **options), Net(**options)
    with pytest.warns(UserWarning, match="a step is skipped, and so will others be: .* at batch 1 of epoch 0"):
        logged = fit(module, poisoned(), loader(64), max_epochs=2).callback_metrics
    expected = fit(without, DataLoader(TensorDataset(x, y, w), batch_size=16), max_epochs=2).callback_metrics
    assert weights(module).equal(weights(without))
    assert logged["train/skipped_steps"] == 1
    torch.testing.assert_close(logged["train/loss"], expected["train/loss"])


@pytest.mark.filterwarnings("ignore:a step is skipped")
def test_two_ranks_skip_together() -> None:
    class BadOnTheOther(Net):
        def supervised_step(self, batch: Any) -> ll.Supervised:
            supervised = super().supervised_step(batch)
            bad = self.global_rank == 1 and self.current_epoch == 1
            return supervised._replace(input=supervised.input * (torch.nan if bad else 1))

    module, without = BadOnTheOther(non_finite="skip"), Net()
    logged = fit(module, loader(32), max_epochs=2, strategy="ddp_fork", devices=2).callback_metrics
    fit(without, loader(64))
    torch.testing.assert_close(weights(module), weights(without), rtol=0, atol=1e-6)
    assert logged["train/skipped_steps"] == 1


def test_only_two_ways_are_known() -> None:
    with pytest.raises(ValueError, match="non_finite must be one of 'raise', 'skip', got 'ignore'"):
        Net(non_finite="ignore")


def test_batches_without_any_label_are_counted() -> None:
    logged = fit(Net(), loader(16), loader(64)).callback_metrics
    assert logged["train/ignored_batches"] == 1  # rows 32 to 47
    assert "val/ignored_batches" not in logged


# On an accelerator a step is not waited for: what it left is read at steps that are recorded, and before saving.
@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lightning_losses.mixins.base", "lightning_losses.non_finite"):
        monkeypatch.setattr(f"{module}.may_look", lambda _: False)


@pytest.mark.usefixtures("unread")
def test_unread_steps_are_read_where_they_are_recorded() -> None:
    reads: list[int] = []

    class Counts(Net):
        def _ll_read(self, verdict: Verdict) -> bool:
            reads.append(self.trainer.global_step)
            return HasObjective._ll_read(self, verdict)

    with pytest.raises(FloatingPointError, match="at batch 5 of epoch 0: loss is nan"):
        fit(Counts(), poisoned(batch_size=4), log_every_n_steps=8)
    assert reads == [0, 7]


@pytest.mark.usefixtures("unread")
def test_ruined_weights_are_not_saved(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(FloatingPointError, match="batch 1 of epoch 0"):
        fit(Net(), poisoned(), log_every_n_steps=100, callbacks=[keeper], enable_checkpointing=True)
    assert [path.stem for path in tmp_path.glob("*.ckpt")] == ["epoch=0-step=1"]


@pytest.mark.parametrize("looks", [True, False])
def test_the_first_bad_batch_is_kept(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_losses.non_finite.may_look", lambda _: looks)
    watch = NonFinite()
    for batch_idx, value in enumerate([1.0, torch.inf, 2.0, torch.nan]):
        mean, one = torch.tensor(value), torch.ones(())
        terms = Terms(mean, {"loss": Part(mean, one)}, {}, {}, weight=one, batch_mean=mean)
        watch.see(terms, batch_idx, torch.zeros(2))
    assert watch.describe(3).startswith("the objective is not finite at batch 1 of epoch 3: loss is inf")
    assert NonFinite().describe(0) == "the objective is not finite in epoch 0, in a batch of another rank"
