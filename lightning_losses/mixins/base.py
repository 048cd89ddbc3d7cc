"""What all mixins with an objective share: the gradient of a step, completed before the optimizer takes it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lightning_losses import _target_checks
from lightning_losses._mapping import plain
from lightning_losses._target_checks import may_look
from lightning_losses.after_step import follow_steps
from lightning_losses.constraints import Constraint
from lightning_losses.gradient_window import GradientWindow, Verdict, add_penalties_
from lightning_losses.mixins._epoch_ends import complete_hooks
from lightning_losses.mixins._loading import Loadable
from lightning_losses.non_finite import NonFinite
from lightning_losses.objective import Auxiliary, Objective, Terms
from lightning_losses.random_states import random_states, set_random_states
from lightning_losses.ranks import TrainerRanks, gather_objects

STATE_KEY = "lightning_losses"  # under which a checkpoint keeps what is not among its weights
FORMAT = 1  # of what lies there; raised when an earlier version could not read it


def check_format(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of a later version, which keeps what this one would not find.

    Args:
        checkpoint: Its content.

    Raises:
        ValueError: It is of a later version, or what lies there is not ours.
    """
    own = checkpoint.get(STATE_KEY, {})
    there = own.get("format", FORMAT) if isinstance(own, Mapping) else None
    if not isinstance(there, int):
        raise ValueError(f"the checkpoint's part {STATE_KEY!r} is not of lightning_losses: it has no format")
    if there > FORMAT:
        raise ValueError(
            f"the checkpoint has format {there} of a later version of lightning_losses, this one reads up to {FORMAT}: "
            "update the package"
        )


def remember(module: Any, **specs: Any) -> None:
    """Keep the configuration as plain hyper-parameters; an object that has no plain form is left out."""
    module.save_hyperparameters({name: plain(spec) for name, spec in specs.items() if _has_plain_form(spec)})


def _has_plain_form(spec: Any) -> bool:
    if isinstance(spec, Mapping):
        return all(value is None or _has_plain_form(value) for value in spec.values())
    return spec is not None and (hasattr(spec, "spec") or not callable(spec))


class HasObjective(Loadable):
    """The one public attribute, `objective`, and the hooks around an optimizer step."""

    objective: Objective
    _ll_penalties: dict[str, Tensor] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_hooks(cls, HasObjective)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if any("objective" in vars(base) for base in type(self).__mro__):
            raise TypeError(f"{type(self).__name__}.objective hides the mixin's own `objective`: rename it")
        super().__init__(*args, **kwargs)
        self.objective = Objective()
        self._ll_hooks: list[RemovableHandle] = []
        self._ll_constraints: dict[str, Constraint] = {}
        self._ll_reset()
        self._ll_observers: list[Callable[[Tensor, Tensor], None]] = []
        self._ll_skips = False
        self._ll_is_finished = False
        self._ll_saved_progress: Sequence[Mapping[str, Any]] = []
        self._ll_watch: Callable[[Any, Objective], None] | None = None

    def compute_objective(self, input: Any, target: Any, sample_weight: Any = None) -> Terms:
        """Return the terms at one batch, for a training step of one's own.

        Args:
            input: What the network returns; with several heads a mapping.
            target: What it should return; with several heads a mapping.
            sample_weight: Weight of each row, `(N,)`.

        Returns:
            The terms; differentiate `.total`. Penalties are values only: their gradient is added once, at the
            optimizer step.
        """
        return self._ll_terms(input, target, sample_weight, {})

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
            FloatingPointError: The objective of a batch was not finite.
            ValueError: LBFGS accumulates gradients, a GradScaler would unscale them after this, or the means of several
                heads have no denominator in common.
        """
        self._ll_check_optimizer(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        divided_by = self.trainer.accumulate_grad_batches * self.trainer.world_size
        ranks = TrainerRanks(self.trainer)
        verdict = self._ll_window.finish(parameters, divided_by, lambda sums: ranks.reduce(sums, "sum"))
        if verdict is None or self._ll_accepts(verdict):
            if self._ll_watch is not None:
                self._ll_watch(self, self.objective)
            add_penalties_(self, self.objective.parameter_regularizers, optimizer)
        else:
            for parameter in parameters:
                parameter.grad = None  # an optimizer leaves alone what has no gradient
        self._ll_penalties = None
        self._ll_finished.add(_identity(optimizer))

    def on_train_start(self) -> None:
        """Remember where this run begins."""
        super().on_train_start()
        self._ll_resume()  # strategies that shard parameters read the checkpoint after `on_fit_start`
        self._ll_first_step = self.trainer.global_step
        if self.trainer.fit_loop.restarted_on_epoch_end:
            _begin_next_epoch(self.trainer.fit_loop)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Complete the gradients, before the trainer clips them."""
        super().on_before_optimizer_step(optimizer)
        if _identity(optimizer) not in self._ll_hooked:
            self._ll_hooked.add(_identity(optimizer))
            terms = self.objective.regularizers.values(), self._ll_constraints.values()
            self._ll_hooks += follow_steps([optimizer], self, *terms)
        if _identity(optimizer) not in self._ll_finished:
            self.finish_gradients(optimizer)
        self._ll_finished.discard(_identity(optimizer))
        self._ll_step_seen = True

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Look whether an optimizer steps in this batch, and forget what forwards outside training have shown."""
        self.objective.forget_outputs()
        self._ll_step_before, self._ll_step_seen = self.trainer.global_step, False
        self._ll_batch_idx = batch_idx
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

    def on_train_epoch_end(self) -> None:
        """Finish the epoch."""
        super().on_train_epoch_end()
        self._ll_finish("train")

    def on_validation_epoch_end(self) -> None:
        """Finish the epoch."""
        super().on_validation_epoch_end()
        self._ll_finish("val")

    def on_test_epoch_end(self) -> None:
        """Finish the epoch."""
        super().on_test_epoch_end()
        self._ll_finish("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the hyper-parameters plain data, which loads with `weights_only=True`; save no ruined weights."""
        self._ll_read_verdicts()
        super().on_save_checkpoint(checkpoint)
        own = checkpoint.setdefault(STATE_KEY, {})
        own["format"] = FORMAT
        if self._trainer is not None:
            own["progress"] = self._ll_of_all_ranks(self._ll_progress())
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in checkpoint:
                checkpoint[key] = plain(checkpoint[key])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a later version's, and keep what a resumed run goes on with until it begins."""
        super().on_load_checkpoint(checkpoint)
        check_format(checkpoint)
        self._ll_saved_progress = checkpoint.get(STATE_KEY, {}).get("progress", [])

    def on_fit_start(self) -> None:
        """Let a resumed run go on with what the one before kept of its progress."""
        super().on_fit_start()
        self._ll_resume()

    def _ll_progress(self) -> dict[str, Any]:
        """Return what this process must know to go on from within an epoch as if it had not stopped."""
        return {"random": random_states(), "scale": self._ll_window.scale, "skipped": self._ll_skipped_steps}

    def _ll_resume(self) -> None:
        saved, self._ll_saved_progress = self._ll_saved_progress, []
        if self.trainer.ckpt_path is not None and saved:
            self._ll_go_on(saved)

    def _ll_go_on(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Take up the progress that all processes have saved, the rank's own where there are as many as then."""
        ranks = TrainerRanks(self.trainer)
        if ranks.count == len(saved):
            own = saved[ranks.index]
            set_random_states(own["random"])
            self._ll_window.scale = own["scale"]
        else:
            warnings.warn(
                f"the checkpoint is of {len(saved)} processes, now there are {ranks.count}: random numbers, such as "
                "those of dropout, go on otherwise",
                stacklevel=2,
            )
        self._ll_skipped_steps = saved[0]["skipped"]

    def _ll_of_all_ranks(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what each process passes; after an error, which others may not have met, its own alone."""
        return [own] if self.trainer.interrupted else gather_objects(own)

    def _ll_reset(self) -> None:
        """Forget a run, which may have ended in the middle of a window."""
        self._ll_window = GradientWindow()
        self._ll_penalties = None
        self._ll_non_finite = NonFinite()
        self._ll_verdicts: Verdict | None = None  # of steps that were taken unread
        self._ll_skipped_steps = 0
        self._ll_batch_idx = 0
        self._ll_first_step = 0
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

    def _ll_accepts(self, verdict: Verdict) -> bool:
        """Return whether a step can be taken; where reading that would stall a device, it is read at a later step."""
        first = self._ll_verdicts is None and self.trainer.global_step == self._ll_first_step
        if may_look(verdict.not_finite) or self._ll_skips or first or self._ll_is_recorded():
            self._ll_read_verdicts()
            return self._ll_read(verdict)
        before, self._ll_verdicts = self._ll_verdicts, verdict
        if before is not None:
            unequal = [flag for flag in (before.unequal, verdict.unequal) if flag is not None]
            both = torch.stack(unequal).any() if unequal else None
            self._ll_verdicts = Verdict(before.not_finite + verdict.not_finite, both)
        return True

    def _ll_finish(self, stage: str) -> None:
        """Read what the steps have left, and log what the epoch has shown."""
        self._ll_is_finished = True
        self._ll_read_verdicts()

    def _ll_read_verdicts(self) -> None:
        """Raise for a step that should not have been taken."""
        if self._ll_verdicts is not None:
            self._ll_read(self._ll_verdicts)
            self._ll_verdicts = None

    def _ll_read(self, verdict: Verdict) -> bool:
        if verdict.unequal is not None and verdict.unequal.item():
            raise ValueError(
                "the terms of the loss are divided by weights that are not proportional from batch to batch (labels "
                "ignored, or weights, in some only): their mean over several micro-batches or ranks cannot be exact; "
                "exact=False takes the mean of each batch"
            )
        if not verdict.not_finite.item():
            return True
        _target_checks.report()  # a bad target makes the loss NaN, and says more
        text = self._ll_non_finite.describe(self.current_epoch)
        if not self._ll_skips:
            raise FloatingPointError(f"{text}. Lower the learning rate or look at the batch; non_finite='skip' goes on")
        if not self._ll_skipped_steps:
            warnings.warn(f"a step is skipped, and so will others be: {text}", stacklevel=2)
        self._ll_skipped_steps += 1
        self._ll_non_finite = NonFinite()
        return False

    def _ll_is_recorded(self) -> bool:
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        return every > 0 and (self.trainer.global_step + 1) % every == 0

    def _ll_terms(self, input: Any, target: Any, sample_weight: Any, auxiliary: Mapping[str, Auxiliary]) -> Terms:
        for observe in self._ll_observers:
            observe(input.detach(), target)
        terms = self.objective.terms(input, target, sample_weight, self._ll_penalty_values(), auxiliary)
        if self._trainer is not None and self.trainer.training:
            self._ll_window.watch(terms.total)
            self._ll_non_finite.see(terms, self._ll_batch_idx, input)
        return terms

    def _ll_penalty_values(self) -> dict[str, Tensor]:
        if self._ll_penalties is None or self._trainer is None:
            if not self.objective.is_bound:
                self.objective.bind(self)
            with torch.no_grad():
                self._ll_penalties = self.objective.penalties()
        return self._ll_penalties


def _begin_next_epoch(loop: Any) -> None:
    """Let the trainer begin an epoch: with `max_steps` it would end a second time the one that the checkpoint ended."""
    loop.epoch_progress.increment_completed()
    inner = loop.epoch_loop
    for part in (loop, inner, inner.val_loop, inner.automatic_optimization, inner.manual_optimization):
        part._restarting = False
        part.reset_restart_stage()


def _identity(optimizer: torch.optim.Optimizer) -> int:
    """The same for an optimizer and for the trainer's wrapper around it."""
    return id(getattr(optimizer, "optimizer", optimizer))
