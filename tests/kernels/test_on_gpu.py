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
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from lightning_losses.kernels import on_cuda

def build(kernel, types, **constants):
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    assert compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": on_cuda.WARPS}).asm["cubin"]

sizes = dict.fromkeys(["rows", "classes", "width", "row_stride", "class_stride", "column_stride"], "i32")
for dtype, computed in (("bf16", "fp32"), ("fp32", "fp32"), ("fp64", "fp64")):
    numbers = dict.fromkeys(["shift", "against", "peak", "target_gap", "others", "grad", "descent"], f"*{computed}")
    types = sizes | numbers | {"logits": f"*{dtype}", "gradient": f"*{dtype}", "target": "*i64", "used": "*i1"}
    for kernel in (on_cuda._forward_kernel, on_cuda._backward_kernel):
        build(kernel, types, ROWS=4, WIDTH=1024)
        build(kernel, types, ROWS=1, WIDTH=4096, used=None, shift=None)
for dtype, computed in (("i64", "i64"), ("u8", "i64"), ("i1", "i64"), ("bf16", "fp32"), ("fp32", "fp32")):
    types = sizes | {"target": f"*{dtype}", "values": f"*{computed}", "used": "*i1", "bad": "*i1", "worst": "*fp32"}
    types |= {"largest": "i32", "ignored": "i32"}
    build(on_cuda._target_kernel, types, ROWS=4096, WIDTH=1)
    build(on_cuda._target_kernel, types, ROWS=4, WIDTH=1024, largest=1, worst=None)
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
