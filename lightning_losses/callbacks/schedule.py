"""Hyper-parameters of the objective that change in the course of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lightning_losses._validation import choice
from lightning_losses.callbacks.objective import Regularizers
from lightning_losses.losses.classification import ClassificationLoss
from lightning_losses.losses.registry import loss_spec
from lightning_losses.mixins import HasObjective, LossMixin
from lightning_losses.objective import Objective
from lightning_losses.schedules import Curve, Target

INTERVALS = ("epoch", "step")


class Schedule(Callback):
    """Lets a hyper-parameter of the loss or of a regularizer follow the epochs or the optimizer's steps.

    The value depends on the epoch or step alone, so a resumed run goes on with the right one. All values are tried when
    the fit begins. The value is logged as `schedule/<target>`, for values that are no numbers which of them it is, from
    0. A module's hyper-parameters hold the loss in force, so a checkpoint tells which one its weights belong to.

    Args:
        target: `"loss.gamma"`, an argument of the loss; `"loss"`, the loss as a whole, by name or mapping;
            `"regularizer.l2.factor"`, a number of a regularizer, also of one from `callbacks.Regularizers`.
        at: Epochs or steps, counted from 0, rising.
        values: The value at each of them.
        shape: `"hold"`, `"linear"` or `"cosine"`; see `schedules.Curve`.
        interval: Whether time is counted in epochs or in steps.

    Raises:
        ValueError: An argument is not allowed; when a fit begins: the objective has no such place, or does not take one
            of the values.

    Example:
        Cross entropy first, then a loss that stands wrong labels; and class weights from epoch 160 on (deferred
        re-weighting):

        >>> warm_up = Schedule("loss", at=[0, 5], values=["ce", {"name": "sce", "alpha": 0.1}])
        >>> deferred = Schedule("loss.weight", at=[0, 160], values=[None, [0.2, 1.8]])
        >>> annealed = Schedule("loss.gamma", at=[0, 10], values=[0.0, 2.0], shape="linear")

    Source:
        Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, 2019
        (deferred re-weighting).
    """

    def __init__(
        self, target: str, at: Sequence[float], values: Sequence[Any], shape: str = "hold", interval: str = "epoch"
    ) -> None:
        self.target = Target(target)
        self.curve = Curve(at, values, shape)
        self.interval = choice("interval", interval, INTERVALS)
        self._last: tuple[Any, ...] = ()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try all values, then put the first one there."""
        others = [c for c in trainer.callbacks if isinstance(c, Schedule) and c is not self]  # type: ignore[attr-defined]
        if clash := next((other.target.path for other in others if self.target.overlaps(other.target)), None):
            raise ValueError(f"two schedules change the same: target={self.target.path!r} and target={clash!r}")
        objective = self._objective(trainer, pl_module)
        for value in self.curve.samples():
            self.target.check(objective, value)
            if self.target.part == "loss" and _needs_probabilities(pl_module):
                _check_posterior(self.target.loss_with(objective.loss, value))
        self._last = ()
        self.apply(trainer, pl_module, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the value there that is due where a run is resumed, also within an epoch."""
        self.apply(trainer, pl_module, trainer.current_epoch if self.interval == "epoch" else trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the epoch's value there."""
        if self.interval == "epoch":
            self._apply_and_log(trainer, pl_module, trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Put the step's value there."""
        if self.interval == "step":
            self._apply_and_log(trainer, pl_module, trainer.global_step)

    def apply(self, trainer: Trainer, pl_module: LightningModule, time: float) -> None:
        """Put the value of an epoch or step there.

        Args:
            trainer: The trainer.
            pl_module: The module.
            time: The epoch or step, by `interval`.
        """
        value = self.curve(time)
        if self._last == (value,):
            return
        self._last = (value,)
        objective = self._objective(trainer, pl_module)
        self.target.put(objective, value, pl_module.device)
        if self.target.part == "loss":
            pl_module.hparams["loss"] = loss_spec(objective.loss) or value

    def _apply_and_log(self, trainer: Trainer, pl_module: LightningModule, time: int) -> None:
        self.apply(trainer, pl_module, time)
        (value,) = self._last
        number = float(value) if isinstance(value, (int, float)) else float(self.curve.index(time))
        pl_module.log(f"schedule/{self.target.path}", number)

    def _objective(self, trainer: Trainer, module: LightningModule) -> Objective:
        """Return the module's objective, or for a module without one the penalties that callbacks add to it."""
        if self.target.part == "loss" and not isinstance(module, LossMixin):
            raise TypeError(
                f"target={self.target.path!r} needs a module with LossMixin, {type(module).__name__} is none"
            )
        if isinstance(module, HasObjective):
            return module.objective
        added = [c for c in trainer.callbacks if isinstance(c, Regularizers)]  # type: ignore[attr-defined]
        objective = Objective()
        objective.regularizers = {name: term for callback in added for name, term in callback.regularizers.items()}
        return objective


def _needs_probabilities(module: LightningModule) -> bool:
    return any(key.endswith("/probabilities") for key in getattr(module, "_ll_metrics", ()))


def _check_posterior(loss: nn.Module) -> None:
    reason = loss.no_posterior if isinstance(loss, ClassificationLoss) else "it is a sum or not ours"
    if reason:
        raise ValueError(
            f"metrics of probabilities need a loss that has them, {type(loss).__name__} has none: {reason}"
        )
