"""Penalties and constraints for modules that cannot be edited, and a watch over the objective."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_losses._validation import positive
from lightning_losses.after_step import follow_steps
from lightning_losses.constraints import build_constraints
from lightning_losses.gradient_window import add_penalties_
from lightning_losses.mixins import HasObjective
from lightning_losses.objective import Objective
from lightning_losses.param_groups import warn_of_double_decay
from lightning_losses.regularizers import L2SP, ParameterRegularizer, build_regularizers


class Regularizers(Callback):
    """Adds penalties on parameters to any LightningModule, once for each optimizer step.

    A module with `RegularizerMixin` takes them over, under the names they have here; any other gets their gradient
    before clipping, and their values as `train/regularizer/<name>`.

    Args:
        regularizer: See `RegularizerMixin`.

    Raises:
        ValueError: A name is unknown, an argument is not allowed, or a penalty looks at outputs, which only the mixin
            can put into the loss.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[Regularizers({"l2": 1e-4})], logger=False, enable_checkpointing=False)
    """

    def __init__(self, regularizer: Mapping[str, Any]) -> None:
        self.regularizers: dict[str, ParameterRegularizer] = {}
        for name, term in build_regularizers(regularizer).items():
            if not isinstance(term, ParameterRegularizer):
                raise ValueError(f"regularizer {name!r} looks at outputs: give it to ObjectiveMixin instead")
            self.regularizers[name] = term
        self._handed_over = False
        self._hooks: list[RemovableHandle] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the penalties over if the module has a place for them."""
        self._handed_over = isinstance(pl_module, HasObjective)
        if isinstance(pl_module, HasObjective):
            pl_module.objective.regularizers.update(self.regularizers)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let thresholds follow each optimizer step."""
        if not self._handed_over:
            penalized = {name: term.parameters(pl_module).values() for name, term in self.regularizers.items()}
            warn_of_double_decay([group for o in trainer.optimizers for group in o.param_groups], penalized)
            self._hooks = follow_steps(trainer.optimizers, pl_module, self.regularizers.values(), ())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Follow the optimizers no longer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Add the gradients, before the trainer clips them."""
        if not self._handed_over:
            values = add_penalties_(pl_module, self.regularizers, optimizer)
            pl_module.log_dict({f"train/regularizer/{name}": value for name, value in values.items()}, on_epoch=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what the penalties remember, such as the weights that training started from."""
        return {name: term.state_dict() for name, term in self.regularizers.items() if isinstance(term, L2SP)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what an earlier run remembered."""
        for name, state in state_dict.items():
            term = self.regularizers.get(name)
            if isinstance(term, L2SP):
                term.load_state_dict(state)


class Constraints(Callback):
    """Projects parameters of any LightningModule after each optimizer step.

    Args:
        constraint: See `RegularizerMixin`.

    Raises:
        ValueError: A name is unknown, or an argument is not allowed.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[Constraints({"max_norm": 2.0})], logger=False, enable_checkpointing=False)
    """

    def __init__(self, constraint: Mapping[str, Any]) -> None:
        self.constraints = build_constraints(constraint)
        self._hooks: list[RemovableHandle] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let projections follow each optimizer step."""
        self._hooks = follow_steps(trainer.optimizers, pl_module, (), self.constraints.values())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Follow the optimizers no longer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


class ObjectiveMonitor(Callback):
    """Watches how much of the gradient comes from the loss and from each penalty, and whether outputs still differ.

    Logs `train/gradient/loss` and `train/gradient/<regularizer>`, norms over all trainable parameters. Warns once if a
    penalty's gradient outweighs that of the loss over a whole epoch, or if all outputs of a validation epoch are equal:
    then the penalty has probably collapsed the network.

    Args:
        every_n_steps: Optimizer steps from one look to the next.
        dominates: Ratio of a penalty's mean gradient norm to that of the loss from which it warns.

    Raises:
        ValueError: An argument is not positive.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ObjectiveMonitor()], logger=False, enable_checkpointing=False)
    """

    def __init__(self, every_n_steps: int = 50, dominates: float = 3.0) -> None:
        if type(every_n_steps) is not int or every_n_steps < 1:
            raise ValueError(f"every_n_steps must be an integer >= 1, got {every_n_steps!r}")
        self.every_n_steps = every_n_steps
        self.dominates = positive("dominates", dominates)
        self._norms: dict[str, list[Tensor]] = {}
        self._lowest: Tensor | None = None
        self._highest: Tensor | None = None
        self._warned: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask to be shown the gradient of the loss alone, and the outputs."""
        if not isinstance(pl_module, HasObjective):
            raise TypeError(f"ObjectiveMonitor watches modules with one of the mixins, got {type(pl_module).__name__}")
        pl_module._ll_watch = self._see_gradients
        self._handle = pl_module.register_forward_hook(self._see_outputs)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop watching."""
        pl_module._ll_watch = None  # type: ignore[assignment]
        self._handle.remove()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if a penalty dominated the epoch."""
        means = {name: float(torch.stack(norms).mean()) for name, norms in self._norms.items()}
        loss = means.pop("loss", 0.0)
        self._norms = {}
        for name, norm in means.items():
            if norm > self.dominates * loss:
                self._warn_once(
                    name,
                    f"over epoch {trainer.current_epoch} the gradient of regularizer {name!r} ({norm:.3g}) outweighed "
                    f"that of the loss ({loss:.3g}): lower its factor if the loss does not fall",
                )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the outputs of this epoch alone."""
        self._lowest = self._highest = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if all rows got the same output."""
        if self._lowest is None or self._highest is None or trainer.sanity_checking:
            return
        spread = (self._highest - self._lowest).max()
        if spread <= 1e-5 * (1 + self._highest.abs().max()):
            self._warn_once(
                "outputs",
                f"in epoch {trainer.current_epoch} all rows got the same output: the network has collapsed; lower the "
                "penalties or the learning rate, or try another seed",
            )

    def _see_gradients(self, module: HasObjective, objective: Objective) -> None:
        if module.trainer.global_step % self.every_n_steps:
            return
        parameters = [p for p in module.parameters() if p.requires_grad]
        norms = {"loss": _norm([p.grad for p in parameters])}
        for name, term in objective.parameter_regularizers.items():
            with torch.enable_grad():
                value = term(module)
            differentiable = value.requires_grad  # proximal penalties are not, nor those that select nothing
            norms[name] = _norm(torch.autograd.grad(value, parameters, allow_unused=True) if differentiable else [])
        for name, norm in norms.items():
            self._norms.setdefault(name, []).append(norm)
        module.log_dict({f"train/gradient/{name}": norm for name, norm in norms.items()})

    def _see_outputs(self, module: LightningModule, _: Any, output: Any) -> None:
        if not module.trainer.validating and not module.trainer.evaluating:
            return
        if isinstance(output, Tensor):
            rows = output.detach().float().reshape(len(output), -1)
            lowest, highest = rows.amin(dim=0), rows.amax(dim=0)
            self._lowest = lowest if self._lowest is None else torch.minimum(self._lowest, lowest)
            self._highest = highest if self._highest is None else torch.maximum(self._highest, highest)

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(message, stacklevel=2)


def _norm(gradients: Any) -> Tensor:
    present = [gradient for gradient in gradients if gradient is not None]
    return torch.stack(torch._foreach_norm(present)).norm() if present else torch.zeros(())
