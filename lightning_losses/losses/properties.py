"""What holds for a loss, read off its function of the log-likelihood."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_losses.functional._formula import Extra
from lightning_losses.functional._posterior import grows_without_bound
from lightning_losses.kernels import Phi
from lightning_losses.losses.classification import ClassificationLoss
from lightning_losses.losses.registry import LossSpec, get_loss


class Properties(NamedTuple):
    """What holds for a loss that is a function `phi(l)` of the log-likelihood `l = log p` of the true class.

    Attributes:
        proper: The class probabilities can be computed from the trained outputs: `-phi'(l) / p` grows without bound as
            `p` tends to 0, so that every belief has finite logits. `posterior` exists.
        bounded: A row costs at most so much, however wrong it is: `phi` has a limit as `p` tends to 0.
        symmetric: `sum_c phi(log p_c)` is the same for all `p`, so that uniform label noise below `1 - 1/C` does not
            move the minimum (Ghosh, Kumar, Sastry, 2017).
        convex: The loss is convex in the logits: `d log(-phi'(l)) / dl <= p / (1 - p)` everywhere.
    """

    proper: bool
    bounded: bool
    symmetric: bool
    convex: bool


def properties(loss: LossSpec) -> Properties:
    """Derive what holds for a loss, numerically.

    Args:
        loss: A loss, or what `get_loss` builds one from.

    Returns:
        The properties.

    Raises:
        TypeError: The loss is not a function of the log-likelihood of the true class.

    Example:
        >>> properties("gce")
        Properties(proper=True, bounded=True, symmetric=False, convex=False)
    """
    built = get_loss(loss)
    if not isinstance(built, ClassificationLoss) or isinstance(built.phi, Extra):
        raise TypeError(
            f"{type(built).__name__} is not a function of the log-likelihood of the true class, from which properties "
            "are derived"
        )
    phi = built.phi
    return Properties(grows_without_bound(phi), _is_bounded(phi), _is_symmetric(phi), _is_convex(phi))


def _is_bounded(phi: Phi) -> bool:
    nearer, farther = phi.value(torch.tensor([-1e4, -2e4], dtype=torch.float64)).tolist()
    return bool(farther - nearer < 1e-6)


def _is_symmetric(phi: Phi) -> bool:
    corner = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64)
    simplex = torch.stack([corner, corner.roll(1), torch.full_like(corner, 1 / 3), corner.new_tensor([0.6, 0.3, 0.1])])
    sums = phi.value(simplex.log()).sum(dim=1)
    return bool((sums - sums[0]).abs().max() < 1e-9 * (1 + sums[0].abs()))


def _is_convex(phi: Phi) -> bool:
    p = _grid()
    growth = torch.func.grad(lambda log_p: phi.log_slope(log_p).sum())(p.log())
    return bool((growth <= p / (1 - p) + 1e-9).all())


def _grid() -> Tensor:
    """Return probabilities from `1e-6` to `1 - 1e-6`, denser at both ends."""
    return torch.linspace(-13.8, 13.8, 2001, dtype=torch.float64).sigmoid()
