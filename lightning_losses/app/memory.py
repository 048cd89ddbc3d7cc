"""The most memory that was in use since a moment."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
MB = 2**20


def forget_peak() -> None:
    """Start anew, so that a job in the same process does not report the peak of the one before it.

    A module and its trainer hold each other: until they are collected, all jobs of a sweep would be in memory.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # no Linux, or a sandbox: the peak is then that of the process so far
        (PROCESS / "clear_refs").write_text("5")


def peak_memory() -> dict[str, float | None]:
    """Return the peak in MB of the whole `process`, known on Linux, and of tensors on the `gpu`, where there is one."""
    lines = (PROCESS / "status").read_text().splitlines() if PROCESS.is_dir() else []
    peaks = [float(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmHWM")]
    return {
        "process": peaks[0] if peaks else None,
        "gpu": torch.cuda.max_memory_allocated() / MB if torch.cuda.is_available() else None,
    }
