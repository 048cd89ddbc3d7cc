"""The optimizer and the scheduler of a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_losses.mixins._order import Ordered
from lightning_losses.mixins.base import STATE_KEY, remember
from lightning_losses.optimizers import (
    OptimizerSpec,
    SchedulerSpec,
    build_optimizer,
    build_scheduler,
    check_resumable,
)


class OptimizerMixin(Ordered):
    """Builds the optimizer, whose groups keep biases and norms out of weight decay, and the scheduler.

    Args:
        optimizer: A name or a mapping `{"name": "adamw", "lr": 1e-3, "weight_decay": 0.01}`; see `build_optimizer`.
        scheduler: A name or a mapping `{"name": "cosine", "interval": "epoch"}`; see `build_scheduler`.
        *args: For the next base.
        **kwargs: For the next base.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> from torch import nn
        >>> class Net(OptimizerMixin, LightningModule):
        ...     def __init__(self):
        ...         super().__init__(optimizer={"name": "sgd", "lr": 0.1, "weight_decay": 1e-4})
        ...         self.net = nn.Linear(2, 1)
        >>> [group["name"] for group in Net().configure_optimizers()["optimizer"].param_groups]
        ['decay', 'no_decay']
    """

    def __init__(
        self,
        *args: Any,
        optimizer: OptimizerSpec = "adamw",
        scheduler: SchedulerSpec = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._ll_optimizer = optimizer
        self._ll_scheduler = scheduler
        self._ll_saved_groups: list[Mapping[str, Any]] = []
        self._ll_steps_ahead: Mapping[int, float] = {}
        remember(self, optimizer=optimizer, scheduler=scheduler)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what an epoch that ends now means to a scheduler that looks at a metric: it steps after this."""
        super().on_save_checkpoint(checkpoint)
        if self._trainer is not None and (ahead := _steps_ahead(self.trainer)):
            checkpoint.setdefault(STATE_KEY, {})["scheduler_steps"] = ahead

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the saved optimizer states until there are optimizers to compare them with."""
        super().on_load_checkpoint(checkpoint)
        states = checkpoint.get("optimizer_states", [])
        self._ll_saved_groups = [{"param_groups": state["param_groups"]} for state in states]
        self._ll_steps_ahead = checkpoint.get(STATE_KEY, {}).get("scheduler_steps", {})

    def on_fit_start(self) -> None:
        """Say what differs if a checkpoint's parameter groups do not fit, before the trainer restores them."""
        super().on_fit_start()
        if self.trainer.ckpt_path is not None:
            for optimizer, state in zip(self.trainer.optimizers, self._ll_saved_groups, strict=False):
                check_resumable(optimizer, state)
        self._ll_saved_groups = []

    def on_train_start(self) -> None:
        """Let schedulers step that were about to when the checkpoint was written."""
        super().on_train_start()
        for index, config in enumerate(self.trainer.lr_scheduler_configs):
            if config.reduce_on_plateau and index in self._ll_steps_ahead:
                self.lr_scheduler_step(config.scheduler, self._ll_steps_ahead[index])
        self._ll_steps_ahead = {}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Let schedulers that look at a metric step after the epoch that was resumed, whose metrics are complete."""
        self.trainer.fit_loop._restarting = False
        return super().on_train_batch_start(batch, batch_idx)

    def _ll_scheduler_steps(self) -> int | None:
        """Return how often the scheduler will step in the whole run, if that is known."""
        if self._trainer is None:
            return None
        by_step = isinstance(self._ll_scheduler, Mapping) and self._ll_scheduler.get("interval") == "step"
        steps = self.trainer.estimated_stepping_batches if by_step else self.trainer.max_epochs
        return int(steps) if steps and 0 < steps < float("inf") else None

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the scheduler in the trainer's form."""
        optimizer = build_optimizer(self, self._ll_optimizer)
        scheduler = build_scheduler(optimizer, self._ll_scheduler, self._ll_scheduler_steps())
        return {"optimizer": optimizer} if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}


def _steps_ahead(trainer: Any) -> dict[int, float]:
    """Return the metrics that schedulers are about to look at, by the scheduler's number."""
    epoch = trainer.fit_loop.epoch_progress.current
    if epoch.processed == epoch.completed:
        return {}
    return {
        index: float(trainer.callback_metrics[config.monitor])
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
        and config.monitor in trainer.callback_metrics
    }
