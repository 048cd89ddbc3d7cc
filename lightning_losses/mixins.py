"""Mixins for LightningModules: they forward the trainer's hooks to the objective and log its terms.

    class Net(ObjectiveMixin, LightningModule): ...

The mixin stands before LightningModule, whose hooks it overrides; both the `lightning` and the `pytorch_lightning`
package work, since neither is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_losses._mapping import plain
from lightning_losses.constraints import Constraint, build_constraints
from lightning_losses.epoch_means import EpochMeans
from lightning_losses.gradient_window import GradientWindow, add_penalties_
from lightning_losses.losses import Prediction
from lightning_losses.losses.registry import LossSpec, loss_spec
from lightning_losses.objective import Objective, Terms, mean_loss
from lightning_losses.optimizers import (
    OptimizerSpec,
    SchedulerSpec,
    build_optimizer,
    build_scheduler,
    check_resumable,
    learning_rate_of,
)
from lightning_losses.param_groups import warn_of_double_decay
from lightning_losses.regularizers import ProximalL1, Regularizer, build_regularizers

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule as _Base
else:
    _Base = object


STAGES = ("train", "val", "test")
_STATE_KEY = "lightning_losses"
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


def _check_order(cls: type) -> None:
    """Refuse a class in which a hook of the mixin would silently not be called."""
    names = [base.__name__ for base in cls.__mro__]
    mixins = [base for base in cls.__mro__ if base.__module__ == __name__ and base.__name__.endswith("Mixin")]
    if "LightningModule" not in names or not mixins:
        return
    position = names.index("LightningModule")
    for mixin in mixins:
        if names.index(mixin.__name__) > position:
            raise TypeError(
                f"{mixin.__name__} must stand before LightningModule, as in "
                f"class {cls.__name__}({mixin.__name__}, LightningModule); behind it its steps would never run. "
                f"If a base already derives from LightningModule: class {cls.__name__}({mixin.__name__}, ThatBase)"
            )
    if LossMixin not in cls.__mro__:
        return
    last = cls.__mro__.index(LossMixin)
    for base in cls.__mro__[last + 1 : position]:
        if "training_step" in vars(base):
            raise TypeError(
                f"{base.__name__}.training_step would never run: {cls.__name__} takes the mixin's. Either derive "
                f"{base.__name__} itself from the mixin and call self.compute_objective(...) in its training_step, or "
                "leave its training_step out"
            )


def _remember(module: Any, **specs: Any) -> None:
    """Keep the configuration as plain hyper-parameters; an object that has no plain form is left out."""
    module.save_hyperparameters({name: plain(spec) for name, spec in specs.items() if _has_plain_form(spec)})


def _has_plain_form(spec: Any) -> bool:
    if isinstance(spec, Mapping):
        return all(value is None or _has_plain_form(value) for value in spec.values())
    return spec is not None and (hasattr(spec, "spec") or not callable(spec))


class HasObjective(_Base):
    """The one public attribute, `objective`, and the checks of how a class is put together."""

    objective: Objective
    _ll_penalties: dict[str, Tensor] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_order(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if any("objective" in vars(base) for base in type(self).__mro__):
            raise TypeError(f"{type(self).__name__}.objective hides the mixin's own `objective`: rename it")
        super().__init__(*args, **kwargs)
        self.objective = Objective()
        self._ll_hooks: list[RemovableHandle] = []
        self._ll_constraints: dict[str, Constraint] = {}
        self._ll_reset()
        self._ll_watch: Callable[[Any, Objective], None] | None = None

    def compute_objective(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Terms:
        """Return the terms at one batch, for a training step of one's own.

        Args:
            input: What the network returns.
            target: What it should return.
            sample_weight: Weight of each row, `(N,)`.

        Returns:
            The terms; differentiate `.total`. Penalties are values only: their gradient is added once, at the
            optimizer step.
        """
        return self.objective.terms(input, target, sample_weight, self._ll_penalty_values())

    def setup(self, stage: str) -> None:
        """Start anew, and let the penalties look at the module, which is complete now."""
        super().setup(stage)
        self._ll_reset()
        if stage != "predict":
            self.objective.bind(self)

    def teardown(self, stage: str) -> None:
        """Watch no layers any more."""
        super().teardown(stage)
        self._ll_reset()
        self.objective.unbind()

    def finish_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Complete the gradients of a step: the mean over the window, and the penalties.

        Called by the hook before an optimizer step; with manual optimization call it before clipping.

        Args:
            optimizer: The optimizer that is about to step.

        Raises:
            ValueError: LBFGS accumulates gradients, or a GradScaler would unscale them after this.
        """
        self._ll_check_optimizer(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        divided_by = self.trainer.accumulate_grad_batches * self.trainer.world_size
        self._ll_window.finish(parameters, divided_by, lambda weight: self._ll_reduce(weight, "sum"))
        if self._ll_watch is not None:
            self._ll_watch(self, self.objective)
        add_penalties_(self, self.objective.parameter_regularizers, optimizer)
        self._ll_penalties = None
        self._ll_finished.add(_identity(optimizer))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Complete the gradients, before the trainer clips them."""
        super().on_before_optimizer_step(optimizer)
        if _identity(optimizer) not in self._ll_hooked:
            self._ll_hooked.add(_identity(optimizer))
            self._ll_hooks.append(optimizer.register_step_post_hook(self._ll_after_step))
        if _identity(optimizer) not in self._ll_finished:
            self.finish_gradients(optimizer)
        self._ll_finished.discard(_identity(optimizer))
        self._ll_step_seen = True

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Look whether an optimizer steps in this batch, and forget what forwards outside training have shown."""
        self.objective.forget_outputs()
        self._ll_step_before, self._ll_step_seen = self.trainer.global_step, False
        return super().on_train_batch_start(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Check that no optimizer has stepped on gradients that are not complete."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        needed = self._ll_window.is_open or self.objective.parameter_regularizers or self._ll_constraints
        if needed and not self._ll_step_seen and self.trainer.global_step != self._ll_step_before:
            raise RuntimeError(
                f"{type(self).__name__}.on_before_optimizer_step must call super().on_before_optimizer_step(optimizer)"
                ": the optimizer has stepped without the mean and the penalties that the mixin adds there"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the hyper-parameters plain data, which loads with `weights_only=True`."""
        super().on_save_checkpoint(checkpoint)
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in checkpoint:
                checkpoint[key] = plain(checkpoint[key])

    def _ll_reset(self) -> None:
        """Forget a run, which may have ended in the middle of a window."""
        self._ll_window = GradientWindow()
        self._ll_penalties = None
        self._ll_finished: set[int] = set()
        self._ll_hooked: set[int] = set()
        self._ll_step_before, self._ll_step_seen = 0, False
        for hook in self._ll_hooks:
            hook.remove()
        self._ll_hooks = []

    def _ll_check_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse where gradients cannot be completed before the step."""
        if self.trainer.accumulate_grad_batches > 1 and isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError("LBFGS evaluates a step several times and cannot accumulate: accumulate_grad_batches=1")
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ValueError(
                "a fused optimizer unscales float16 gradients by itself, too late for penalties: fused=False"
            )
        if scaler is not None and not self.automatic_optimization:
            raise ValueError("with 16-mixed and manual optimization the gradients are still scaled: use bf16-mixed")

    def _ll_after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        regularizers = self.objective.regularizers.values()
        apply_after_step(self, optimizer, regularizers, self._ll_constraints.values())

    def _ll_reduce(self, value: Tensor, operation: str) -> Tensor:
        # some strategies reduce in place
        reduced: Tensor = self.trainer.strategy.reduce(value.clone(), reduce_op=operation)
        return reduced

    def _ll_penalty_values(self) -> dict[str, Tensor]:
        if self._ll_penalties is None or self._trainer is None:
            if not self.objective.is_bound:
                self.objective.bind(self)
            with torch.no_grad():
                self._ll_penalties = self.objective.penalties()
        return self._ll_penalties


def _identity(optimizer: torch.optim.Optimizer) -> int:
    """The same for an optimizer and for the trainer's wrapper around it."""
    return id(getattr(optimizer, "optimizer", optimizer))


class LossMixin(HasObjective):
    """Puts a loss into the training, validation, test and predict steps.

    Args:
        loss: A name, a mapping, Hydra's config, a loss or a callable; see `get_loss`.
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
        self.objective.loss = mean_loss(loss)
        self._ll_log_template = log_template
        self._ll_means = {stage: EpochMeans() for stage in STAGES}
        if exact and not self.objective.is_exact:
            raise ValueError(f"exact must be False or None: {loss!r} has no numerator and denominator")
        own_step = type(self).training_step is not LossMixin.training_step
        self._ll_exact = exact is not False and self.objective.is_exact and not own_step
        _remember(self, loss=loss_spec(loss), exact=exact, log_template=log_template)

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
        return self.objective.loss.predict(self(x))

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
        """Save what the loss has learned or counted under a key of its own, so that another loss can load the rest."""
        super().on_save_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        own = {name: weights.pop(name) for name in list(weights) if name.startswith(_LOSS_PREFIX)}
        if isinstance(getattr(self.objective.loss, "function", None), nn.modules.loss._Loss):
            own = {}  # torch's criteria hold constants only, which the configuration gives
        if own:
            checkpoint.setdefault(_STATE_KEY, {})["loss"] = {"kind": self._ll_loss_kind(), "weights": own}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what the loss has learned or counted; another loss starts anew."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get(_STATE_KEY, {}).get("loss", {})
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


class RegularizerMixin(HasObjective):
    """Adds penalties on the parameters, once for each optimizer step, and projects parameters after it.

    Args:
        regularizer: `{"l2": 1e-4}` or named terms `{"encoder": {"name": "l2", "factor": 1e-4, "where": "encoder.*"}}`.
        constraint: `{"max_norm": 2.0}` or named terms.
        *args: For the next base.
        **kwargs: For the next base.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> class Net(RegularizerMixin, LightningModule):
        ...     def __init__(self):
        ...         super().__init__(regularizer={"l1": 1e-4})
        >>> sorted(Net().objective.regularizers)
        ['l1']
    """

    def __init__(
        self,
        *args: Any,
        regularizer: Mapping[str, Any] | None = None,
        constraint: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective.regularizers = build_regularizers(regularizer or {})
        self._ll_constraints = build_constraints(constraint or {})
        _remember(self, regularizer=regularizer, constraint=constraint)

    def on_fit_start(self) -> None:
        """Look at the optimizers: thresholds and projections follow each of their steps, however it is called."""
        super().on_fit_start()
        optimizers = self.trainer.optimizers
        penalized = {
            name: term.parameters(self).values() for name, term in self.objective.parameter_regularizers.items()
        }
        warn_of_double_decay([group for optimizer in optimizers for group in optimizer.param_groups], penalized)

    def on_train_epoch_end(self) -> None:
        """Log the share of exact zeros that each proximal penalty has reached."""
        super().on_train_epoch_end()
        proximal = {n: term for n, term in self.objective.regularizers.items() if isinstance(term, ProximalL1)}
        self.log_dict(
            {f"train/sparsity/{name}": term.sparsity(self) for name, term in proximal.items()}, sync_dist=True
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what regularizers remember, such as the weights that training started from."""
        super().on_save_checkpoint(checkpoint)
        states = {name: {"kind": term.name, "state": term.state_dict()} for name, term in self._ll_stateful().items()}
        if states:
            checkpoint.setdefault(_STATE_KEY, {})["regularizers"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what regularizers remember; a term of another name or kind starts anew."""
        super().on_load_checkpoint(checkpoint)
        states = checkpoint.get(_STATE_KEY, {}).get("regularizers", {})
        for name, term in self._ll_stateful().items():
            if name in states and states[name]["kind"] == term.name:
                term.load_state_dict(states[name]["state"])

    def _ll_stateful(self) -> dict[str, Any]:
        return {name: term for name, term in self.objective.regularizers.items() if hasattr(term, "state_dict")}


def apply_after_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    regularizers: Iterable[Regularizer],
    constraints: Iterable[Constraint],
) -> None:
    """Apply what follows an optimizer step: the soft thresholds of proximal penalties, then projections."""
    for term in regularizers:
        if isinstance(term, ProximalL1):
            term.prox_(module, learning_rate_of(optimizer))
    for constraint in constraints:
        constraint(module)


class OptimizerMixin(_Base):
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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_order(cls)

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
        _remember(self, optimizer=optimizer, scheduler=scheduler)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the saved optimizer states until there are optimizers to compare them with."""
        super().on_load_checkpoint(checkpoint)
        states = checkpoint.get("optimizer_states", [])
        self._ll_saved_groups = [{"param_groups": state["param_groups"]} for state in states]

    def on_fit_start(self) -> None:
        """Say what differs if a checkpoint's parameter groups do not fit, before the trainer restores them."""
        super().on_fit_start()
        if self.trainer.ckpt_path is not None:
            for optimizer, state in zip(self.trainer.optimizers, self._ll_saved_groups, strict=False):
                check_resumable(optimizer, state)
        self._ll_saved_groups = []

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


class ObjectiveMixin(LossMixin, RegularizerMixin, OptimizerMixin):
    """Loss, regularization and optimizer: the three mixins together.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> from torch import nn
        >>> class Net(ObjectiveMixin, LightningModule):
        ...     def __init__(self):
        ...         super().__init__(loss="focal", regularizer={"l2": 1e-4}, optimizer="adamw")
        ...         self.net = nn.Linear(2, 3)
        ...     def forward(self, x):
        ...         return self.net(x)
        >>> Net().objective.loss.phi
        Focal(gamma=2.0)
    """
