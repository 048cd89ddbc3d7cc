"""The loss of a LightningModule: its steps, what they log, and what a checkpoint keeps of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_losses.decide import Decider
from lightning_losses.epoch_means import EpochMeans
from lightning_losses.label_counts import (
    LabelCounts,
    UncountedLoss,
    add_padded,
    count_labels,
    needs_counts,
    with_counts,
)
from lightning_losses.losses import Prediction
from lightning_losses.losses.registry import LossSpec, loss_spec
from lightning_losses.mixins.base import STATE_KEY, HasObjective, remember
from lightning_losses.objective import Terms, mean_loss

STAGES = ("train", "val", "test")
_LOSS_PREFIX = "objective.loss."


class Supervised(NamedTuple):
    """What `supervised_step` makes of a batch.

    Attributes:
        input: What the network returns for it.
        target: What it should return.
        sample_weight: Weight of each row, `(N,)`.
    """

    input: Tensor
    target: Tensor
    sample_weight: Tensor | None = None


class LossMixin(HasObjective):
    """Puts a loss into the training, validation, test and predict steps.

    Args:
        loss: A name, a mapping, Hydra's config, a loss or a callable; see `get_loss`. What depends on how often each
            class occurs (`weight="balanced"` or `"effective_number"`, `pos_weight="balanced"`, a missing `prior` or
            `class_counts`) is counted once, from the labels of the training loader, when `Trainer.fit` sets up.
        exact: Whether the gradient is that of the mean over the whole window of an optimizer step (all micro-batches
            and ranks), however its rows are cut. False takes the trainer's mean of means; None is exact where the loss
            has a numerator and a denominator, which ours have.
        log_template: How logged values are named, from `stage` and `name`.
        *args: For the next base.
        **kwargs: For the next base.

    Raises:
        ValueError: A name is unknown, the loss reduces otherwise than to the mean, or it cannot be `exact`.
        TypeError: The loss takes no such argument.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> class Net(LossMixin, LightningModule):
        ...     def __init__(self):
        ...         super().__init__(loss={"name": "focal", "gamma": 1.0})
        >>> Net().objective.loss.phi
        Focal(gamma=1.0)
    """

    def __init__(
        self,
        *args: Any,
        loss: LossSpec = "ce",
        exact: bool | None = None,
        log_template: str = "{stage}/{name}",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective.loss = UncountedLoss(loss) if needs_counts(loss) else mean_loss(loss)
        self._ll_log_template = log_template
        self._ll_means = {stage: EpochMeans() for stage in STAGES}
        if exact and not self.objective.is_exact:
            raise ValueError(f"exact must be False or None: {loss!r} has no numerator and denominator")
        own_step = type(self).training_step is not LossMixin.training_step
        self._ll_exact = exact is not False and self.objective.is_exact and not own_step
        remember(self, loss=loss_spec(loss), exact=exact, log_template=log_template)

    def supervised_step(self, batch: Any) -> Supervised:
        """Return outputs and targets of a batch; override it for batches of another form.

        Args:
            batch: `(x, target)` or `(x, target, sample_weight)`.

        Returns:
            What the loss looks at.

        Raises:
            TypeError: The batch has another form.
        """
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(
                f"{type(self).__name__}.supervised_step must be overridden: the batch is not (x, target) or "
                f"(x, target, sample_weight) but a {type(batch).__name__}"
            )
        return Supervised(self(batch[0]), *batch[1:])

    def batch_labels(self, batch: Any) -> Tensor:
        """Return the targets of a batch, to count how often each class occurs; override it with `supervised_step`.

        Args:
            batch: `(x, target)` or `(x, target, sample_weight)`.

        Returns:
            The targets, without running the network.

        Raises:
            TypeError: The batch has another form.
        """
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(
                f"{type(self).__name__}.batch_labels must be overridden to count labels: the batch is not (x, target) "
                f"or (x, target, sample_weight) but a {type(batch).__name__}"
            )
        labels: Tensor = batch[1]
        return labels

    def setup(self, stage: str) -> None:
        """Count the labels of the training loader if the loss depends on them."""
        super().setup(stage)
        if stage == "fit" and isinstance(self.objective.loss, UncountedLoss):
            self._ll_take_loss(with_counts(self.objective.loss.spec, self._ll_count_labels(self.objective.loss)))

    def _ll_take_loss(self, loss: LossSpec) -> None:
        """Put a loss in the place of the one that waited for counts, and its numbers into the hyper-parameters."""
        self.objective.loss = mean_loss(loss).to(self.device)
        remember(self, loss=loss_spec(loss))

    def _ll_count_labels(self, loss: UncountedLoss) -> LabelCounts:
        """Count the labels of one pass through the training loader, over all ranks."""
        loop = self.trainer.fit_loop
        with torch.random.fork_rng(devices=[]):  # the order of the first epoch stays what it is without this pass
            loop.setup_data()
            loader: Any = self.trainer.train_dataloader
            if loop.max_batches == float("inf"):
                raise ValueError("the loss has labels to count, and the loader's length is not known: give numbers")
            counts = count_labels(loss.task, map(self.batch_labels, loader), loss.ignore_index)
        loop._combined_loader = None  # made again with the state of a checkpoint, which is not known yet
        if self.trainer.world_size > 1:
            device = self.trainer.strategy.root_device
            length = int(self._ll_reduce(torch.tensor(len(counts), device=device), "max"))
            padded = add_padded(counts, torch.zeros(length, *counts.shape[1:]))
            counts = self._ll_reduce(padded.to(device), "sum").cpu()
        return LabelCounts(loss.task, counts)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the objective of a batch and log its terms."""
        terms = self._ll_step("train", batch)
        return self._ll_summed(terms) if self._ll_exact else terms.total

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the objective of a batch and log its terms."""
        return self._ll_step("val", batch).total

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the objective of a batch and log its terms."""
        return self._ll_step("test", batch).total

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Prediction:
        """Return decisions and probabilities for `(x, ...)` or `x`."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        return self.objective.predict(self(x))

    def on_train_epoch_start(self) -> None:
        """Start the epoch's means."""
        super().on_train_epoch_start()
        self._ll_start("train")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        super().on_train_epoch_end()
        self._ll_finish("train")

    def on_validation_epoch_start(self) -> None:
        """Start the epoch's means."""
        super().on_validation_epoch_start()
        self._ll_start("val")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's means."""
        super().on_validation_epoch_end()
        self._ll_finish("val")

    def on_test_epoch_start(self) -> None:
        """Start the epoch's means."""
        super().on_test_epoch_start()
        self._ll_start("test")

    def on_test_epoch_end(self) -> None:
        """Log the epoch's means."""
        super().on_test_epoch_end()
        self._ll_finish("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save how to decide and what the loss has learned or counted in a place of its own: others load the rest."""
        super().on_save_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        own = {name: weights.pop(name) for name in list(weights) if name.startswith(_LOSS_PREFIX)}
        if isinstance(getattr(self.objective.loss, "function", None), nn.modules.loss._Loss):
            own = {}  # torch's criteria hold constants only, which the configuration gives
        if own:
            checkpoint.setdefault(STATE_KEY, {})["loss"] = {"kind": self._ll_loss_kind(), "weights": own}
        if self.objective.decider is not None:
            checkpoint.setdefault(STATE_KEY, {})["decider"] = self.objective.decider.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore how to decide, and what the loss has learned or counted; another loss starts anew."""
        super().on_load_checkpoint(checkpoint)
        decider = checkpoint.get(STATE_KEY, {}).get("decider")
        self.objective.decider = None if decider is None else Decider.from_state(decider)
        counted = checkpoint.get("hyper_parameters", {}).get("loss")
        if isinstance(self.objective.loss, UncountedLoss) and counted and not needs_counts(counted):
            self._ll_take_loss(counted)
        saved = checkpoint.get(STATE_KEY, {}).get("loss", {})
        fresh = {name: value for name, value in self.state_dict().items() if name.startswith(_LOSS_PREFIX)}
        shapes = {name: value.shape for name, value in fresh.items()}
        same = saved.get("kind") == self._ll_loss_kind()
        same = same and {name: value.shape for name, value in saved["weights"].items()} == shapes
        if "state_dict" in checkpoint:  # a sharded checkpoint keeps its weights elsewhere
            checkpoint["state_dict"] |= saved["weights"] if same else fresh

    def _ll_loss_kind(self) -> str:
        return type(getattr(self.objective.loss, "function", self.objective.loss)).__name__

    def _ll_step(self, stage: str, batch: Any) -> Terms:
        if not self.objective.is_bound:
            self.objective.bind(self)
        self.objective.forget_outputs()
        supervised = self.supervised_step(batch)
        terms = self.compute_objective(*supervised)
        values = {self._ll_name(stage, "loss"): terms.loss.detach()}
        values[self._ll_name(stage, "objective")] = terms.total.detach()
        penalties = {self._ll_name(stage, f"regularizer/{name}"): v.detach() for name, v in terms.penalties.items()}
        if stage == "train":
            # they change slowly, and logging costs more than computing them: each step that is recorded has them all
            recorded = penalties if self._ll_is_recorded() else {}
            self.log_dict({f"{name}_step": value for name, value in (values | recorded).items()})
            values |= penalties
        self._ll_means[stage].add(values, terms.weight)
        self._ll_observe(stage, supervised)
        return terms

    def _ll_is_recorded(self) -> bool:
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        return every > 0 and (self.trainer.global_step + 1) % every == 0

    def _ll_name(self, stage: str, name: str) -> str:
        return self._ll_log_template.format(stage=stage, name=name)

    def _ll_observe(self, stage: str, supervised: Supervised) -> None:
        """For a subclass that computes metrics."""

    def _ll_summed(self, terms: Terms) -> Tensor:
        """Return a scalar with the value of the objective and the gradient of the loss summed over the batch."""
        summed = self._ll_window.add(terms.batch_mean, terms.weight, lambda weight: self._ll_reduce(weight, "max"))
        return summed + (terms.total - summed).detach()

    def _ll_start(self, stage: str) -> None:
        self._ll_means[stage] = EpochMeans()
        self._ll_penalties = None

    def _ll_finish(self, stage: str) -> None:
        self._ll_log_epoch(self._ll_means[stage].compute(lambda total: self._ll_reduce(total, "sum")))

    def _ll_log_epoch(self, values: dict[str, Tensor]) -> None:
        # the values are those of all ranks already: averaging equal numbers only keeps the trainer from warning
        self.log_dict(values, sync_dist=True)
