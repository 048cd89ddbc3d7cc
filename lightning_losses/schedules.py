"""Values that follow the steps or epochs of a training, and what they are put into."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from inspect import signature
from numbers import Real
from typing import Any

import torch

from lightning_losses._mapping import plain
from lightning_losses._validation import choice
from lightning_losses.losses import ForeignLoss, Loss
from lightning_losses.losses.registry import loss_spec
from lightning_losses.objective import Objective, mean_loss
from lightning_losses.regularizers import Regularizer

SHAPES = ("hold", "linear", "cosine")


class Curve:
    r"""A value for every point in time, given by those at some of them.

    Before the first point the value is the first, after the last the last; between two points

    - `hold`: that of the earlier one, whatever it is: a number, a list, a mapping, None;
    - `linear`: $v_k + s\,(v_{k+1} - v_k)$, where $s$ goes from 0 to 1;
    - `cosine`: the same with $(1 - \cos \pi s) / 2$ in place of $s$, level at both points.

    Args:
        at: Points in time, rising.
        values: The value at each of them.
        shape: How it goes from one to the next.

    Raises:
        ValueError: The lengths differ, `at` does not rise, or the shape is unknown or not for these values.

    Example:
        >>> curve = Curve([0, 10], [0.0, 2.0], "linear")
        >>> [curve(time) for time in (0, 5, 99)]
        [0.0, 1.0, 2.0]
    """

    def __init__(self, at: Sequence[float], values: Sequence[Any], shape: str = "hold") -> None:
        self.at, self.values = [float(time) for time in at], [plain(value) for value in values]
        self.shape = choice("shape", shape, SHAPES)
        if len(self.at) != len(self.values) or not self.at:
            raise ValueError(f"at and values must be as long, and not empty, got {len(self.at)} and {len(self.values)}")
        if any(later <= earlier for earlier, later in zip(self.at, self.at[1:], strict=False)):
            raise ValueError(f"at must rise from each point to the next, got {list(at)}")
        if shape != "hold" and not all(_is_number(value) for value in self.values):
            raise ValueError(f"shape={shape!r} is for numbers, shape='hold' for any values, got {list(values)}")

    def __call__(self, time: float) -> Any:
        """Return the value at a point in time."""
        index = self.index(time)
        if self.shape == "hold" or index + 1 == len(self.at) or time <= self.at[0]:
            return self.values[index]
        begin, end = self.at[index], self.at[index + 1]
        share = (time - begin) / (end - begin)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.values[index] + share * (self.values[index + 1] - self.values[index])

    def index(self, time: float) -> int:
        """Return which of the values is the last one reached."""
        return max(bisect_right(self.at, time) - 1, 0)

    def samples(self) -> list[Any]:
        """Return the values at all points and, where they are joined, some on the way from each to the next."""
        if self.shape == "hold":
            return self.values
        between = [begin + (end - begin) / 3 for begin, end in zip(self.at, self.at[1:], strict=False)]
        return [self(time) for time in (*self.at, *between)]


class Target:
    """A place in an objective that a value can be put into.

    Args:
        path: `"loss"`, a loss as a whole; `"loss.gamma"`, an argument of the loss; `"loss.terms.rce"`, an entry of such
            an argument; `"regularizer.l2.factor"`, a number of a regularizer.

    Raises:
        ValueError: The path begins otherwise.

    Example:
        >>> objective = Objective("focal")
        >>> Target("loss.gamma").put(objective, 0.5)
        >>> objective.loss.phi
        Focal(gamma=0.5)
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.part, *self.keys = path.split(".")
        if self.part not in ("loss", "regularizer") or (self.part == "regularizer" and len(self.keys) != 2):
            raise ValueError(
                "target must be 'loss', 'loss.ARGUMENT' or 'regularizer.NAME.ARGUMENT', as in 'loss.gamma' or "
                f"'regularizer.l2.factor', got {path!r}"
            )

    def overlaps(self, other: Target) -> bool:
        """Tell whether one of two places holds the other."""
        mine, theirs = [self.part, *self.keys], [other.part, *other.keys]
        shared = min(len(mine), len(theirs))
        return mine[:shared] == theirs[:shared]

    def check(self, objective: Objective, value: Any) -> None:
        """Raise what the loss or the regularizer raises for a value that it does not take."""
        if self.part == "regularizer":
            self._checked(self._regularizer(objective), value)
            return
        fresh = self.loss_with(objective.loss, value)
        for loss in (objective.loss, fresh):
            if loss.state_dict():
                raise ValueError(f"target={self.path!r}: {type(loss).__name__} learns or counts, and would forget it")
        if fresh.task != objective.loss.task:
            raise ValueError(f"target={self.path!r}: the task must stay {objective.loss.task!r}, got {fresh.task!r}")

    def put(self, objective: Objective, value: Any, device: torch.device | None = None) -> None:
        """Put a value there; a new loss is put on the device."""
        if self.part == "regularizer":
            term = self._regularizer(objective)
            setattr(term, self.keys[1], self._checked(term, value))
        else:
            fresh = self.loss_with(objective.loss, value)
            objective.loss = fresh.to(device).train(objective.loss.training)

    def loss_with(self, loss: Loss | ForeignLoss, value: Any) -> Loss | ForeignLoss:
        """Return a loss like `loss` with the value in place of what it has here."""
        if self.keys:
            return mean_loss(_replaced(self._spec(loss), self.keys, value))
        named = {"name": value} if isinstance(value, str) else dict(value)
        return mean_loss(named if "_target_" in named else {"task": loss.task, **named})

    def _spec(self, loss: Loss | ForeignLoss) -> dict[str, Any]:
        spec = loss_spec(loss)
        if spec is None:
            raise TypeError(f"target={self.path!r}: {type(loss).__name__} has no arguments that are known by name")
        return spec

    def _regularizer(self, objective: Objective) -> Regularizer:
        name = choice(f"target={self.path!r}: the regularizer", self.keys[0], objective.regularizers)
        return objective.regularizers[name]

    def _checked(self, term: Regularizer, value: Any) -> Any:
        """Return what a regularizer of this kind makes of the value."""
        arguments = {name: getattr(term, name) for name in signature(type(term)).parameters}
        numbers = [name for name, argument in arguments.items() if _is_number(argument)]
        choice(f"target={self.path!r}: the argument", self.keys[1], numbers)
        return getattr(type(term)(**{**arguments, self.keys[1]: value}), self.keys[1])


def _replaced(spec: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a mapping with another value under a path of keys."""
    first, *rest = keys
    if not rest:
        return {**spec, first: value}
    inner = spec.get(first)
    if not isinstance(inner, Mapping) or rest[0] not in inner:
        known = ", ".join(inner) if isinstance(inner, Mapping) else "none"
        raise ValueError(f"the loss has no {first}.{rest[0]} (known under {first}: {known})")
    return {**spec, first: _replaced(inner, rest, value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
