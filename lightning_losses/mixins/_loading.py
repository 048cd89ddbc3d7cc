"""Loading a module from a checkpoint: weights and plain values, nothing that is imported or executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_losses._instantiate import only, targets
from lightning_losses.mixins._order import Ordered

if TYPE_CHECKING:
    from typing_extensions import Self

    _of_the_class = classmethod
else:

    class _of_the_class(classmethod):  # noqa: N801 (a decorator)
        """A method of the class; on an instance Lightning's own, which says that the result would be lost."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is not None:
                return super(Loadable, instance).load_from_checkpoint
            return super().__get__(None, owner)


class Loadable(Ordered):
    """Loads as LightningModule does, with `weights_only=True` unless told otherwise."""

    @_of_the_class
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: N805 (a class method)
        """Return the module that a checkpoint holds; see Lightning.

        Args:
            *args: Lightning's.
            **kwargs: Lightning's, and arguments of the class, which come before those of the checkpoint. A class of
                the user's own (`_target_`) is imported only if it is named here.

        Raises:
            ValueError: The checkpoint names another class to import.
        """
        with only(targets(kwargs)):
            return super().load_from_checkpoint(*args, **{"weights_only": True, **kwargs})
