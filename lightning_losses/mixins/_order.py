"""The order of a class's bases: what would silently never run is refused when the class is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule as _Base
else:
    _Base = object

# What the mixins bring instead of what stands behind them; their hooks call `super()`, so those hide nothing.
REPLACED = ("training_step", "validation_step", "test_step", "predict_step", "configure_optimizers")


class Ordered(_Base):
    """Checks each class that is derived from a mixin."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = [base.__name__ for base in cls.__mro__]
        if "LightningModule" in names:
            position = names.index("LightningModule")
            _check_before(cls, cls.__mro__[position + 1 :])
            _check_hidden(cls, cls.__mro__[:position])


def _is_mixin(base: type) -> bool:
    return base.__module__.startswith(f"{__package__}.") or base.__module__ == __package__


def _check_before(cls: type, behind: tuple[type, ...]) -> None:
    """Refuse a mixin behind LightningModule."""
    for mixin in behind:
        if _is_mixin(mixin) and mixin.__name__.endswith("Mixin"):
            raise TypeError(
                f"{mixin.__name__} must stand before LightningModule, as in "
                f"class {cls.__name__}({mixin.__name__}, LightningModule); behind it its steps would never run. "
                f"If a base already derives from LightningModule: class {cls.__name__}({mixin.__name__}, ThatBase)"
            )


def _check_hidden(cls: type, bases: tuple[type, ...]) -> None:
    """Refuse a base whose method is not called, because a mixin that stands before it has it too."""
    for method in REPLACED:
        owners = [base for base in bases if method in vars(base)]
        if not owners or not _is_mixin(owners[0]):
            continue
        for base in owners[1:]:
            if not _is_mixin(base):
                raise TypeError(
                    f"{base.__name__}.{method} would never run: {cls.__name__} takes the mixin's. Either derive "
                    f"{base.__name__} itself from the mixin, whose {method} its own then replaces"
                    f"{_ADVICE.get(method, '')}, or leave its {method} out"
                )


_ADVICE = {
    "training_step": " (it calls self.compute_objective(...))",
    "configure_optimizers": ", or take LossMixin and RegularizerMixin alone",
}
