"""The end of an epoch: what it has shown is logged also where a module's own hook does not call `super()`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

STAGES = {"on_train_epoch_end": "train", "on_validation_epoch_end": "val", "on_test_epoch_end": "test"}


def complete_hooks(cls: type, mixin: type) -> None:
    """Let the hooks of a class that are not the mixin's finish the epoch themselves.

    Args:
        cls: A class that is derived from the mixin.
        mixin: Whose hooks finish an epoch, as those do that call `super()`.
    """
    for name, stage in STAGES.items():
        hook = getattr(cls, name)
        if hook is not getattr(mixin, name) and not hasattr(hook, "_ll_finishes"):
            setattr(cls, name, _finishing(hook, stage))


def _finishing(hook: Callable[..., None], stage: str) -> Callable[..., None]:
    @wraps(hook)
    def finishing(self: Any) -> None:
        self._ll_is_finished = False
        hook(self)
        if not self._ll_is_finished:
            self._ll_finish(stage)

    finishing._ll_finishes = True  # type: ignore[attr-defined]
    return finishing
