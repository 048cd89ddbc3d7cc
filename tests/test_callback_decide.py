"""What is chosen on a validation epoch is in its checkpoint, and decides after loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryF1Score

from lightning_losses.callbacks import Decide
from lightning_losses.decide import DecisionRule
from lightning_losses.module import ObjectiveModule
from tests.test_callbacks import Foreign
from tests.test_mixins import SGD, fit

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def data(count: int = 90) -> tuple[Tensor, Tensor]:
    """Rows of a rare class that overlaps with the other."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    y = (torch.arange(count) % 6 == 0).long().reshape(-1, 1)
    return x + y, y


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data()), batch_size=32)


def module() -> ObjectiveModule:
    torch.manual_seed(0)
    loss = {"name": "focal", "task": "binary"}
    metrics = {"decision": {"f1": BinaryF1Score()}}
    return ObjectiveModule(nn.Linear(2, 1), loss=loss, optimizer=SGD, metrics=metrics)


def chosen_by_hand(trained: ObjectiveModule) -> Any:
    x, y = data()
    with torch.no_grad():
        return DecisionRule("f1", temperature=True).fit(trained.objective.loss, trained(x), y)


def test_a_checkpoint_holds_what_its_own_epoch_chose(tmp_path: Path) -> None:
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    trained = module()
    callback = Decide("f1", temperature=True)
    options = {"enable_checkpointing": True, "max_epochs": 3, "num_sanity_val_steps": 1}
    trainer = fit(trained, loader(), loader(), callbacks=[callback, keep], **options)
    assert trained.objective.decider == callback.decider == chosen_by_hand(trained)
    deciders = set()
    for path in tmp_path.iterdir():
        saved = torch.load(path, weights_only=True)
        again = module()
        again.on_load_checkpoint(saved)
        again.load_state_dict(saved["state_dict"])
        assert again.objective.decider == chosen_by_hand(again)
        deciders.add(again.objective.decider)
    assert len(deciders) == 3
    assert trainer.callback_metrics["val/f1"] == 0  # of the loss's own decisions: the class is rare


def test_tests_and_predictions_decide_by_it() -> None:
    trained = module()
    fit(trained, loader(), loader(), callbacks=[Decide("f1", temperature=True)])
    x, y = data()
    trainer = Trainer(**QUIET)
    (logged,) = trainer.test(trained, loader(), verbose=False)
    decision, probabilities = trained.predict_step((x, y), 0)
    scores = trained.objective.loss.posterior(trained(x)).logit() / trained.objective.decider.temperature
    torch.testing.assert_close(probabilities, scores.sigmoid())
    hits = int((decision * y).sum())
    assert logged["test/f1"] == pytest.approx(2 * hits / int(decision.sum() + y.sum()))
    assert logged["test/f1"] > 0


def test_a_fit_that_goes_on_learns_as_without_it(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    first = module()
    fit(first, loader(), loader(), callbacks=[Decide("f1")]).save_checkpoint(path)
    resumed, plain = module(), module()
    trainer = fit(resumed, loader(), loader(), ckpt_path=path, max_epochs=2, callbacks=[Decide("f1")])
    other = fit(plain, loader(), loader(), max_epochs=2)
    for name in ("train/loss", "val/loss", "train/f1", "val/f1"):
        torch.testing.assert_close(trainer.callback_metrics[name], other.callback_metrics[name])


def test_two_fits_see_each_output_once() -> None:
    callback, first, second = Decide("f1"), module(), module()
    fit(first, loader(), loader(), callbacks=[callback])
    fit(second, loader(), loader(), callbacks=[callback])
    assert first.objective.decider == second.objective.decider
    assert not second._ll_observers


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`")
def test_a_module_without_a_loss_of_ours_is_refused() -> None:
    with pytest.raises(TypeError, match="decisions need a module with LossMixin, Foreign is none"):
        fit(Foreign(), loader(), loader(), callbacks=[Decide("f1")])


def test_a_rule_for_another_task_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ValueError, match="the loss is for a regression target"):
        fit(ObjectiveModule(nn.Linear(2, 1), loss="mse"), loader(), loader(), callbacks=[Decide("f1")])
