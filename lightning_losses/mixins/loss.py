"""The loss of a LightningModule: its steps, what they log, and what a checkpoint keeps of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_losses import _target_checks
from lightning_losses._instantiate import only
from lightning_losses._validation import choice
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
from lightning_losses.losses import HeadsLoss
from lightning_losses.losses.registry import LossSpec, loss_spec
from lightning_losses.mixins.base import STATE_KEY, HasObjective, remember
from lightning_losses.objective import Auxiliary, Objective, Terms, mean_loss
from lightning_losses.ranks import TrainerRanks

STAGES = ("train", "val", "test")
_LOSS_PREFIX = "objective.loss."
_IGNORED = "ignored_batches"
_NOT_COMPILED = ("_ll_step", "_ll_summed")


class Supervised(NamedTuple):
    """What `supervised_step` makes of a batch.

    Attributes:
        input: What the network returns for it; with several heads a mapping.
        target: What it should return; with several heads a mapping.
        sample_weight: Weight of each row, `(N,)`; with several heads one for all, or a mapping.
    """

    input: Any
    target: Any
    sample_weight: Any = None


class LossMixin(HasObjective):
    """Puts a loss into the training, validation, test and predict steps.

    Args:
        loss: A name, a mapping, Hydra's config, a loss or a callable; a mapping of these for several heads,
            `{"cls": "focal", "aux": {"name": "mse", "factor": 0.5}}`; see `get_loss`. What depends on how often each
            class occurs (`weight="balanced"` or `"effective_number"`, `pos_weight="balanced"`, a missing `prior` or
            `class_counts`) is counted once, from the labels of the training loader, when `Trainer.fit` sets up.
        exact: Whether the gradient is that of the mean over the whole window of an optimizer step (all micro-batches
            and ranks), however its rows are cut. False takes the trainer's mean of means; None is exact where the loss
            has a numerator and a denominator, which ours have.
        non_finite: What to do where the objective is not finite: `"raise"` stops the run, before its weights are ruined
            or saved; `"skip"` leaves the optimizer step out on all ranks and counts it as `train/skipped_steps`, which
            on an accelerator waits for the device once a step.
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
        non_finite: str = "raise",
        log_template: str = "{stage}/{name}",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective.loss = UncountedLoss(loss) if needs_counts(loss) else mean_loss(loss)
        self._ll_log_template = log_template
        self._ll_skipped_before = 0
        self._ll_means: dict[str, dict[int, EpochMeans]] = {stage: {} for stage in STAGES}
        self._ll_skips = choice("non_finite", non_finite, ("raise", "skip")) == "skip"
        self._ll_asked_exact = exact is True
        own_step = type(self).training_step is not LossMixin.training_step
        self._ll_exact = not own_step and _can_be_exact(self.objective, exact)
        remember(self, loss=loss_spec(loss), exact=exact, non_finite=non_finite, log_template=log_template)

    def supervised_step(self, batch: Any) -> Supervised | Mapping[str, Supervised]:
        """Return outputs and targets of a batch; override it for batches of another form.

        Args:
            batch: `(x, target)` or `(x, target, sample_weight)`.

        Returns:
            What the loss looks at; with several heads its fields are mappings, or it is one for each head by its name.

        Raises:
            TypeError: The batch has another form.
        """
        self._ll_check_batch(batch, "supervised_step must be overridden")
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
        self._ll_check_batch(batch, "batch_labels must be overridden to count labels")
        labels: Tensor = batch[1]
        return labels

    def _ll_check_batch(self, batch: Any, advice: str) -> None:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(
                f"{type(self).__name__}.{advice}: the batch is not (x, target) or (x, target, sample_weight) but a "
                f"{type(batch).__name__}"
            )

    def setup(self, stage: str) -> None:
        """Count the labels of the training loader if the loss depends on them."""
        super().setup(stage)
        if getattr(self, "_compiler_ctx", None) is not None:  # the network is compiled, the trainer's logging cannot be
            for name in _NOT_COMPILED:
                setattr(self, name, torch.compiler.disable(getattr(self, name)))
        if stage == "fit" and isinstance(self.objective.loss, UncountedLoss):
            self._ll_take_loss(with_counts(self.objective.loss.spec, self._ll_count_labels(self.objective.loss)))
        _keep_constants_local(self)

    def teardown(self, stage: str) -> None:
        """Be as before the run."""
        super().teardown(stage)
        for name in _NOT_COMPILED:
            self.__dict__.pop(name, None)

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
            ranks, device = TrainerRanks(self.trainer), self.trainer.strategy.root_device
            length = int(ranks.reduce(torch.tensor(len(counts), device=device), "max"))
            padded = add_padded(counts, torch.zeros(length, *counts.shape[1:]))
            counts = ranks.reduce(padded.to(device), "sum").cpu()
        return LabelCounts(loss.task, counts)

    def auxiliary_losses(self, batch: Any) -> Mapping[str, Auxiliary]:
        """Return further terms of the objective at a batch, called after its `supervised_step`; override it for such.

        They belong to the window of an optimizer step as the loss does, and are logged as `{stage}/auxiliary/<name>`.

        Args:
            batch: The batch.

        Returns:
            By name: a scalar that is a mean over the rows of the loss, or a scalar sum and the scalar weight that its
            mean divides by, which must be proportional to that of the loss.
        """
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the objective of a batch and log its terms."""
        terms = self._ll_step("train", batch)
        return self._ll_summed(terms) if self._ll_exact else terms.total

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the objective of a batch and log its terms."""
        return self._ll_step("val", batch, dataloader_idx).total

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the objective of a batch and log its terms."""
        return self._ll_step("test", batch, dataloader_idx).total

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Return decisions and probabilities for `(x, ...)` or `x`, with several heads those of each by its name."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        return self.objective.predict(self(x))

    def on_fit_start(self) -> None:
        """Say what keeps a window from being exact."""
        super().on_fit_start()
        ranks, batches = self.trainer.world_size, self.trainer.accumulate_grad_batches
        if self._ll_exact and self._ll_asked_exact and (ranks > 1 or batches > 1):
            for name, module in self.named_modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    warnings.warn(
                        f"exact=True, but {name} ({type(module).__name__}) normalizes by the micro-batch at hand: what "
                        "is learned depends on how the batch is cut all the same",
                        stacklevel=2,
                    )
                    return

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Start the epoch's means with its first batch: not every run that is resumed starts its first epoch."""
        if batch_idx == 0:
            self._ll_start("train")
        return super().on_train_batch_start(batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Start the epoch's means."""
        super().on_validation_epoch_start()
        self._ll_start("val")

    def on_test_epoch_start(self) -> None:
        """Start the epoch's means."""
        super().on_test_epoch_start()
        self._ll_start("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save how to decide and what the loss has learned or counted in a place of its own: others load the rest."""
        super().on_save_checkpoint(checkpoint)
        if getattr(self._trainer and self.trainer.strategy, "_save_distributed_checkpoint", False):
            return  # each rank writes its shards, and reads them again, by the names that the module has for them
        weights = checkpoint["state_dict"]
        own = {name: weights.pop(name) for name in list(weights) if name.startswith(_LOSS_PREFIX)}
        own = {name: value for name, value in own.items() if not name.startswith(self._ll_constants())}
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
            with only(()):
                self._ll_take_loss(counted)
        saved = checkpoint.get(STATE_KEY, {}).get("loss", {})
        fresh = {name: value for name, value in self.state_dict().items() if name.startswith(_LOSS_PREFIX)}
        constants = {name: value for name, value in fresh.items() if name.startswith(self._ll_constants())}
        shapes = {name: value.shape for name, value in fresh.items() if name not in constants}
        same = saved.get("kind") == self._ll_loss_kind()
        same = same and {name: value.shape for name, value in saved["weights"].items()} == shapes
        if "state_dict" in checkpoint:  # a sharded checkpoint keeps its weights elsewhere
            there = checkpoint["state_dict"]  # holds the loss too where a hook that saves has not called `super()`
            learned = saved["weights"] if same else {name: fresh[name] for name in fresh if name not in there}
            there |= {**learned, **constants}

    def _ll_progress(self) -> dict[str, Any]:
        """Return what else is needed: the epoch's means so far."""
        means = self._ll_means["train"].get(0, EpochMeans())
        return {**super()._ll_progress(), "means": means.state(), "skipped_before": self._ll_skipped_before}

    def _ll_go_on(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Take up the epoch's means so far, those of all processes in the first."""
        super()._ll_go_on(saved)
        if "means" not in saved[0]:  # a module without a loss has saved it
            return
        self._ll_skipped_before = saved[0]["skipped_before"]
        if TrainerRanks(self.trainer).index == 0:
            device = self.trainer.strategy.root_device
            means = EpochMeans().merge(EpochMeans.from_state(own["means"], device) for own in saved)
            self._ll_means["train"] = {0: means} if means.names else {}

    def _ll_constants(self) -> tuple[str, ...]:
        """Return prefixes of what the configuration gives: torch's criteria hold nothing else, but save it."""
        modules = self.objective.loss.named_modules(prefix=_LOSS_PREFIX.rstrip("."))
        return tuple(f"{name}." for name, module in modules if isinstance(module, nn.modules.loss._Loss))

    def _ll_loss_kind(self) -> str:
        return type(getattr(self.objective.loss, "function", self.objective.loss)).__name__

    def _ll_step(self, stage: str, batch: Any, dataloader_idx: int = 0) -> Terms:
        if not self.objective.is_bound:
            self.objective.bind(self)
        self.objective.forget_outputs()
        supervised = _by_field(self.supervised_step(batch))
        terms = self._ll_terms(*supervised, self.auxiliary_losses(batch))
        if stage == "train":
            self._ll_log_step(terms)
        self._ll_means[stage].setdefault(dataloader_idx, EpochMeans()).add(self._ll_counted(stage, terms))
        self._ll_observe(stage, supervised)
        return terms

    def _ll_log_step(self, terms: Terms) -> None:
        values = {"loss": terms.loss, "objective": terms.total}
        if self._ll_is_recorded():  # logging costs more than computing: each step that is recorded has all terms
            _target_checks.report()  # logging waits for the device anyway
            values |= {name: part.mean for name, part in terms.named.items()}
        self.log_dict({f"{self._ll_name('train', name)}_step": value.detach() for name, value in values.items()})

    def _ll_counted(self, stage: str, terms: Terms) -> dict[str, tuple[Tensor, Tensor]]:
        """Return what a batch adds to the epoch's means: nothing if its step is skipped."""
        parts: dict[str, tuple[Tensor, Tensor]] = dict(terms.named)
        parts[_IGNORED] = terms.weight == 0, torch.ones_like(terms.weight)
        if stage == "train" and self._ll_skips:
            finite = terms.total.isfinite()
            parts = {name: (mean, weight.where(finite, 0)) for name, (mean, weight) in parts.items()}
        return parts

    def _ll_name(self, stage: str, name: str) -> str:
        return self._ll_log_template.format(stage=stage, name=name)

    def _ll_observe(self, stage: str, supervised: Supervised) -> None:
        """For a subclass that computes metrics."""

    def _ll_summed(self, terms: Terms) -> Tensor:
        """Return a scalar with the value of the objective and the gradient of the loss summed over the batch."""
        ranks = TrainerRanks(self.trainer)
        summed = self._ll_window.add(terms.batch_mean, terms.denominators, lambda weight: ranks.reduce(weight, "max"))
        return summed + (terms.total - summed).detach()

    def _ll_start(self, stage: str) -> None:
        self._ll_means[stage] = {}
        self._ll_penalties = None
        if stage == "train":  # the validation of an epoch comes before its end
            self._ll_skipped_before = self._ll_skipped_steps

    def _ll_finish(self, stage: str) -> None:
        super()._ll_finish(stage)
        _target_checks.report()
        ranks = TrainerRanks(self.trainer)
        loaders = max(self._ll_means[stage], default=0) + 1
        if ranks.count > 1:
            loaders = int(ranks.reduce(torch.tensor(loaders, device=self.device), "max"))
        means = [self._ll_means[stage].get(i, EpochMeans()).gather(ranks, self.device) for i in range(loaders)]
        self._ll_means[stage] = {}  # also where a hook that starts an epoch is overridden without `super()`
        self._ll_log_epoch(self._ll_epoch_values(stage, EpochMeans().merge(means)))
        if loaders > 1:
            for i, of_loader in enumerate(means):
                values = self._ll_epoch_values(stage, of_loader)
                self._ll_log_epoch({f"{name}/dataloader_idx_{i}": value for name, value in values.items()})
        if stage == "train" and self._ll_skips:
            skipped = float(self._ll_skipped_steps - self._ll_skipped_before)
            self._ll_log_epoch({self._ll_name(stage, "skipped_steps"): torch.tensor(skipped, device=self.device)})

    def _ll_epoch_values(self, stage: str, means: EpochMeans) -> dict[str, Tensor]:
        """Return what is logged of an epoch: the terms, and their sums."""
        parts = means.compute()
        if not parts:
            return {}
        del parts[_IGNORED]
        heads = [value for name, value in parts.items() if name.split("/")[0] == "loss"]
        sums = {"loss": torch.stack(heads).sum(), "objective": torch.stack(list(parts.values())).sum()}
        shown = {name: value for name, value in parts.items() if stage == "train" or "regularizer/" not in name}
        ignored = means.total(_IGNORED)
        counted = {_IGNORED: ignored} if ignored > 0 else {}
        return {self._ll_name(stage, name): value for name, value in {**shown, **sums, **counted}.items()}

    def _ll_log_epoch(self, values: dict[str, Tensor]) -> None:
        # the values are those of all ranks already: averaging equal numbers only keeps the trainer from warning
        self.log_dict(values, sync_dist=True, add_dataloader_idx=False)


def _keep_constants_local(module: Any) -> None:
    """Let DDP leave the loss's constants alone, which the configuration gives to every rank.

    DDP sends its buffers around in each forward: where one rank has a validation batch less, the others would wait for
    it for ever.
    """
    ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
    for path, owner in module.objective.named_modules(prefix="objective"):
        ignored |= {f"{path}.{name}" for name in owner._non_persistent_buffers_set}
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, ignored)


def _can_be_exact(objective: Objective, exact: bool | None) -> bool:
    """Return whether windows are exact.

    Raises:
        ValueError: They are asked for and cannot be, or heads are known to have different denominators.
    """
    if exact is False:
        return False
    if exact and objective.inexact:
        raise ValueError(f"exact must be False or None: {objective.inexact}")
    if isinstance(objective.loss, HeadsLoss) and not objective.inexact and objective.loss.own_denominators:
        heads = ", ".join(map(repr, objective.loss.own_denominators))
        raise ValueError(
            f"exact must be False: the means of head {heads} divide by class weights, those of the other heads do not, "
            "so there is no exact mean over several micro-batches or ranks; or give them normalizer='samples'"
        )
    return objective.inexact is None


def _by_field(supervised: Supervised | Mapping[str, Supervised]) -> Supervised:
    """Return mappings of heads in each field, whichever way round they were given."""
    if not isinstance(supervised, Mapping):
        return Supervised(*supervised)
    heads = {head: Supervised(*of_head) for head, of_head in supervised.items()}
    return Supervised(*({head: of_head[i] for head, of_head in heads.items()} for i in range(3)))
