"""The losses by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from lightning_losses._instantiate import CODE, instantiate
from lightning_losses._mapping import name_and_arguments, plain
from lightning_losses._validation import choice, positive, unknown_arguments
from lightning_losses.functional._options import TASKS, Options
from lightning_losses.losses import adaptive, classification, extra, regression
from lightning_losses.losses.base import Loss
from lightning_losses.losses.foreign import ForeignLoss, torch_loss
from lightning_losses.losses.heads import HeadsLoss

LossSpec: TypeAlias = "str | Mapping[str, Any] | nn.Module | Callable[[Tensor, Tensor], Tensor]"

LOSSES: dict[str, type[Loss]] = {
    "adaptive_log_softmax": adaptive.AdaptiveLogSoftmaxLoss,
    "asymmetric": extra.AsymmetricLoss,
    "balanced_softmax": classification.BalancedSoftmaxLoss,
    "bce": classification.BinaryCrossEntropyLoss,
    "bi_tempered": extra.BiTemperedLoss,
    "ce": classification.CrossEntropyLoss,
    "cosine_similarity": regression.CosineSimilarityLoss,
    "focal": classification.FocalLoss,
    "forward_correction": extra.ForwardCorrectionLoss,
    "gce": classification.GeneralizedCrossEntropyLoss,
    "ghm": extra.GHMLoss,
    "hinge": regression.HingeLoss,
    "huber": regression.HuberLoss,
    "kl_div": regression.KLDivLoss,
    "l1": regression.L1Loss,
    "ldam": extra.LDAMLoss,
    "log_cosh": regression.LogCoshLoss,
    "logit_adjusted": classification.LogitAdjustedLoss,
    "mape": regression.MAPELoss,
    "mse": regression.MSELoss,
    "nce": extra.NormalizedCrossEntropyLoss,
    "nfl": extra.NormalizedFocalLoss,
    "nll": extra.NLLLoss,
    "poly1": classification.Poly1Loss,
    "prob_mae": classification.ProbMAELoss,
    "quantile": regression.QuantileLoss,
    "rce": classification.ReverseCrossEntropyLoss,
    "sce": classification.SymmetricCrossEntropyLoss,
    "smooth_l1": regression.SmoothL1Loss,
    "taylor_ce": classification.TaylorCrossEntropyLoss,
}

# mostly Keras' names
ALIASES: dict[str, dict[str, Any]] = {
    "binary_crossentropy": {"name": "bce"},
    "binary_focal_crossentropy": {"name": "focal", "task": "binary"},
    "categorical_crossentropy": {"name": "ce"},
    "categorical_focal_crossentropy": {"name": "focal"},
    "categorical_generalized_cross_entropy": {"name": "gce"},
    "kl_divergence": {"name": "kl_div"},
    "kld": {"name": "kl_div"},
    "kullback_leibler_divergence": {"name": "kl_div"},
    "logcosh": {"name": "log_cosh"},
    "mae": {"name": "l1"},
    "mean_absolute_error": {"name": "l1"},
    "mean_absolute_percentage_error": {"name": "mape"},
    "mean_squared_error": {"name": "mse"},
    "poisson": {"name": "torch.PoissonNLLLoss", "log_input": False},
    "sparse_categorical_crossentropy": {"name": "ce"},
}


def list_losses() -> list[str]:
    """Return the short names of all losses, sorted.

    Example:
        >>> "focal" in list_losses()
        True
    """
    return sorted(LOSSES)


def get_loss(loss: LossSpec, **arguments: Any) -> Loss | ForeignLoss:
    """Build a loss.

    Args:
        loss: A short name (`"focal"`), a mapping (`{"name": "focal", "gamma": 2.0}`), a criterion of torch
            (`"torch.PoissonNLLLoss"`), a mapping with `_target_` (the user's own class), a module or a callable. A
            mapping without a name holds a loss for each head of a network, each with a `factor` if it is not 1:
            `{"cls": "focal", "aux": {"name": "mse", "factor": 0.5}}`.
        **arguments: Arguments of the loss, beside those of the mapping.

    Returns:
        The loss; one of ours is returned as it is, another callable as a `ForeignLoss`.

    Raises:
        ValueError: The name is unknown, or an argument is not allowed.
        TypeError: The loss takes no such argument.

    Example:
        >>> get_loss("focal", gamma=3.0).phi
        Focal(gamma=3.0)
    """
    if isinstance(loss, Mapping) and CODE in loss:
        return _as_loss(instantiate(loss, **arguments))
    if isinstance(loss, Mapping) and _names_heads(loss):
        return _heads_loss(loss, arguments)
    if not isinstance(loss, (str, Mapping)):
        if arguments:
            raise TypeError(f"arguments go with a name or a mapping, got {loss!r} with {sorted(arguments)}")
        return _as_loss(loss)
    name, given = name_and_arguments("loss", loss)
    given |= arguments
    if name in ALIASES:
        name, given = name_and_arguments("loss", {**ALIASES[name], **given})
    if name.startswith("torch."):
        return torch_loss(name.removeprefix("torch."), given)
    cls = LOSSES[choice("loss", name, list_losses())]
    if "task" not in argument_names(cls) and refusal(cls, str(given.get("task"))) is None:
        del given["task"]  # the only one that it has
    for option in [option for option in Options.__annotations__ if option in given.keys() - {*argument_names(cls)}]:
        reason = refusal(cls, str(given[option]) if option == "task" else option)
        raise TypeError(f"loss {name!r} does not take {option}={given[option]!r}: {reason}")
    unknown_arguments(f"loss {name!r}", given, argument_names(cls))
    if missing := [name for name in required_arguments(cls) if given.get(name) is None]:
        raise TypeError(f"loss {name!r} needs {', '.join(missing)}")
    return cls(**given)


def loss_spec(loss: LossSpec) -> dict[str, Any] | None:
    """Return the plain mapping that builds `loss` again, or None for an object that is not ours."""
    if isinstance(loss, str):
        return {"name": loss}
    if isinstance(loss, Mapping) and not _names_heads(loss):
        return dict(plain(loss))
    if isinstance(loss, Mapping):
        heads = {head: loss_spec(spec) for head, spec in loss.items()}
        return None if None in heads.values() else heads
    if isinstance(loss, HeadsLoss):
        heads = {head: loss_spec(own) for head, own in loss.losses.items()}
        known = {head: {**spec, "factor": loss.factors[head]} for head, spec in heads.items() if spec is not None}
        return known if len(known) == len(heads) else None
    names = {cls: name for name, cls in LOSSES.items()}
    return (
        {"name": names[type(loss)], **plain(loss.arguments)} if isinstance(loss, Loss) and type(loss) in names else None
    )


def argument_names(cls: type[nn.Module]) -> tuple[str, ...]:
    """Return the names of the arguments of a loss, the shared options included."""
    names = tuple(inspect.signature(cls).parameters)
    return names[:-1] + tuple(Options.__annotations__) if names[-1:] == ("options",) else names


def refusal(cls: type[Loss], option: str) -> str | None:
    """Return why a loss does not take an option or a task, or None if it does.

    Args:
        cls: The loss.
        option: One of `Options`, a task or `sample_weight`.
    """
    names = argument_names(cls)
    if option in cls.unsupported:
        return cls.unsupported[option]
    if option in TASKS:
        return None if "task" in names or cls.task == option else f"its task is {cls.task}"
    if option in names or option == "sample_weight":
        return None
    return "it is not a loss on the scores of classes"


def required_arguments(cls: type[nn.Module]) -> list[str]:
    """Return the names of the arguments that have no default."""
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]


def _names_heads(loss: Mapping[str, Any]) -> bool:
    """Return whether a mapping holds losses by head: several values, each of which can be a loss."""
    can_be = (isinstance(spec, (str, Mapping)) or callable(spec) for spec in loss.values())
    return len(loss) > 1 and "name" not in loss and all(can_be)


def _heads_loss(loss: Mapping[str, Any], arguments: dict[str, Any]) -> HeadsLoss:
    losses, factors = {}, {}
    for head, spec in loss.items():
        own = dict(spec) if isinstance(spec, Mapping) else spec
        if isinstance(own, dict):
            factors[head] = positive(f"the factor of head {head!r}", own.pop("factor", 1.0))
            if not {"name", CODE} & own.keys():
                raise ValueError(f"the loss of head {head!r} must have a name, as in {{name: ...}}, got {own!r}")
        losses[head] = get_loss(own, **arguments)
    return HeadsLoss(losses, factors)


def _as_loss(loss: object) -> Loss | ForeignLoss:
    if isinstance(loss, (Loss, ForeignLoss)):
        return loss
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"loss must be a name, a mapping, a module or a callable, got {loss!r}")
    return ForeignLoss(loss)
