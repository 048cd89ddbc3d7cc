"""A trained model on other rows: its metrics, or its decisions and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_losses._files import replace
from lightning_losses._validation import choice
from lightning_losses.app.data import build_data
from lightning_losses.app.data.base import as_target
from lightning_losses.app.data.table_file import column_names, read_parquet, read_table
from lightning_losses.app.data.target import encode_target
from lightning_losses.app.files import write_json
from lightning_losses.app.report import versions
from lightning_losses.app.saved import SavedRun, checksums
from lightning_losses.app.tables import metric_table, say
from lightning_losses.app.training import quiet_lightning, usable_metrics
from lightning_losses.app.words import decision_columns, probability_columns
from lightning_losses.losses import Prediction

PREDICTIONS = "predictions.csv"
EVALUATION = "evaluation.json"


def predict(cfg: DictConfig, folder: str | Path) -> pd.DataFrame:
    """Write what a run's model says about each row of a file; see `lightning_losses.app.predict`."""
    saved = SavedRun.read(cfg.ckpt_path)
    table = _read(cfg)
    loader = _batches(cfg, _features(saved, table, cfg.data.path))
    with quiet_lightning():
        module = saved.build_module(saved.configure(cfg))
        predictions: Any = _trainer(cfg, Path(folder)).predict(module, loader)
    said = predictions_table(saved, _joined(predictions), table.index)
    path = Path(folder).absolute() / PREDICTIONS
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda part: said.to_csv(part, index=False, float_format="%.6g"))
    say(f"{len(said):,} rows: {path}")
    return said


def evaluate(cfg: DictConfig, folder: str | Path) -> dict[str, float]:
    """Write a run's metrics on its own or other rows; see `lightning_losses.app.evaluate`."""
    stage: Literal["val", "test"] = "val" if cfg.mode == "validate" else "test"
    saved = SavedRun.read(cfg.ckpt_path)
    with quiet_lightning():
        x, y = _labelled_rows(cfg, saved, stage)
        settings = saved.configure(cfg)
        module = saved.build_module(settings)
        metrics = usable_metrics(settings, module.net, saved.task, x[:1])
        module = saved.build_module(settings, metrics)
        trainer = _trainer(cfg, Path(folder))
        run = trainer.validate if stage == "val" else trainer.test
        (logged,) = run(module, _batches(cfg, x, y), verbose=False)
    values = {name: float(value) for name, value in logged.items()}
    path = Path(folder).absolute() / EVALUATION
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"metrics": values, "rows": len(y), "ckpt_path": str(cfg.ckpt_path), "versions": versions()})
    say()
    say(metric_table(values, {}))
    say(f"{len(y):,} rows: {path}")
    return values


def predictions_table(saved: SavedRun, prediction: Prediction, index: pd.Index[Any]) -> pd.DataFrame:
    """Return predictions in the words of the training file.

    Args:
        saved: The run.
        prediction: Of all rows.
        index: Numbers of the rows, from 0.

    Returns:
        A table with the column `row` (1 is the row below the header), the decision, and the probability of each class;
        with several labels or numbers to predict a column for each.
    """
    columns: dict[str, Any] = {"row": index + 1}
    columns |= decision_columns("decision", prediction.decision, saved.task, saved.targets, saved.target_scale)
    if prediction.probabilities is not None:
        columns |= probability_columns(prediction.probabilities, saved.task, saved.targets)
    return pd.DataFrame(columns)


def _read(cfg: DictConfig) -> pd.DataFrame:
    choice(f"data for mode={cfg.mode}", cfg.data.name, ("csv", "parquet"))
    if cfg.data.name == "parquet":
        return read_parquet(cfg.data.path)
    return read_table(cfg.data.path, cfg.data.separator, list(cfg.data.na_values))


def _features(saved: SavedRun, table: pd.DataFrame, path: str) -> Tensor:
    """Return the features of a table of the user's, and say in what it differs from the training file."""
    trained = saved.config["data"]
    if saved.encoder is None:
        raise ValueError(f"the model was trained on data={trained['name']}, which is no table: no file can be like it")
    no_features = {name for key in ("target", "drop", "group", "time") for name in column_names(trained[key])}
    seen = table.drop(columns=[name for name in table.columns if name in no_features])
    for note in saved.encoder.check(seen, path):
        say(note)
    return torch.tensor(saved.encoder.encode(seen), dtype=torch.float32)


def _labelled_rows(cfg: DictConfig, saved: SavedRun, stage: str) -> tuple[Tensor, Tensor]:
    """Return features and targets: all rows of a table that the command names, or a part of the run's own data."""
    if "path" in cfg.data:
        table = _read(cfg)
        missing = [name for name in _targets(saved) if name not in table.columns]
        if missing:
            raise ValueError(f"{cfg.data.path} lacks the target {missing[0]!r}, without it there is mode=predict alone")
        table = table.dropna(subset=_targets(saved))
        values = as_target(saved.task, encode_target(table[_targets(saved)], saved.task, saved.targets))
        mean, deviation = saved.target_scale or (0.0, 1.0)
        return _features(saved, table, cfg.data.path), (values - mean) / deviation if saved.target_scale else values
    dataset = build_data(saved.config["data"], saved.task).dataset
    if dataset.encoder != saved.encoder or saved.checksums not in (None, checksums(dataset)):
        hint = "" if saved.encoder is None else ": name the file by data=csv data.path=FILE"
        raise ValueError(f"the data have changed since the training, rows of other parts may be among them{hint}")
    if stage not in dataset.parts:
        raise ValueError(f"the run has no {stage} part (parts: {', '.join(dataset.parts)})")
    say(f"the {stage} part of data={saved.config['data']['name']}, as in the training")
    part = dataset.parts[stage]
    return part.x, part.y


def _targets(saved: SavedRun) -> list[str]:
    return column_names(saved.config["data"]["target"])


def _batches(cfg: DictConfig, *tensors: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), batch_size=cfg.data.eval_batch_size)


def _trainer(cfg: DictConfig, folder: Path) -> L.Trainer:
    """Return a trainer for one device: several would each see a part of the rows."""
    return L.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=1,
        precision=cfg.trainer.precision,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    decisions, probabilities = zip(*predictions, strict=True)
    return Prediction(torch.cat(decisions), None if probabilities[0] is None else torch.cat(probabilities))
