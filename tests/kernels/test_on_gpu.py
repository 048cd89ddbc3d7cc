"""What only a GPU can show; skipped without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WAITS = """
import gpu, torch, lightning_losses as ll
for name in gpu.CORE:
    _, waits = gpu.events(ll.get_loss(name), *gpu.batch(128, 1000, torch.float32))
    print(*waits[:-1])  # the last is the profiler's own
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_the_device() -> None:
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", WAITS], cwd=BENCHMARKS, env=compiled, capture_output=True, text=True, check=True
    )
    assert not done.stdout.strip()
