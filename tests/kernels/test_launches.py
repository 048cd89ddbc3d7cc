"""How many kernels a step launches on a GPU: those of Triton and the operations of torch that compute something."""

from __future__ import annotations

from types import ModuleType
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import lightning_losses as ll
from lightning_losses import _target_checks, kernels
from lightning_losses.functional._options import Settings
from lightning_losses.functional._targets import Target, element_target, hard_target, soft_target

on_cuda = pytest.importorskip("lightning_losses.kernels.on_cuda", reason="needs triton, whose interpreter stands in")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's arithmetic outside the matrix

# these and views launch nothing; a scalar beside tensors on a GPU stays on the CPU
NO_KERNEL = {"empty", "new_empty", "empty_like", "empty_strided", "promote_types", "scalar_tensor"}


class Launches(TorchDispatchMode):
    """Notes what would be launched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        is_view = any(r.alias_info and not r.alias_info.is_write for r in operation._schema.returns)
        if not is_view and name not in NO_KERNEL:
            self.names.append(name)
        return operation(*args, **(kwargs or {}))

    def watch(self, module: ModuleType, name: str, monkeypatch) -> None:
        kernel = getattr(module, name)

        def launcher(grid):
            def launch(*args, **kwargs):
                self.names.append(name)
                with _disable_current_modes():  # the interpreter's own operations
                    kernel[grid](*args, **kwargs)

            return launch

        monkeypatch.setattr(module, name, mock.MagicMock(__getitem__=lambda _, grid: launcher(grid)))


@pytest.fixture
def launches(monkeypatch):
    monkeypatch.setattr(_target_checks, "is_accelerator", bool)
    monkeypatch.setattr(_target_checks, "_flags", {})
    monkeypatch.setattr(kernels, "blocked", on_cuda)
    noted = Launches()
    for module in (on_cuda.targets, on_cuda.rows, on_cuda.elements):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            noted.watch(module, name, monkeypatch)
    return noted


Z = torch.randn(6, 5)
INDICES, SHARES = torch.tensor([0, 1, 2, -100, 7, 4]), torch.rand(6, 5)


def hard() -> Target:
    return hard_target(Settings(), Z, INDICES.shape, Z.shape, INDICES)


@pytest.mark.parametrize(
    "check",
    [hard, lambda: soft_target(Settings(), SHARES), lambda: element_target(Settings(), SHARES)],
    ids=["indices", "probabilities", "elements"],
)
def test_checking_a_target_is_one_kernel(launches, check) -> None:
    check()  # makes the flag
    launches.names.clear()
    with launches:
        check()
    assert launches.names == ["_target_kernel"]


@pytest.mark.parametrize(("name", "most"), [("ce", 16), ("focal", 20)])
def test_a_step(launches, name: str, most: int) -> None:
    loss, z = ll.get_loss(name), Z.clone().requires_grad_()
    loss(z, INDICES)
    launches.names.clear()
    with launches:
        loss(z, INDICES).backward()
    assert launches.names[:2] == ["_target_kernel", "_forward_kernel"]
    assert launches.names[-1] == "_backward_kernel"
    assert len(launches.names) <= most


STEPS = {  # loss, options, target, kernels in their order, launches at most
    "label smoothing": (
        "focal",
        {"label_smoothing": 0.1},
        INDICES,
        ["_target", "_forward", "_expectation", "_expectation_backward", "_backward"],
        30,
    ),
    "shares": ("sce", {}, SHARES, ["_target", "_expectation", "_expectation_backward"], 15),
    "elements": ("bce", {}, SHARES, ["_target", "_element", "_element_backward"], 19),
    "labels": ("focal", {"task": "multilabel"}, SHARES.round(), ["_target", "_element", "_element_backward"], 20),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_in_which_every_class_counts(launches, name: str) -> None:
    name, options, target, expected, most = STEPS[name]
    loss, z = ll.get_loss(name, **options), Z.clone().requires_grad_()
    loss(z, target)
    launches.names.clear()
    with launches:
        loss(z, target).backward()
    assert [name for name in launches.names if name.endswith("_kernel")] == [f"{name}_kernel" for name in expected]
    assert len(launches.names) <= most
