"""Classes of the user's own, which a config names by `_target_`: the one place that imports what a text says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from lightning_losses._mapping import plain

CODE = "_target_"

# While a checkpoint is loaded: what the caller has named and may be imported; None where no checkpoint has a say.
_ALLOWED: ContextVar[frozenset[str] | None] = ContextVar("lightning_losses_allowed", default=None)


def targets(value: Any) -> list[str]:
    """Return the values of all keys `_target_`, at any depth."""
    if isinstance(value, Mapping):
        own = [str(value[CODE])] if CODE in value else []
        return own + [name for item in value.values() for name in targets(item)]
    return [name for item in value for name in targets(item)] if isinstance(value, (list, tuple)) else []


@contextmanager
def only(allowed: Iterable[str]) -> Iterator[None]:
    """Import nothing but these while a checkpoint is loaded, whatever stands in it."""
    token = _ALLOWED.set(frozenset(allowed))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def instantiate(config: Mapping[str, Any], **arguments: Any) -> Any:
    """Return what Hydra makes of a config, under its own policy; where it has a whitelist, of these classes alone.

    Args:
        config: A mapping with `_target_`.
        **arguments: Further ones of the class.

    Raises:
        ValueError: A checkpoint, and not the caller, names the class.
    """
    import hydra  # noqa: PLC0415 (only the user's own classes need it)

    config = plain(config)
    named, allowed = targets(config), _ALLOWED.get()
    if allowed is not None and not allowed.issuperset(named):
        foreign = next(name for name in named if name not in allowed)
        raise ValueError(f"a checkpoint may not say what is imported, and this one names {foreign!r}: give it yourself")
    whitelist = getattr(hydra.utils, "execution_whitelist", nullcontext)  # from Hydra 1.4 on
    with whitelist(named):
        return hydra.utils.instantiate(config, **arguments)
