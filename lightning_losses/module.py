"""A ready LightningModule around any network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_losses._mapping import plain
from lightning_losses._validation import choice
from lightning_losses.losses import HeadsLoss, Prediction
from lightning_losses.losses.registry import LossSpec
from lightning_losses.mixins import STAGES, ObjectiveMixin, Supervised
from lightning_losses.optimizers import OptimizerSpec, SchedulerSpec
from lightning_losses.parameters import assign_roles


class ObjectiveModule(ObjectiveMixin, LightningModule):
    """Trains a network with a loss, penalties, constraints and metrics, all chosen by configuration.

    Args:
        net: The network; `forward(x)` is `net(x)`.
        loss: See `LossMixin`.
        regularizer: See `RegularizerMixin`.
        constraint: See `RegularizerMixin`.
        optimizer: See `OptimizerMixin`.
        scheduler: See `OptimizerMixin`.
        metrics: `{"decision": {name: metric}, "probabilities": {name: metric}}`, torchmetrics that look at what the
            model decides, or at how likely it says the classes are; logged for every stage as `{stage}/{name}`. With
            several heads a mapping of these by head, logged as `{stage}/{head}/{name}`.
        exact: See `LossMixin`.
        non_finite: See `LossMixin`.
        roles: Roles of parameters by glob, where `parameter_roles` would decide otherwise; names begin with `net.`.

    Raises:
        ValueError: A name is unknown, or an argument is not allowed.
        TypeError: A part takes no such argument.

    Example:
        >>> from torch import nn
        >>> module = ObjectiveModule(nn.Linear(2, 3), loss="focal", regularizer={"l2": 1e-4})
        >>> module.hparams["loss"]
        {'name': 'focal'}
    """

    def __init__(
        self,
        net: nn.Module,
        loss: LossSpec = "ce",
        regularizer: Mapping[str, Any] | None = None,
        constraint: Mapping[str, Any] | None = None,
        optimizer: OptimizerSpec = "adamw",
        scheduler: SchedulerSpec = None,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        exact: bool | None = None,
        non_finite: str = "raise",
        roles: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
            regularizer=regularizer,
            constraint=constraint,
            optimizer=optimizer,
            scheduler=scheduler,
            exact=exact,
            non_finite=non_finite,
        )
        self.net = net
        if roles:
            assign_roles(self, roles)
            self.save_hyperparameters({"roles": plain(roles)})
        self._ll_metrics = nn.ModuleDict(
            {
                f"{stage}/{head}{kind}": metric
                for stage in STAGES
                for head, of_head in self._ll_by_head(metrics or {}).items()
                for kind, metric in _collections(of_head).items()
            }
        )

    def _ll_by_head(self, metrics: Mapping[str, Any]) -> Mapping[str, Mapping[str, Mapping[str, Metric]]]:
        """Return the metrics by the prefix of a head's names, which is empty for a single one."""
        if not isinstance(self.objective.loss, HeadsLoss):
            return {"": metrics}
        return {f"{choice('metrics', head, self.objective.loss.losses)}/": own for head, own in metrics.items()}

    def forward(self, x: Tensor) -> Any:
        """Return what the network returns."""
        return self.net(x)

    def _ll_progress(self) -> dict[str, Any]:
        """Return what else is needed: what the epoch's metrics have seen so far."""
        metrics = [
            {name: (metric.update_count, metric.metric_state) for name, metric in collection.items()}
            for *_, collection in self._ll_collections("train")
        ]
        return {**super()._ll_progress(), "metrics": metrics}

    def _ll_go_on(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Take up the metrics, where there are as many processes as then."""
        super()._ll_go_on(saved)
        if len(saved) != self.trainer.world_size:
            return
        own = saved[self.trainer.global_rank].get("metrics", ())  # none of a module that is no ObjectiveModule
        for (*_, collection), states in zip(self._ll_collections("train"), own, strict=False):
            for name, (count, state) in states.items():
                if name in collection:
                    metric: Any = collection[name]
                    metric._update_count = count
                    for field, value in move_data_to_device(state, metric.device).items():
                        setattr(metric, field, value)

    def _ll_start(self, stage: str) -> None:
        super()._ll_start(stage)
        for *_, collection in self._ll_collections(stage):
            collection.reset()

    def _ll_observe(self, stage: str, supervised: Supervised) -> None:
        if not self._ll_metrics:
            return
        loss: Any = self.objective.loss
        with torch.no_grad():
            predicted = self.objective.predict(supervised.input)
        for head, kind, collection in self._ll_collections(stage):
            prediction, target = (predicted[head], supervised.target[head]) if head else (predicted, supervised.target)
            if getattr(prediction, kind) is None:
                name = type(loss.losses[head] if head else loss).__name__
                raise TypeError(
                    f"metrics of {kind} need a loss that has them, {name} has none: use metrics of decision"
                )
            collection.update(getattr(prediction, kind), target)

    def _ll_finish(self, stage: str) -> None:
        super()._ll_finish(stage)
        for head, _, collection in self._ll_collections(stage):
            values = {f"{head}/{name}" if head else name: value for name, value in collection.compute().items()}
            self._ll_log_epoch({self._ll_name(stage, name): value for name, value in values.items()})
            collection.reset()

    def _ll_collections(self, stage: str) -> Iterator[tuple[str, str, MetricCollection]]:
        """Yield the head (empty for a single one), what of its prediction is looked at, and the metrics."""
        for key, collection in self._ll_metrics.items():
            of_stage, *head, kind = key.split("/")
            if of_stage == stage:
                yield "/".join(head), kind, cast(MetricCollection, collection)


def _collections(metrics: Mapping[str, Mapping[str, Metric]]) -> dict[str, MetricCollection]:
    for kind in metrics:
        choice("metrics", kind, Prediction._fields)
    return {kind: MetricCollection(dict(named)).clone() for kind, named in metrics.items() if named}
