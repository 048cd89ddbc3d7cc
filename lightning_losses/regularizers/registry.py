"""Penalties by their short names, and objectives' named terms from what users write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_losses._terms import Term, build_terms
from lightning_losses.regularizers.base import Regularizer
from lightning_losses.regularizers.custom import Custom
from lightning_losses.regularizers.elementwise import L1, L2, L2SP, ElasticNet, ProximalL1
from lightning_losses.regularizers.matrices import GroupLasso, Orthogonal, Spectral
from lightning_losses.regularizers.outputs import ActivityL1, ActivityL2

_REGULARIZERS: dict[str, type[Regularizer]] = {
    cls.name: cls
    for cls in (
        *(L1, L2, ElasticNet, ProximalL1, GroupLasso, Orthogonal, Spectral, L2SP, Custom),
        *(ActivityL1, ActivityL2),
    )
}


def list_regularizers() -> list[str]:
    """Return the names that `build_regularizers` knows, sorted.

    Example:
        >>> "l2" in list_regularizers()
        True
    """
    return sorted(_REGULARIZERS)


def build_regularizers(spec: Any) -> dict[str, Regularizer]:
    """Build the penalties of an objective, each under a name of its own.

    Args:
        spec: `{"l2": 1e-4}`; named terms `{"encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"}}`, where the
            term's own name serves if there is no `name`; or a name, a penalty or a function of one parameter, alone, in
            a sequence, or as a term. None is no penalty.

    Returns:
        Term -> penalty, in the given order.

    Raises:
        ValueError: If a name is unknown, a factor is out of range, or two terms have one name.
        TypeError: If a penalty takes no such argument.

    Example:
        >>> build_regularizers({"l2": 1e-4, "sparse": {"name": "l1", "factor": 1e-3, "where": "embedding"}})
        {'l2': L2(factor=0.0001, where=None), 'sparse': L1(factor=0.001, where='embedding')}
    """
    if isinstance(spec, Mapping):
        spec = {term: _adopt(value) for term, value in spec.items()}
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        spec = [_adopt(value) for value in spec]
    else:
        spec = _adopt(spec)
    return build_terms("regularizer", spec, _REGULARIZERS, Regularizer)


def _adopt(value: Any) -> Any:
    return Custom(value) if callable(value) and not isinstance(value, Term) else value
