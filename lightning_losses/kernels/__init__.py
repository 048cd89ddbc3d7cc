"""The only operations that touch the N x C matrix of logits.

Every classification loss is built from `target_loss` (hard labels) and `row_expectation` (soft labels), or with one
logit for each decision from `element_loss`; whatever makes these faster makes every loss faster.
`checked_target` stands beside them: on a GPU it is a kernel too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from lightning_losses.kernels import blocked, by_rows, compiled, plain
from lightning_losses.kernels.phi import Phi as Phi
from lightning_losses.kernels.phi import apply as apply
from lightning_losses.kernels.plain import keep_worst_ as keep_worst_
from lightning_losses.kernels.plain import log_softmax as log_softmax
from lightning_losses.kernels.plain import outside as outside


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    result: Tensor = _backend(logits, shift).target_loss(phi, logits, target, used, shift)
    return result


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.row_expectation`."""
    result: Tensor = _backend(logits, shift, coefficient).row_expectation(phi, logits, coefficient, used, shift)
    return result


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    backend = _backend(logits, share, positive, negative)
    result: Tensor = backend.element_loss(phi, logits, share, positive, negative, used)
    return result


def checked_target(
    target: Tensor, largest: int, ignored: int, worst: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `plain.checked_target`."""
    result: tuple[Tensor, Tensor, Tensor] = _backend(target, target).checked_target(target, largest, ignored, worst)
    return result


def _backend(logits: Tensor, *constants: Tensor | None) -> ModuleType:
    """The fast versions have a gradient for the logits alone, those for compilers one that has none itself."""
    if torch._C._are_functorch_transforms_active():
        return plain
    for constant in constants:
        if constant is not None and constant.requires_grad:
            return plain
    on_cpu = logits.device.type == "cpu"
    if torch.compiler.is_compiling():
        return compiled if on_cpu else plain
    if type(logits) not in (Tensor, torch.nn.Parameter):
        return plain
    return blocked if on_cpu else _of_accelerators(logits.device.type)


@functools.cache
def _of_accelerators(device: str) -> ModuleType:
    """Triton takes long to import, so that waits for the first logits on a GPU."""
    has_kernels = device == "cuda" and importlib.util.find_spec("triton") is not None
    return importlib.import_module("lightning_losses.kernels.on_cuda") if has_kernels else by_rows
