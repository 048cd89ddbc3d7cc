from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassAUROC

from lightning_losses.module import ObjectiveModule
from lightning_losses.parameters import parameter_roles


def data() -> DataLoader:
    x = torch.randn(48, 2)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()), batch_size=16)


def test_metrics_see_decisions_or_probabilities() -> None:
    metrics = {
        "decision": {"accuracy": MulticlassAccuracy(3, average="micro")},
        "probabilities": {"auroc": MulticlassAUROC(3)},
    }
    weight = [0.1, 5.0, 0.1]  # decisions and probabilities differ
    module = ObjectiveModule(nn.Linear(2, 3), loss={"name": "focal", "weight": weight}, metrics=metrics)
    loader = data()
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (logged,) = trainer.validate(module, loader, verbose=False)
    x, y = loader.dataset.tensors
    logits = module(x)
    assert logged["val/accuracy"] == pytest.approx((logits.argmax(dim=1) == y).float().mean().item())
    expected = MulticlassAUROC(3)(module.objective.loss.posterior(logits), y).item()
    assert logged["val/auroc"] == pytest.approx(expected)


def test_metrics_of_training_and_validation_are_kept_apart() -> None:
    metrics = {"decision": {"accuracy": MulticlassAccuracy(3, average="micro")}}
    module = ObjectiveModule(nn.Linear(2, 3), metrics=metrics, optimizer={"name": "sgd", "lr": 0.0})
    train, val = data(), data()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train, val)
    for stage, loader in (("train", train), ("val", val)):
        x, y = loader.dataset.tensors
        expected = (module(x).argmax(dim=1) == y).float().mean().item()
        assert trainer.callback_metrics[f"{stage}/accuracy"] == pytest.approx(expected)


def test_another_kind_of_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'probabilities'"):
        ObjectiveModule(nn.Linear(2, 1), metrics={"probability": {"auroc": BinaryAUROC()}})


def test_a_checkpoint_loads_into_the_class(tmp_path: Path) -> None:
    module = ObjectiveModule(nn.Linear(2, 3), loss={"name": "focal", "gamma": 3.0}, regularizer={"l2": 1e-3})
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.warns(UserWarning, match="weight_decay and a penalty"):
        trainer.fit(module, data(), data())
    path = trainer.checkpoint_callback.best_model_path
    again = ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(2, 3), weights_only=True)
    assert again.objective.loss.phi == module.objective.loss.phi
    assert again.net.weight.equal(module.net.weight)


def test_roles_are_overridden_by_glob() -> None:
    module = ObjectiveModule(nn.Linear(2, 1), roles={"net.weight": "scale"})
    assert parameter_roles(module)["net.weight"] == "scale"
    assert [len(group["params"]) for group in module.configure_optimizers()["optimizer"].param_groups] == [0, 2]


def test_metrics_of_probabilities_need_a_posterior() -> None:
    module = ObjectiveModule(nn.Linear(2, 3), loss="rce", metrics={"probabilities": {"auroc": MulticlassAUROC(3)}})
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    with pytest.raises(TypeError, match="ReverseCrossEntropyLoss has none"):
        trainer.validate(module, data(), verbose=False)
