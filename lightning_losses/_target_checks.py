"""When bad values are reported: at once where looking is free, later where it would make an accelerator wait."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor

from lightning_losses._validation import choice
from lightning_losses.kernels import keep_worst_

_when = "deferred"
_flags: dict[tuple[str, str, torch.device], Tensor] = {}


class check_targets:  # noqa: N801  # a switch in the style of torch.autograd.set_detect_anomaly
    """Set when bad targets and sample weights on an accelerator are reported; a function and a context manager.

    On the CPU the call that gets them raises. An accelerator would have to wait for each check, so there a row with a
    bad target becomes NaN, its gradient is 0, and the value is reported when the mixin next logs. `"sync"` raises at
    the call there too, to find the batch. Neither applies in compiled code and inside `torch.func`: NaN alone.

    Args:
        when: `"deferred"` (the default of the process) or `"sync"`.

    Raises:
        ValueError: `when` is neither.

    Example:
        >>> with check_targets("sync"):
        ...     pass  # the steps to examine
    """

    def __init__(self, when: str) -> None:
        global _when  # noqa: PLW0603
        self._before = _when
        _when = choice("when", when, ("deferred", "sync"))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _when  # noqa: PLW0603
        _when = self._before


def check_values(argument: str, values: Tensor, bad: Tensor, allowed: str) -> None:
    """Raise a ValueError that shows the first bad value, or keep one on its device where looking would stall it."""
    if may_look(bad):
        if bool(bad.any()):
            raise _error(argument, allowed, values[bad].flatten()[0].item())
    elif (worst := deferred_worst(argument, bad, allowed)) is not None:
        keep_worst_(worst, values, bad)


def deferred_worst(argument: str, values: Tensor, allowed: str) -> Tensor | None:
    """Return the scalar on the device in which the worst value is kept for `report`; None where none is kept."""
    holds_values = type(values) in (Tensor, torch.nn.Parameter) and values.device.type != "meta"
    if may_look(values) or is_traced() or not holds_values:
        return None
    key = argument, allowed, values.device
    if key not in _flags:
        with torch.inference_mode(False):  # or training could not write what validation has made
            _flags[key] = torch.full((), -torch.inf, dtype=torch.float32, device=values.device)
    return _flags[key]


def may_look(tensor: Tensor) -> bool:
    """Return whether a value can be read: not while compiling or in `torch.func`; see `check_targets` for the rest."""
    return not is_traced() and not (_when == "deferred" and is_accelerator(tensor.device))


def is_accelerator(device: torch.device) -> bool:
    """Return whether reading a value from this device makes the program wait for it."""
    return device.type != "cpu"


def report() -> None:
    """Raise a ValueError if a bad value was kept, and forget it; waits for the devices that were checked."""
    for (argument, allowed, _), flag in _flags.items():
        value = flag.item()
        if value != -torch.inf:
            _flags.clear()
            raise ValueError(
                f"{_error(argument, allowed, value)} in a step since values were last logged; "
                'll.check_targets("sync") stops at the step itself'
            )


def is_traced() -> bool:
    """Return whether torch compiles or transforms what runs now, so that values cannot be read."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _error(argument: str, allowed: str, value: float) -> ValueError:
    return ValueError(f"{argument} must hold {allowed}, got {value!r}")
