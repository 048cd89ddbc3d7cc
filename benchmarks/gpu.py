"""How long do the losses take on a GPU, and how much memory, beside `F.cross_entropy` and the device's bandwidth?

Forward and backward of every core loss through the public function, of the plain formula under `torch.compile`, and of
Liger's cross entropy where it is installed. Before any timing the kernels are compared with float64, and the profiler
looks for anything that waits for the GPU. Writes `results/gpu.json` after each shape; needs a GPU with Triton.

    python benchmarks/gpu.py
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable

import harness
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import lightning_losses as ll
from lightning_losses.functional.classification import Focal
from lightning_losses.kernels import plain

Loss = Callable[[Tensor, Tensor], Tensor]

SHAPES = [
    (rows, classes, dtype)
    for dtype in (torch.bfloat16, torch.float32)
    for rows, classes in ((8192, 32000), (8192, 128000))
]
CORE = ["ce", "focal", "sce", "rce", "gce", "prob_mae", "poly1", "taylor_ce"]
BASE = "F.cross_entropy"
WAITS = ("StreamSynchronize", "EventSynchronize", "Memcpy DtoH")  # the profiler itself ends in a DeviceSynchronize


def candidates() -> dict[str, Loss]:
    compiled = torch.compile(lambda z, y: plain.target_loss(Focal(2.0), z, y).mean(), dynamic=False)
    losses: dict[str, Loss] = {BASE: F.cross_entropy, **{name: ll.get_loss(name) for name in CORE}}
    losses["plain focal, compiled"] = compiled
    if importlib.util.find_spec("liger_kernel") is not None:
        from liger_kernel.transformers.functional import liger_cross_entropy  # noqa: PLC0415

        losses["Liger"] = liger_cross_entropy  # the last: it writes its gradient over the logits
    return losses


def batch(rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    z = torch.randn(rows, classes, device="cuda", dtype=dtype)
    return z, torch.randint(classes, (rows,), device="cuda")


def step(loss: Loss, z: Tensor, y: Tensor) -> Tensor:
    leaf = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, y), leaf)
    return gradient


def seconds(run: harness.Run, repeats: int = 10, rounds: int = 5) -> float:
    """Return the median over rounds of the mean seconds of a run by the GPU's clock; runs queue as in training."""
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000 / repeats)
    return statistics.median(times)


def peak_bytes(run: harness.Run) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def gradient_error(loss: Loss, dtype: torch.dtype) -> float:
    """Return the error of the gradient relative to float64 on the CPU, with ignored rows that hold NaN."""
    z, y = batch(64, 5003, dtype)
    z[1::3, 0] += 12
    z[5], y[5] = torch.nan, -100
    exact = step(loss, z.cpu().double(), y.cpu())
    return ((step(loss, z, y).cpu().double() - exact).norm() / exact.norm()).item()


def events(run: harness.Run) -> tuple[int, list[str]]:
    """Return how many kernels a run launches, and what in it waits for the GPU."""
    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
    names = [event.name for event in profiler.events() or ()]
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events() or ())
    return kernels, [name for name in names if any(wait in name for wait in WAITS)]


def check() -> None:
    for name in CORE:
        loss = ll.get_loss(name)
        for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
            if not (error := gradient_error(loss, dtype)) <= allowed:
                sys.exit(f"{name}: gradient in {dtype} is off by {error:.1e}")
        z, y = batch(128, 1000, torch.float32)
        kernels, waits = events(lambda loss=loss, z=z, y=y: step(loss, z, y))
        print(f"{name}: {kernels} kernels a step, waits for the GPU: {waits or 'none'}")


def figures(run: harness.Run, size: int, copy_rate: float) -> dict[str, float]:
    """Return what is measured of a run on logits of `size` bytes, nothing if it fails: the others' still count."""
    try:
        run()  # compiles
    except (RuntimeError, TypeError) as error:
        print(f"not measured: {error}")
        return {}
    time = seconds(run)
    return {
        "seconds": time,
        "bandwidth share": 3 * size / time / copy_rate,  # at least two reads and a write
        "memory beyond the gradient, of the logits": peak_bytes(run) / size - 1,
    }


def one_shape(rows: int, classes: int, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    z, y = batch(rows, classes, dtype)
    size = z.numel() * z.element_size()
    z.clone()
    copy_rate = 2 * size / seconds(z.clone)
    measured = {
        name: figures(lambda loss=loss: step(loss, z, y), size, copy_rate) for name, loss in candidates().items()
    }
    base, case = measured[BASE]["seconds"], f"{rows} x {classes} {str(dtype).removeprefix('torch.')}"
    return {f"{case}, {name}": {"ratio": f["seconds"] / base, **f} for name, f in measured.items() if f}


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("no GPU here: nothing is measured")
    if importlib.util.find_spec("triton") is None:
        sys.exit("triton is missing: pip install 'lightning-losses[gpu]'")
    print(torch.cuda.get_device_name())
    check()
    results: dict[str, dict[str, float]] = {}
    for shape in SHAPES:
        results |= one_shape(*shape)
        harness.write("gpu", __doc__.splitlines()[0], torch.get_num_threads(), results, torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
