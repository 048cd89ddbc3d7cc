"""One run: from a config to a trained module and the files of its folder."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, cast

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lightning_losses._validation import as_block, check_seed, check_types, choice, unknown_arguments
from lightning_losses.app.callbacks import History, build_callbacks
from lightning_losses.app.data import Dataset, InMemoryData, Task, build_data
from lightning_losses.app.memory import forget_peak, peak_memory
from lightning_losses.app.metrics import Metrics, better, build_metrics
from lightning_losses.app.models import build_model
from lightning_losses.app.report import (
    baselines,
    clean_accuracy,
    metrics_of,
    print_result,
    show_setup,
    versions,
    write_files,
)
from lightning_losses.app.saved import KeepsRun, load_weights
from lightning_losses.app.tables import say
from lightning_losses.callbacks import Decide, LabelAudit, Schedule
from lightning_losses.checkpoints import AtomicCheckpointIO, read_checkpoint
from lightning_losses.decide import DecisionRule
from lightning_losses.label_counts import LabelCounts, count_labels, with_counts
from lightning_losses.losses.registry import LOSSES, get_loss
from lightning_losses.module import ObjectiveModule
from lightning_losses.optimizers import build_optimizer

_Checkpoint = TypeVar("_Checkpoint", bound=Checkpoint)


@dataclass(frozen=True)
class Run:
    """What a run leaves.

    Attributes:
        module: The trained module, with the weights of the kept checkpoint.
        history: One row an epoch.
        result: The content of `result.json`.
        folder: Where the files lie.
    """

    module: ObjectiveModule
    history: pd.DataFrame
    result: dict[str, Any]
    folder: Path


def train(cfg: DictConfig, folder: str | Path | None = None) -> Run:
    """Train what a config describes; see `lightning_losses.app.run`."""
    by_time = folder is None
    folder = Path(folder or new_folder()).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    ckpt_path = None if cfg.ckpt_path is None else str(cfg.ckpt_path)
    saved = {} if ckpt_path is None else read_checkpoint(ckpt_path)
    check_seed("seed", cfg.seed)
    forget_peak()
    with quiet_lightning():
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        data = build_data(_plain(cfg.data), cfg.task)
        settings = _settings(cfg, data.dataset)
        net = build_model(settings["model"])
        metrics = usable_metrics(settings, net, data.dataset.task, data.dataset.parts["train"].x[:1])
        module = _build_module(settings, net, metrics)
        _check_fits(saved, module)
        directions = _directions(metrics)
        trainer = _build_trainer(settings, _logged(module, directions), data, folder)
        if by_time and trainer.world_size > 1:
            raise ValueError("folder must be given where several processes train, which begin at different times")
        if trainer.is_global_zero:
            show_setup(data.dataset, module, build_optimizer(module, settings["optimizer"]), folder)
        seconds = _fit(trainer, module, data, ckpt_path)
        history = _find(History, trainer)[0].table
        result = _result(trainer, module, data, settings, history) | {
            "seconds": round(seconds, 2),
            "peak_memory_mb": peak_memory(),
            "better": directions,
        }
        if trainer.is_global_zero:
            write_files(folder, result, history, module, data)
            print_result(folder, result)
        return Run(module, history, result, folder)


def new_folder() -> Path:
    """Return where a run leaves its files that was given no folder."""
    return Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S}"


def _plain(cfg: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))


def _check_fits(saved: Mapping[str, Any], module: ObjectiveModule) -> None:
    """Refuse a checkpoint of another network before anything is printed or trained."""
    shapes = {name: weights.shape for name, weights in saved.get("state_dict", {}).items()}
    for name, weights in module.net.named_parameters(prefix="net"):
        if shapes and shapes.get(name) != weights.shape:
            there = "no" if name not in shapes else tuple(shapes[name])
            raise ValueError(
                f"ckpt_path: the checkpoint is of another network or of other data: {name} has shape "
                f"{tuple(weights.shape)} here, {there} there"
            )


def _settings(cfg: DictConfig, dataset: Dataset) -> dict[str, Any]:
    """Return the config as plain data, after the data have said what the task and the sizes are."""
    cfg = cfg.copy()
    cfg.task = dataset.task
    cfg.sizes = {"inputs": dataset.inputs, "outputs": dataset.outputs, "counts": None, "shares": None}
    if dataset.task != "regression":
        rows = dataset.parts["train"]
        cfg.sizes.counts = dataset.counts(rows)
        cfg.sizes.shares = [count / len(rows.y) for count in cfg.sizes.counts]
    settings = _plain(cfg)
    _check_takes_two_classes(settings["loss"].get("name"), dataset.task)
    if (metric := settings["compare"]["metric"]) is not None:  # before a sweep has been trained for nothing
        choice(
            "compare.metric", metric, [name for name, spec in (settings["metrics"][dataset.task] or {}).items() if spec]
        )
    if dataset.task != "regression":
        counts = LabelCounts(dataset.task, count_labels(dataset.task, [rows.y]))
        settings["loss"] = with_counts(settings["loss"], counts)
    return settings


def _check_takes_two_classes(name: str | None, task: Task) -> None:
    """Say how a loss that needs an output for each class is had where there are two."""
    loss = LOSSES.get(name or "")
    if task == "binary" and loss is not None and "binary" in loss.unsupported:
        raise ValueError(
            f"loss={name} is not for a binary target but for an output of each class: add task=multiclass, "
            "which a table, arrays and a folder of images take for two classes too"
        )


def _build_module(settings: Mapping[str, Any], net: nn.Module, metrics: Metrics) -> ObjectiveModule:
    return ObjectiveModule(
        net,
        loss=settings["loss"],
        regularizer=settings["regularizer"],
        constraint=settings["constraint"],
        optimizer=settings["optimizer"],
        scheduler=settings["scheduler"],
        metrics=metrics,
        non_finite=settings["non_finite"],
    )


@torch.no_grad()
def usable_metrics(settings: Mapping[str, Any], net: nn.Module, task: Task, example: Tensor) -> Metrics:
    """Build the task's metrics; those of probabilities only if the loss has a posterior for an example's outputs."""
    name = settings["loss"].get("name") or settings["loss"].get("_target_")
    if task == "regression" and "task" in settings["loss"]:
        raise ValueError(f"loss={name} is for classes, the target is continuous: choose loss=mse, l1, huber, ...")
    loss = get_loss(settings["loss"])
    if loss.task != task:
        raise ValueError(f"loss={name} is for a {loss.task} target, these data are {task}")
    metrics = build_metrics(settings["metrics"][task], f"metrics.{task}")
    if metrics["probabilities"] and loss.predict(net.eval()(example)).probabilities is None:
        say(f"metrics left out: {', '.join(metrics.pop('probabilities'))}; loss={name} has no probabilities")
    net.train()
    return metrics


def _build_trainer(
    settings: Mapping[str, Any], logged: Mapping[str, str], data: InMemoryData, folder: Path
) -> L.Trainer:
    loggers = _loggers(settings["logger"], folder)
    callbacks = build_callbacks(settings["callbacks"], data.dataset.task, logged, folder, has_logger=bool(loggers))
    callbacks.append(KeepsRun(settings, data.dataset))
    if decide := _decide(settings["decide"], data.dataset):
        callbacks.append(decide)
    if choice("callbacks.label_audit", settings["callbacks"]["label_audit"], (True, False)):
        rows = (data.dataset.parts["train"].rows + 1).tolist()
        callbacks.append(LabelAudit(folder / "suspects.csv", data.dataset.targets, rows))
    check_types("trainer", settings["trainer"], L.Trainer.__init__)
    trainer = L.Trainer(
        **settings["trainer"],
        default_root_dir=folder,
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
    )
    steps = max(1, len(data.train_dataloader()) // trainer.world_size)
    trainer.log_every_n_steps = min(trainer.log_every_n_steps, steps)  # type: ignore[attr-defined]
    return trainer


def _decide(settings: Mapping[str, Any] | None, dataset: Dataset) -> Decide | None:
    """Return what chooses how to decide; its errors name the arguments, the block is named here."""
    settings = as_block("decide", settings)
    unknown_arguments("decide", settings, list(signature(Decide).parameters))
    try:
        decide = Decide(**settings)
        if decide.rule == DecisionRule():
            return None
        decide.rule.check(dataset.task, len(dataset.targets))
    except (TypeError, ValueError) as error:
        raise type(error)(f"decide.{error}") from error
    return decide


def _directions(metrics: Metrics) -> dict[str, str]:
    """Return of what is logged in each stage whether `min` or `max` is better."""
    own = {name: better(name) for name in ("loss", "objective")}
    return own | {name: better(name, metric) for named in metrics.values() for name, metric in named.items()}


def _logged(module: ObjectiveModule, directions: Mapping[str, str]) -> dict[str, str]:
    """Return what can be monitored, and whether `min` or `max` is better."""
    penalties = {f"train/regularizer/{name}": "min" for name in module.objective.regularizers}
    return {f"{stage}/{name}": mode for stage in ("train", "val") for name, mode in directions.items()} | penalties


def _loggers(settings: Mapping[str, Any], folder: Path) -> list[Logger]:
    loggers: list[Logger] = []
    kinds: dict[str, tuple[type[CSVLogger | TensorBoardLogger], str]]
    kinds = {"csv": (CSVLogger, ""), "tensorboard": (TensorBoardLogger, "tensorboard")}
    for key, (kind, version) in kinds.items():
        if settings[key] is not None:
            check_types(f"logger.{key}", settings[key], kind.__init__)
            loggers.append(kind(folder, name="", version=version, **settings[key]))
    return loggers


def _fit(trainer: L.Trainer, module: ObjectiveModule, data: InMemoryData, ckpt_path: str | None) -> float:
    """Train, and return the seconds it took."""
    interrupt_handler = signal.getsignal(signal.SIGINT)
    begin = time.perf_counter()
    say(f"start   {datetime.now():%Y-%m-%d %H:%M:%S}")
    try:
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C; it also leaves the signal ignored
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, interrupt_handler)
    seconds = time.perf_counter() - begin
    say(f"{'stopped' if trainer.interrupted else 'finish '} {datetime.now():%Y-%m-%d %H:%M:%S}, {seconds:.1f} s")
    return seconds


def _result(
    trainer: L.Trainer, module: ObjectiveModule, data: InMemoryData, settings: dict[str, Any], history: pd.DataFrame
) -> dict[str, Any]:
    """Take the weights that were kept, and return the content of `result.json`."""
    checkpoint = _restore_kept(trainer, module)
    return {
        "status": "interrupted" if trainer.interrupted else "finished",
        "metrics": metrics_of(history, checkpoint["epoch"])
        | clean_accuracy(module, data)
        | _judge(trainer, module, data),
        "baselines": baselines(data.dataset),
        "checkpoint": checkpoint,
        "decide": None if module.objective.decider is None else module.objective.decider.state(),
        "task": data.dataset.task,
        "targets": list(data.dataset.targets),
        "rows": {name: len(part.y) for name, part in data.dataset.parts.items()},
        "epochs": len(history),
        "parameters": sum(p.numel() for p in module.parameters()),
        "seed": settings["seed"],
        "versions": versions(),
        "config": settings,
    }


def _judge(trainer: L.Trainer, module: ObjectiveModule, data: InMemoryData) -> dict[str, float]:
    """Return what is known only now: metrics of the test part, and, by decisions of its own, of the validation part."""
    metrics: dict[str, float] = {}
    if trainer.interrupted:
        return metrics
    if module.objective.decider is not None:
        metrics |= trainer.validate(module, datamodule=data, verbose=False)[0]
    if "test" in data.dataset.parts:
        metrics |= trainer.test(module, datamodule=data, verbose=False)[0]
    return metrics


def _find(kind: type[_Checkpoint], trainer: L.Trainer) -> list[_Checkpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, kind)]


def _restore_kept(trainer: L.Trainer, module: ObjectiveModule) -> dict[str, Any]:
    """Load the kept checkpoint, if there is one, and say which it is."""
    keepers = _find(ModelCheckpoint, trainer)
    if not keepers or not Path(keepers[0].best_model_path).is_file():
        return {"path": None, "last": None, "epoch": None, "monitor": None, "score": None}
    keeper = keepers[0]
    saved = read_checkpoint(keeper.best_model_path)
    for schedule in (c for c in trainer.callbacks if isinstance(c, Schedule)):  # type: ignore[attr-defined]
        schedule.apply(trainer, module, saved["epoch"] if schedule.interval == "epoch" else saved["global_step"] - 1)
    load_weights(module, saved)
    return {
        "path": keeper.best_model_path,
        "last": keepers[-1].best_model_path,
        "epoch": saved["epoch"],
        "monitor": keeper.monitor,
        "score": None if keeper.best_model_score is None else float(keeper.best_model_score),
    }


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning tells every run: devices that are absent, advertisements, that the epochs are over."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # Hydra's files lie in the folder before CSVLogger comes, and it would delete its own metrics.csv only
            warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
            # Lightning's own use of torch, of which a user can change nothing
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
