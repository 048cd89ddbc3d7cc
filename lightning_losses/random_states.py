"""The states of the generators that a training draws from, as plain data."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import torch


def random_states() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's global generators, and of the current GPU's."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    if (numpy := sys.modules.get("numpy")) is not None:  # who has not imported it has not drawn from it
        name, keys, position, *normal = numpy.random.get_state()
        states["numpy"] = (name, keys.tolist(), int(position), *map(float, normal))
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Go on drawing where the generators were.

    Args:
        states: What `random_states` has returned.

    Example:
        >>> states = random_states()
        >>> first = torch.rand(3), random.random()
        >>> set_random_states(states)
        >>> torch.rand(3).equal(first[0]), random.random() == first[1]
        (True, True)
    """
    version, internal, normal = states["python"]
    random.setstate((version, tuple(internal), normal))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
    if "numpy" in states and (numpy := sys.modules.get("numpy")) is not None:
        name, keys, position, has_normal, normal = states["numpy"]
        numpy.random.set_state((name, keys, position, int(has_normal), normal))
