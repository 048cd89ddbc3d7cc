"""Penalties and constraints of a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_losses.constraints import build_constraints
from lightning_losses.mixins.base import STATE_KEY, HasObjective, remember
from lightning_losses.param_groups import warn_of_double_decay
from lightning_losses.regularizers import ProximalL1, build_regularizers


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
        remember(self, regularizer=regularizer, constraint=constraint)

    def on_fit_start(self) -> None:
        """Warn of parameters that are penalized and decayed."""
        super().on_fit_start()
        optimizers = self.trainer.optimizers
        penalized = {
            name: term.parameters(self).values() for name, term in self.objective.parameter_regularizers.items()
        }
        warn_of_double_decay([group for optimizer in optimizers for group in optimizer.param_groups], penalized)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what regularizers remember, such as the weights that training started from."""
        super().on_save_checkpoint(checkpoint)
        states = {name: {"kind": term.name, "state": term.state_dict()} for name, term in self._ll_stateful().items()}
        if states:
            checkpoint.setdefault(STATE_KEY, {})["regularizers"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what regularizers remember; a term of another name or kind starts anew."""
        super().on_load_checkpoint(checkpoint)
        states = checkpoint.get(STATE_KEY, {}).get("regularizers", {})
        for name, term in self._ll_stateful().items():
            if name in states and states[name]["kind"] == term.name:
                term.load_state_dict(states[name]["state"])

    def _ll_finish(self, stage: str) -> None:
        super()._ll_finish(stage)
        if stage == "train":
            proximal = {n: term for n, term in self.objective.regularizers.items() if isinstance(term, ProximalL1)}
            exact_zeros = {f"train/sparsity/{name}": term.sparsity(self) for name, term in proximal.items()}
            self.log_dict(exact_zeros, sync_dist=True)

    def _ll_stateful(self) -> dict[str, Any]:
        return {name: term for name, term in self.objective.regularizers.items() if hasattr(term, "state_dict")}
