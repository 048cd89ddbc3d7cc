"""The audit's margins are those of the rows themselves, however batches are drawn; planted noise is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lightning_losses as ll
from lightning_losses.callbacks import LabelAudit
from lightning_losses.module import ObjectiveModule
from tests.test_callbacks import Foreign
from tests.test_mixins import fit

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

ROWS = 50
FIXED = {"name": "sgd", "lr": 0.0}


def table() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, 3, generator=generator), torch.randint(4, (ROWS,), generator=generator)


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*table()), **{"batch_size": 8, "shuffle": True, **options})


def module(**options: Any) -> ObjectiveModule:
    torch.manual_seed(0)
    return ObjectiveModule(nn.Linear(3, 4), **{"loss": "ce", "optimizer": FIXED, **options})


def margins_by_hand(trained: Any) -> Tensor:
    x, y = table()
    with torch.no_grad():
        z = trained.net(x)
    return torch.stack([row[label] - row[torch.arange(4) != label].max() for row, label in zip(z, y, strict=True)])


class OwnStep(ll.ObjectiveMixin, LightningModule):
    """A module whose batches are mappings, with a training step of its own."""

    def __init__(self) -> None:
        super().__init__(loss="focal", optimizer=FIXED)
        torch.manual_seed(0)
        self.net = nn.Linear(3, 4)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.compute_objective(self.net(batch["x"]), batch["y"]).total


def as_mapping(rows: list[Any]) -> dict[str, Tensor]:
    x, y = zip(*rows, strict=True)
    return {"x": torch.stack(x), "y": torch.stack(y)}


# the module, the loader, arguments of the trainer
TRAINED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "shuffled": (module, {}, {}),
    "in order": (module, {"shuffle": False}, {}),
    "by workers": (module, {"num_workers": 2, "persistent_workers": True}, {}),
    "accumulated": (module, {}, {"accumulate_grad_batches": 3}),
    "a step of one's own": (OwnStep, {"collate_fn": as_mapping}, {}),
}


@pytest.mark.parametrize("name", TRAINED)
def test_each_row_has_its_own_margin(name: str) -> None:
    make, options, trainer = TRAINED[name]
    trained, audit = make(), LabelAudit(None)
    fit(trained, loader(**options), max_epochs=3, callbacks=[audit], **trainer)
    assert audit.means.count.tolist() == [3] * ROWS
    torch.testing.assert_close(audit.means.mean, margins_by_hand(trained))
    assert not trained._ll_observers


def test_the_users_loader_stays_as_it_was() -> None:
    data = loader()
    before = data.batch_sampler
    fit(module(), data, callbacks=[LabelAudit(None)])
    assert data.batch_sampler is before


def test_validation_does_not_count() -> None:
    trained, audit = module(), LabelAudit(None)
    fit(trained, loader(), loader(shuffle=False), max_epochs=2, callbacks=[audit], num_sanity_val_steps=1)
    assert audit.means.count.tolist() == [2] * ROWS


def test_rows_that_are_never_drawn_have_no_margin(tmp_path: Path) -> None:
    trained, audit = module(), LabelAudit(tmp_path / "suspects.csv", classes="abcd", rows=range(100, 100 + ROWS))
    fit(trained, loader(shuffle=False, drop_last=True), callbacks=[audit])
    assert audit.means.count.tolist() == [1] * 48
    written = pd.read_csv(tmp_path / "suspects.csv")
    expected = margins_by_hand(trained)[:48]
    assert written["row"].tolist() == (expected.argsort() + 100).tolist()
    torch.testing.assert_close(torch.tensor(written["margin"]).float(), expected.sort().values, rtol=1e-4, atol=1e-5)
    assert written["label"].tolist() == ["abcd"[label] for label in table()[1][expected.argsort()]]
    assert (written["rival"] != written["label"]).all()


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    learns = {"optimizer": {"name": "sgd", "lr": 0.1}}
    whole, half, resumed = LabelAudit(None), LabelAudit(None), LabelAudit(None)
    fit(module(**learns), loader(shuffle=False), max_epochs=4, callbacks=[whole])
    path = tmp_path / "run.ckpt"
    fit(module(**learns), loader(shuffle=False), max_epochs=2, callbacks=[half]).save_checkpoint(path)
    fit(module(**learns), loader(shuffle=False), max_epochs=4, callbacks=[resumed], ckpt_path=path)
    torch.testing.assert_close(resumed.means.mean, whole.means.mean)
    assert resumed.means.count.tolist() == [4] * ROWS


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
def test_an_epoch_that_a_run_resumes_within_is_left_out(tmp_path: Path) -> None:
    def run(audit: LabelAudit, **options: Any) -> None:
        keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
        fit(module(), loader(), callbacks=[audit, keep], enable_checkpointing=True, **options)

    run(LabelAudit(None))
    audit = LabelAudit(None)
    run(audit, max_epochs=3, ckpt_path=tmp_path / "step=3.ckpt")
    torch.testing.assert_close(audit.means.mean, margins_by_hand(module()))
    assert audit.means.count.tolist() == [2] * ROWS


class Stream(IterableDataset):  # type: ignore[type-arg]
    """Rows that have no numbers."""

    def __iter__(self) -> Any:
        return zip(*table(), strict=True)


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (
            module,
            DataLoader(Stream(), batch_size=None),
            "needs a loader with a batch_sampler, which draws rows by number",
        ),
        (Foreign, loader(), "LabelAudit needs a module with LossMixin, Foreign is none"),
    ],
    ids=["a stream", "a module without a loss of ours"],
)
def test_what_cannot_be_audited_is_refused(make: Any, data: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fit(make(), data, callbacks=[LabelAudit(None)])


def test_planted_noise_is_found() -> None:
    digits = load_digits()
    x, true = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(true), generator=generator) < 0.2
    given = torch.where(wrong, (true + torch.randint(1, 10, true.shape, generator=generator)) % 10, true)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    audit = LabelAudit(None)
    data = DataLoader(TensorDataset(x, given), batch_size=64, shuffle=True)
    fit(ObjectiveModule(net, loss="ce", optimizer={"name": "adam", "lr": 3e-3}), data, max_epochs=5, callbacks=[audit])
    assert roc_auc_score(wrong, -audit.means.mean) >= 0.97  # benchmarks/label_audit.py: above .99 at its full length
