"""A threshold, costs and a temperature, chosen on each validation epoch and kept in its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_losses.decide import Decider, DecisionRule
from lightning_losses.mixins import HasObjective
from lightning_losses.ranks import gather_objects


class Decide(Callback):
    """Chooses on the validation rows how a module with `LossMixin` decides, and leaves it in `objective.decider`.

    A validation epoch of a fit ends with a new choice, which the checkpoints that are written after it hold; metrics
    during the fit see the loss's own decisions, so that epochs are compared by what they have learned. Whatever is
    loaded from such a checkpoint tests and predicts by the choice. It reads the outputs of the validation steps, so it
    costs no forward pass, and the memory of these outputs.

    Args:
        rule: See `DecisionRule`.
        cost: See `DecisionRule`.
        precision: See `DecisionRule`.
        temperature: See `DecisionRule`.

    Attributes:
        decider: The last choice.

    Raises:
        ValueError: The rule is unknown, or what it needs is missing or out of range.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[Decide("f1", temperature=True)], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        rule: str | None = None,
        cost: Sequence[Sequence[float]] | None = None,
        precision: float | None = None,
        temperature: bool = False,
    ) -> None:
        self.rule = DecisionRule(rule, cost, precision, temperature)
        self.decider: Decider | None = None
        self._seen: list[tuple[Tensor, Tensor]] | None = None  # None while nothing is to be seen

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See the outputs that the loss sees."""
        module = _module(pl_module)
        self.rule.check(module.objective.loss.task)
        module._ll_observers.append(self._see)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See them no longer."""
        _module(pl_module)._ll_observers.remove(self._see)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave decisions to the loss while it learns."""
        _module(pl_module).objective.decider = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave decisions to the loss while epochs are compared."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            _module(pl_module).objective.decider = None
            self._seen = []

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose."""
        if self._seen:
            objective = _module(pl_module).objective
            outputs, targets = (torch.cat(parts) for parts in zip(*_of_all_ranks(self._seen), strict=True))
            self.decider = objective.decider = self.rule.fit(deepcopy(objective.loss).cpu(), outputs, targets)
        self._seen = None

    def _see(self, input: Tensor, target: Tensor) -> None:
        if self._seen is not None:
            self._seen.append((input, target))


def _module(module: LightningModule) -> HasObjective:
    if not isinstance(module, HasObjective):
        raise TypeError(f"decisions need a module with LossMixin, {type(module).__name__} is none")
    return module


def _of_all_ranks(seen: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return what all processes have seen, on the CPU and in one order: each then chooses alike."""
    own = [(outputs.cpu(), target.cpu()) for outputs, target in seen]
    return [pair for part in gather_objects(own) for pair in part]
