"""What a run prints and leaves in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn
from torch.optim import Optimizer
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from lightning_losses._mapping import plain
from lightning_losses.app.data import Dataset, InMemoryData
from lightning_losses.app.files import write_csv, write_figure, write_json
from lightning_losses.app.out_of_fold import FOLD, fold_table
from lightning_losses.app.outputs import OUTPUTS, outputs_of, write_outputs
from lightning_losses.app.plots import plot_data, plot_history, plot_predictions
from lightning_losses.app.tables import data_table, layer_table, metric_table, say
from lightning_losses.losses.classification import ClassificationLoss
from lightning_losses.losses.extra import LDAMLoss
from lightning_losses.module import ObjectiveModule
from lightning_losses.param_groups import describe_parameters

PACKAGES = ("lightning-losses", "torch", "lightning", "torchmetrics", "hydra-core", "numpy", "pandas", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {package: version(package) for package in PACKAGES}


def show_setup(dataset: Dataset, module: ObjectiveModule, optimizer: Optimizer, folder: Path) -> None:
    """Show the data, the layers and the split of parameters, before anything is trained."""
    for note in dataset.notes:
        say(note)
    say()
    say(data_table(dataset, numbers_by_class(module.objective.loss)))
    if dataset.inputs == 2 and dataset.task != "regression":
        write_figure(folder / "data.png", plot_data(dataset))
    say()
    say(layer_table(module.net, dataset.parts["train"].x[:2]))
    say()
    say(str(describe_parameters(module, optimizer.param_groups)))
    say()


def numbers_by_class(loss: nn.Module) -> dict[str, Sequence[float]]:
    """Return what a loss may have learned of each class (multilabel: of each label) from the training labels."""
    if not isinstance(loss, ClassificationLoss):
        return {}
    numbers: dict[str, Any] = {"weight": loss.weight, "pos_weight": loss.pos_weight}
    if loss.pos_weight is not None and loss.task == "binary":
        numbers["pos_weight"] = [1.0, float(loss.pos_weight)]
    numbers["prior"] = loss.arguments.get("prior")
    numbers["margin"] = loss.class_constant if isinstance(loss, LDAMLoss) else None
    return {name: plain(value) for name, value in numbers.items() if value is not None}


def metrics_of(history: pd.DataFrame, epoch: int | None) -> dict[str, float]:
    """Return the values of an epoch (None: the last) under the names they are logged by."""
    if history.empty:
        return {}
    row = history.iloc[-1] if epoch is None else history[history["epoch"] == epoch].iloc[-1]
    values = {str(name): float(value) for name, value in row.drop(["epoch", "lr", "seconds"]).dropna().items()}
    return {
        f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}": value
        for name, value in values.items()
    }


def baselines(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return what the data's own score functions reach on the rows that judge the model."""
    return {
        name: {
            f"{part}/{metric}": float(function(score(rows.x), rows.y.flatten()))
            for part, rows in dataset.parts.items()
            if part != "train"
            for metric, function in (("auroc", binary_auroc), ("average_precision", binary_average_precision))
        }
        for name, score in dataset.baselines.items()
    }


def clean_accuracy(module: ObjectiveModule, data: InMemoryData) -> dict[str, float]:
    """Return the accuracy on the training rows by their labels before wrong ones were planted, if there were any."""
    part = data.dataset.parts["train"]
    if part.clean is None:
        return {}
    decided = outputs_of(module, part, data.eval_batch_size).decision
    return {"train/clean_accuracy": float((decided == part.clean).float().mean())}


def write_files(
    folder: Path, result: dict[str, Any], history: pd.DataFrame, module: ObjectiveModule, data: InMemoryData
) -> None:
    """Write the numbers and the plots; predictions are those of the test part, if there is one."""
    write_json(folder / "result.json", result)
    write_csv(folder / "history.csv", history)
    if not history.empty:
        best_epoch = result["checkpoint"]["epoch"] if result["checkpoint"]["monitor"] else None
        write_figure(folder / "history.png", plot_history(history, best_epoch))
    parts = {name: part for name, part in data.dataset.parts.items() if name != "train"}
    outputs = {name: outputs_of(module, part, data.eval_batch_size) for name, part in parts.items()}
    write_outputs(folder / OUTPUTS, outputs)
    name = "test" if "test" in parts else "val"
    write_figure(folder / "predictions.png", plot_predictions(data.dataset, parts[name], outputs[name].decision, name))
    if result["config"]["data"]["folds"] is not None:
        write_csv(folder / FOLD, fold_table(outputs["val"], data.dataset, result["config"]["data"]["fold"]))


def print_result(folder: Path, result: dict[str, Any]) -> None:
    """Print the metrics and where everything lies, last."""
    checkpoint = result["checkpoint"]
    say()
    if result["metrics"]:
        say(metric_table(result["metrics"], result["baselines"]))
        say()
    if result["decide"]:
        say(f"decides by {_shown(result['decide'])}, chosen on the validation part; the train metrics do not")
    if checkpoint["monitor"]:
        say(f"kept: epoch {checkpoint['epoch']}, the best by {checkpoint['monitor']} ({checkpoint['score']:.4f})")
    if result["status"] == "interrupted":
        last = checkpoint["last"]
        say(f"to go on, repeat the command with ckpt_path={last}" if last else "no checkpoint was kept")
    files = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    say(f"{', '.join(files)} in")
    say(str(folder))


def _shown(decider: dict[str, Any]) -> str:
    """Return what a decider does, its costs by their name alone."""
    known = {
        "threshold": ", ".join(f"{value:.4g}" for value in decider["threshold"] or ()),
        "temperature": decider["temperature"] and f"{decider['temperature']:.4g}",
        "cost": decider["cost"] and "the lowest expected",
    }
    return ", ".join(f"{name} {value}" for name, value in known.items() if value)
