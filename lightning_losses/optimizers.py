"""Optimizers and learning-rate schedulers from a name or a plain mapping."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_losses._mapping import name_and_arguments
from lightning_losses._validation import check_types, choice, finite_non_negative, unknown_arguments
from lightning_losses.param_groups import check_cover, param_groups

OptimizerSpec: TypeAlias = str | Mapping[str, Any] | Callable[[list[dict[str, Any]]], Optimizer]
SchedulerSpec: TypeAlias = str | Mapping[str, Any] | None

_OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
}
_GROUPING = ("exempt", "rules", "layer_decay")


def build_optimizer(module: nn.Module, spec: OptimizerSpec = "adamw") -> Optimizer:
    """Build an optimizer of `torch.optim` over the groups of [`param_groups`][lightning_losses.param_groups].

    Args:
        module: The module to optimize.
        spec: A name of `torch.optim` in any case, or a mapping `{"name": "adamw", "lr": 1e-3, "weight_decay": 0.01,
            "exempt": [...], "rules": {...}, "layer_decay": ..., ...}` with torch's own arguments beside those of
            `param_groups`; what is missing is torch's default. Or a callable: groups -> optimizer.

    Returns:
        The optimizer. LBFGS takes one group only and gets all trainable parameters in it.

    Raises:
        ValueError: If the name is unknown, if a value is out of range, or if the groups cannot be made.
        TypeError: If the optimizer takes no such argument.

    Example:
        >>> from torch import nn
        >>> optimizer = build_optimizer(nn.Linear(2, 3), {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4})
        >>> [(group["name"], group["weight_decay"]) for group in optimizer.param_groups]
        [('decay', 0.0001), ('no_decay', 0.0)]
    """
    if callable(spec):
        groups = param_groups(module)
        for group in groups:
            if group["name"] == "decay":
                del group["weight_decay"]  # the callable's own holds
        optimizer = spec(groups)
        check_cover(module, optimizer.param_groups)
        return optimizer
    name, arguments = name_and_arguments("optimizer", spec)
    cls = _OPTIMIZERS[choice("optimizer", name.lower().removeprefix("torch.optim."), sorted(_OPTIMIZERS))]
    signature = inspect.signature(cls).parameters
    allowed = [argument for argument in signature if argument != "params"]
    unknown_arguments(f"optimizer {name!r}", arguments, [*allowed, *_GROUPING])
    for argument in {"lr", "weight_decay"} & arguments.keys():
        finite_non_negative(argument, arguments[argument])
    check_types("optimizer", arguments, cls.__init__)

    grouping = {key: arguments.pop(key, None) for key in _GROUPING}
    grouping = {key: value for key, value in grouping.items() if value is not None}
    given = {"weight_decay": 0.0} | {key: signature[key].default for key in allowed} | arguments
    groups = param_groups(module, given["weight_decay"], lr=given["lr"], **grouping)
    if cls is torch.optim.LBFGS:
        if grouping.get("rules") or grouping.get("layer_decay"):
            raise ValueError("optimizer 'lbfgs' treats all parameters alike: it takes no rules and no layer_decay")
        groups = [{"params": [parameter for group in groups for parameter in group["params"]]}]
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    return cls(groups, **arguments)


def learning_rate_of(optimizer: Optimizer) -> Callable[[nn.Parameter], float]:
    """Return the function that tells the present learning rate of a parameter; 0 if it is not optimized here."""
    rates = {id(parameter): float(group["lr"]) for group in optimizer.param_groups for parameter in group["params"]}
    return lambda parameter: rates.get(id(parameter), 0.0)


# what groups hold besides an optimizer's own settings: ours, and what schedulers add
_OF_NO_OPTIMIZER = {"params", "name", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}


def check_resumable(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Check, before torch does it less clearly, that a saved optimizer state belongs to the same groups.

    Args:
        optimizer: The optimizer that is to be restored.
        state: What `optimizer.state_dict()` once returned.

    Raises:
        ValueError: If the groups differ; both sides are listed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Linear(2, 3)
        >>> check_resumable(build_optimizer(net, "sgd"), torch.optim.SGD(net.parameters()).state_dict())
        Traceback (most recent call last):
        ValueError: the checkpoint's optimizer groups are ['unnamed': 2 tensors], this run's are ['decay': 1 ...
    """
    saved, present = _outline(state["param_groups"]), _outline(optimizer.param_groups)
    settings = set(state["param_groups"][0]) - _OF_NO_OPTIMIZER
    missing, surplus = optimizer.defaults.keys() - settings, settings - optimizer.defaults.keys()
    if missing and surplus:
        raise ValueError(
            f"the checkpoint was made with another optimizer than {type(optimizer).__name__}: it has "
            f"{', '.join(sorted(surplus))}, not {', '.join(sorted(missing))}; choose the same, or load the weights "
            "alone and start anew"
        )
    if saved != present:
        raise ValueError(
            f"the checkpoint's optimizer groups are [{saved}], this run's are [{present}]: restore the settings it was "
            "made with (exempt, rules, layer_decay, what is frozen), or load the weights alone and start anew"
        )


def _outline(groups: list[dict[str, Any]]) -> str:
    return ", ".join(f"{group.get('name', 'unnamed')!r}: {len(group['params'])} tensors" for group in groups)


# Short name -> class, and the defaults that differ from torch's. None for a length means: until the end of the run.
_SHORT: dict[str, tuple[type[LRScheduler], dict[str, Any]]] = {
    "constant": (lr_scheduler.ConstantLR, {"factor": 1.0, "total_iters": 0}),
    "cosine": (lr_scheduler.CosineAnnealingLR, {"T_max": None}),
    "exponential": (lr_scheduler.ExponentialLR, {"gamma": 0.95}),
    "linear": (lr_scheduler.LinearLR, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": None}),
    "multistep": (lr_scheduler.MultiStepLR, {"milestones": [10, 20]}),
    "one_cycle": (lr_scheduler.OneCycleLR, {"max_lr": None}),
    "plateau": (ReduceLROnPlateau, {"monitor": "val/loss"}),
    "polynomial": (lr_scheduler.PolynomialLR, {"total_iters": None}),
    "step": (lr_scheduler.StepLR, {"step_size": 10}),
    "warm_restarts": (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 10}),
}
_UNNAMED = {LRScheduler, lr_scheduler._LRScheduler, lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler}
_SCHEDULERS: dict[str, tuple[type[LRScheduler], dict[str, Any]]] = {
    name.lower(): (cls, {})
    for name, cls in vars(lr_scheduler).items()
    if isinstance(cls, type) and issubclass(cls, LRScheduler) and cls not in _UNNAMED
} | _SHORT
_LENGTHS = {"T_max", "total_iters", "total_steps"}
_WHEN = {"interval": "epoch", "frequency": 1, "monitor": None, "warmup": 0}


def build_scheduler(
    optimizer: Optimizer, spec: SchedulerSpec = None, length: int | None = None
) -> dict[str, Any] | None:
    """Build Lightning's `lr_scheduler` configuration.

    Names: `constant`, `cosine`, `exponential`, `linear` (down to 0), `multistep`, `one_cycle`, `plateau`, `polynomial`,
    `step`, `warm_restarts`, and the classes of `torch.optim.lr_scheduler` in any case.

    Args:
        optimizer: Whose learning rates are to be scheduled.
        spec: A name, or a mapping `{"name": "cosine", "interval": "epoch" or "step", "frequency": 1, "monitor": None,
            "warmup": 0, ...}` with the arguments of torch's class. `warmup` counts the scheduler steps in which the
            learning rate rises linearly to its full value; torch's scheduler starts after them.
        length: Intervals in the whole run, for a `T_max`, `total_iters` or `total_steps` that `spec` leaves None.

    Returns:
        A dict with `scheduler`, `interval`, `frequency` and, if there is one, `monitor`. None if `spec` or its name is.

    Raises:
        ValueError: If the name is unknown, an argument is missing, or a value is not allowed.
        TypeError: If the scheduler takes no such argument, or the argument no such value.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> config = build_scheduler(optimizer, {"name": "step", "step_size": 1, "gamma": 0.5, "warmup": 1})
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     config["scheduler"].step()
        >>> rates
        [0.5, 1.0, 0.5, 0.25]
    """
    if spec is None or (isinstance(spec, Mapping) and spec.get("name") is None):
        return None
    name, arguments = name_and_arguments("scheduler", spec)
    cls, defaults = _SCHEDULERS[choice("scheduler", name.lower(), sorted(_SCHEDULERS))]
    signature = {key: value.default for key, value in inspect.signature(cls).parameters.items() if key != "optimizer"}
    unknown_arguments(f"scheduler {name!r}", arguments, [*signature, *_WHEN])
    arguments = defaults | arguments
    when = {key: arguments.pop(key, default) for key, default in _WHEN.items()}
    choice("interval", when["interval"], ("epoch", "step"))
    frequency = _count("frequency", when["frequency"], at_least=1)
    warmup = _count("warmup", when.pop("warmup"), at_least=0)
    if cls is ReduceLROnPlateau and when["monitor"] is None:
        raise ValueError(f"scheduler {name!r} needs monitor, such as 'val/loss'")

    given = signature | arguments
    for key in _LENGTHS & signature.keys():
        if given[key] in (None, inspect.Parameter.empty) and not given.get("steps_per_epoch"):
            arguments[key] = _rest_of_run(name, key, length and length // frequency, warmup)
    if cls is lr_scheduler.OneCycleLR and given["max_lr"] is None:
        arguments["max_lr"] = [group["lr"] for group in optimizer.param_groups]
    missing = [key for key, value in (signature | arguments).items() if value is inspect.Parameter.empty]
    if missing:
        raise ValueError(f"scheduler {name!r} needs {', '.join(missing)}")
    check_types("scheduler", arguments, cls.__init__)
    scheduler = _warmed_up(name, cls, optimizer, arguments, warmup) if warmup else cls(optimizer, **arguments)
    return {"scheduler": scheduler, **{key: value for key, value in when.items() if value is not None}}


def _count(argument: str, value: Any, at_least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{argument} must be an integer >= {at_least}, got {value!r}")
    return value


def _rest_of_run(name: str, key: str, length: int | None, warmup: int) -> int:
    if length is None:
        raise ValueError(f"scheduler {name!r} needs {key}: the length of the run is not known here")
    if length <= warmup:
        raise ValueError(f"warmup must be shorter than the run of {length} scheduler steps, got {warmup}")
    return length - warmup


def _warmed_up(
    name: str, cls: type[LRScheduler], optimizer: Optimizer, arguments: dict[str, Any], warmup: int
) -> LRScheduler:
    if cls in (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR):
        raise ValueError(f"scheduler {name!r} warms up by itself: set warmup to 0")
    if cls is ReduceLROnPlateau:
        return _WarmupPlateau(optimizer, warmup, **arguments)
    rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rising, cls(optimizer, **arguments)], milestones=[warmup])


class _WarmupPlateau(ReduceLROnPlateau):
    """ReduceLROnPlateau after a linear warm-up, during which the metric is not looked at.

    SequentialLR cannot hold a scheduler whose step takes a metric.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, **arguments: Any) -> None:
        super().__init__(optimizer, **arguments)
        self.warmup = warmup
        self.full_lrs = [group["lr"] for group in optimizer.param_groups]
        self._rise()

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        if self.last_epoch < self.warmup:
            self.last_epoch += 1
            self._rise()
        else:
            super().step(metrics, epoch)

    def _rise(self) -> None:
        for group, full_lr in zip(self.optimizer.param_groups, self.full_lrs, strict=True):
            group["lr"] = full_lr * (self.last_epoch + 1) / (self.warmup + 1)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
