"""The trainer's callbacks, and the one that collects the history."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)

from lightning_losses._validation import as_block, check_types, choice, positive, unknown_arguments
from lightning_losses.app.data import Task
from lightning_losses.app.files import write_csv
from lightning_losses.app.tables import EpochTable, say
from lightning_losses.callbacks import Schedule

# the metric by which a task's epochs are compared
OWN_METRIC: dict[Task, str] = {
    "binary": "val/auroc",
    "multiclass": "val/accuracy",
    "multilabel": "val/auroc",
    "regression": "val/loss",
}

# those that watch a metric: Lightning's class, and what is taken besides its arguments
KINDS: dict[str, tuple[type[EarlyStopping | ModelCheckpoint], list[str]]] = {
    "early_stopping": (EarlyStopping, []),
    "checkpoint": (ModelCheckpoint, ["last_every_n_steps"]),
}


def build_callbacks(
    mapping: Mapping[str, Any], task: Task, logged: Mapping[str, str], folder: Path, *, has_logger: bool = True
) -> list[Callback]:
    """Build the callbacks of the config group `callbacks`.

    Args:
        mapping: The blocks `early_stopping`, `checkpoint`, `lr_monitor`, `progress_bar` (each may be None),
            `epoch_table`, and `schedules`: arguments of `Schedule` under any names.
        task: Decides what `monitor: auto` and `mode: auto` are.
        logged: Names that can be monitored, and whether `min` or `max` of each is better.
        folder: The run's.
        has_logger: Whether there is one that takes the learning rates.

    Returns:
        The callbacks, the history first.

    Raises:
        ValueError: A monitored name is not logged.
        TypeError: A value is of another type.
    """
    stopping, checkpoint = (_resolve(key, mapping.get(key), task, logged) for key in KINDS)
    monitored = (checkpoint or {}).get("monitor") or (stopping or {}).get("monitor") or _own_metric(task, logged)
    penalised = any(name.startswith("train/regularizer/") for name in logged)
    epoch_table, lr_monitor, schedules = (
        as_block(f"callbacks.{key}", mapping.get(key)) for key in ("epoch_table", "lr_monitor", "schedules")
    )
    check_types("callbacks.epoch_table", epoch_table, History.__init__)
    unknown_arguments("callbacks.lr_monitor", lr_monitor, list(signature(LearningRateMonitor).parameters))
    check_types("callbacks.lr_monitor", lr_monitor, LearningRateMonitor.__init__)
    table = EpochTable(_column(monitored), penalised)
    callbacks: list[Callback] = [History(folder / "history.csv", table, **epoch_table)]
    if stopping:
        callbacks.append(StopsOnce(**stopping))
    if checkpoint:
        callbacks.extend(_checkpoints(folder / "checkpoints", checkpoint))
    if lr_monitor and has_logger:
        callbacks.append(LearningRateMonitor(**lr_monitor))
    callbacks.extend(_schedule(name, block) for name, block in schedules.items() if block)
    callbacks.extend(_progress_bar(mapping.get("progress_bar")))
    return callbacks


def _resolve(key: str, block: Mapping[str, Any] | None, task: Task, logged: Mapping[str, str]) -> dict[str, Any] | None:
    """Put the task's own metric in the place of `auto`, and a time in that of seconds."""
    if block is None:
        return None
    block = {"monitor": "auto", "mode": "auto", **as_block(f"callbacks.{key}", block)}
    if (seconds := block.get("train_time_interval")) is not None:
        block["train_time_interval"] = timedelta(seconds=positive(f"callbacks.{key}.train_time_interval", seconds))
    kind, own_arguments = KINDS[key]
    unknown_arguments(f"callbacks.{key}", block, [*signature(kind).parameters, *own_arguments])
    check_types(f"callbacks.{key}", block, kind.__init__)
    choice(f"callbacks.{key}.mode", block["mode"], ("auto", "min", "max"))
    own = _own_metric(task, logged)
    if block["monitor"] == "auto":
        block["monitor"] = own
    if block["monitor"] is not None and block["monitor"] not in logged:
        raise ValueError(
            f"callbacks.{key}.monitor={block['monitor']} is not logged (logged: {', '.join(sorted(logged))})"
        )
    if block["mode"] == "auto":
        block["mode"] = logged[block["monitor"] or own]
    return block


def _checkpoints(folder: Path, block: dict[str, Any]) -> Iterator[Checkpoint]:
    """Yield the one that keeps an epoch and, if that is not the last epoch anyway, one that keeps the last.

    Lightning's own `save_last` rewrites last.ckpt only when the best epoch changes: a resumed run would repeat epochs.
    """
    save_last, every_n_steps = block.pop("save_last", False), block.pop("last_every_n_steps", None)
    yield KeptEpoch(dirpath=folder, **block)
    if save_last and block["monitor"] is not None:
        # when all of the epoch is known, also where validation runs more or less often than once in an epoch
        yield KeptEpoch(dirpath=folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    if every_n_steps is not None:
        yield WithinEpoch(folder / "last.ckpt", every_n_steps)


def _own_metric(task: Task, logged: Mapping[str, str]) -> str:
    """Return the task's own metric, or what there is of accuracy and loss where the loss has no probabilities."""
    return next(name for name in (OWN_METRIC[task], "val/accuracy", "val/loss") if name in logged)


def _schedule(name: str, block: Mapping[str, Any]) -> Schedule:
    """Build a schedule; its errors name the arguments, which schedule it is stands before them."""
    owner = f"callbacks.schedules.{name}"
    if not isinstance(block, Mapping):
        raise TypeError(f"{owner} must be a block of target, at, values, shape and interval, got {block!r}")
    unknown_arguments(owner, block, list(signature(Schedule).parameters))
    check_types(owner, block, Schedule.__init__)
    if missing := [argument for argument in ("target", "at", "values") if argument not in block]:
        raise TypeError(f"{owner} needs {', '.join(missing)}")
    try:
        return Schedule(**block)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: {error}") from error


def _progress_bar(block: Mapping[str, Any] | None) -> list[Callback]:
    if block is None:
        return []
    arguments = dict(as_block("callbacks.progress_bar", block))
    enabled = choice("callbacks.progress_bar.enabled", arguments.pop("enabled", "auto"), ("auto", True, False))
    check_types("callbacks.progress_bar", arguments, RichProgressBar.__init__)
    return [RichProgressBar(**arguments)] if (sys.stdout.isatty() if enabled == "auto" else enabled) else []


class KeptEpoch(ModelCheckpoint):
    """Keeps the best epoch, or the last; a resumed run, in a folder of its own, goes on from what the run before kept.

    Lightning's own forgets the best score where the folder has changed. What lies in another folder is never removed.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was kept so far, wherever its file lies."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class WithinEpoch(Checkpoint):
    """Writes a checkpoint between the batches of an epoch, at the end of which another callback writes it.

    Args:
        path: Where to.
        every_n_steps: After how many optimizer steps.

    Raises:
        ValueError: `every_n_steps` is not above 0.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = int(positive("callbacks.checkpoint.last_every_n_steps", every_n_steps))
        self._saved = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write it, but not where validation follows, which a resumed run would leave out."""
        step = trainer.global_step
        batch = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        validates = trainer.is_last_batch or (batch + 1) % (trainer.val_check_batch or float("inf")) == 0
        if step != self._saved and step % self.every_n_steps == 0 and not validates:
            trainer.save_checkpoint(self.path)
            self._saved = step


class StopsOnce(EarlyStopping):
    """Lightning's, which trains another epoch where a run is resumed that it has stopped."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop again."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on waiting, by the patience that is configured now."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class History(Checkpoint):
    """One row an epoch: on the screen, in `history.csv`, and in checkpoints, so that a resumed run goes on with it.

    The row of an epoch has `epoch`, the training values under their own names, the validation values with `val_` before
    them, the learning rate `lr` and the `seconds` it took. It is a `Checkpoint` because Lightning calls those last,
    when all metrics of the epoch are known.

    Args:
        path: Where to write.
        screen: Prints the rows.
        every_n_steps: Print a line with the loss every so many steps too; None prints rows only.
    """

    def __init__(self, path: Path, screen: EpochTable, every_n_steps: int | None = None) -> None:
        self.path = path
        self.screen = screen
        self.rows: list[dict[str, float]] = []
        self.every_n_steps = every_n_steps
        self._started = 0.0
        self._validated = False

    @property
    def table(self) -> pd.DataFrame:
        """The rows so far."""
        return pd.DataFrame(self.rows)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of a run that is resumed within an epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        self._validated = False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Print the loss every `every_n_steps` steps."""
        if self.every_n_steps and (batch_idx + 1) % self.every_n_steps == 0:
            step = f"step {batch_idx + 1} of {trainer.num_training_batches}"
            say(f"epoch {trainer.current_epoch}, {step}: loss {trainer.callback_metrics['train/loss_step']:.4f}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember that the validation values are this epoch's."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's row."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if not name.endswith("_step")}
        stages = ("train/", "val/") if self._validated else ("train/",)
        values = {_column(name): logged[name] for stage in stages for name in logged if name.startswith(stage)}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.perf_counter() - self._started
        self.rows.append({"epoch": trainer.current_epoch, **values, "lr": float(rate), "seconds": round(seconds, 3)})
        if trainer.is_global_zero:
            write_csv(self.path, self.table)
        self.screen.print(self.rows[-1])

    def state_dict(self) -> dict[str, Any]:
        """Keep the rows in checkpoints."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the rows of the run that is resumed."""
        self.rows = list(state_dict["rows"])


def _column(name: str) -> str:
    """Return the history's name of a logged value: `train/loss` -> `loss`, `val/loss` -> `val_loss`."""
    return name.removeprefix("train/").replace("val/", "val_")
