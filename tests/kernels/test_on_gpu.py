"""What the interpreter cannot show: that the kernels compile for a GPU, and, where there is one, what a step does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMPILE = """
import contextlib, unittest.mock, torch
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaDriver
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction
from lightning_losses.functional import classification as losses
from lightning_losses.kernels import on_cuda

class NoDevice(CudaDriver):  # the way to a launch, without one
    def __init__(self): pass
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0
    def get_current_target(self): return GPUTarget("cuda", 80, 32)

def build(kernel, *args, grid, warmup, **kwargs):
    built.append(launch(kernel, *args, grid=grid, warmup=True, **kwargs))
    assert built[-1].asm["cubin"]

built, launch = [], JITFunction.run
driver.set_active(NoDevice())
unittest.mock.patch.object(JITFunction, "run", build).start()
unittest.mock.patch("torch.cuda.device_of", lambda _: contextlib.nullcontext()).start()

one, mask = torch.ones(()), torch.ones(4, dtype=torch.bool)
for dtype in (torch.bfloat16, torch.float32, torch.float64):
    for classes, used in ((1000, mask), (5000, None)):
        z = torch.randn(4, classes, dtype=dtype, requires_grad=True)
        shift = None if used is None else torch.ones(classes, dtype=torch.promote_types(dtype, torch.float32))
        on_cuda.target_loss(losses.CrossEntropy(), z, torch.ones(4, dtype=torch.long), used, shift).sum().backward()
    on_cuda.row_expectation(losses.CrossEntropy(), z, z.detach(), used, shift).sum().backward()
    on_cuda.element_loss(losses.CrossEntropy(), z, z > 0, one, z[0].detach(), z > 1).sum().backward()
z, phis = torch.randn(4, 1000), [losses.Focal(2.0), losses.ProbMAE()]
phis += [losses.GeneralizedCrossEntropy(0.7), losses.Poly1(-0.5), losses.TaylorCrossEntropy(2)]
for phi in phis:
    on_cuda.element_loss(phi, z, z, one, one)
for gamma in (0.5, 2.0, 3.5):  # a schedule compiles nothing anew
    on_cuda.row_expectation(losses.Focal(gamma), z, one.expand(1000), mask)
assert built[-1] is built[-2] is built[-3]
for dtype in (torch.int64, torch.bool, torch.bfloat16):
    on_cuda.checked_target(torch.ones(4096, dtype=dtype), 1000, -100, torch.zeros(()))
    on_cuda.checked_target(torch.ones(4, 1000, dtype=dtype), 1, -100)
"""
WAITS = """
import gpu, torch, lightning_losses as ll
for name in gpu.CORE:
    z, y = gpu.batch(128, 1000, torch.float32)
    _, waits = gpu.events(lambda: gpu.step(ll.get_loss(name), z, y))
    print(*waits)
"""
CHECKS = """
import gpu, torch
from lightning_losses.functional._options import Settings
from lightning_losses.functional._targets import element_target, hard_target, soft_target
z, y = gpu.batch(128, 1000, torch.float32)
share = torch.rand_like(z)
for check in (
    lambda: hard_target(Settings(), z, y.shape, z.shape, y),
    lambda: soft_target(Settings(), share),
    lambda: element_target(Settings(), share),
):
    kernels, waits = gpu.events(check)
    print(kernels, *waits)
"""


def output_of(script: str, cache: Path) -> list[str]:
    """Return the lines that the script prints where kernels are compiled."""
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    compiled["TRITON_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=BENCHMARKS, env=compiled, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
def test_the_kernels_compile(tmp_path) -> None:
    output_of(COMPILE, tmp_path)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
def test_nothing_waits_for_the_device(tmp_path) -> None:
    assert set(output_of(WAITS, tmp_path)) == {""}


@needs_gpu
def test_checking_a_target_is_one_kernel(tmp_path) -> None:
    assert output_of(CHECKS, tmp_path) == ["1"] * 3
