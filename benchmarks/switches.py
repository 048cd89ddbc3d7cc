"""Do the numbers at which the kernels take another way lie where they should?

Forward and backward with each number as it is, smaller and larger, on a batch just below and one just above it; the
time is that beside the number as it is. (`compiled.py` has that of compiled code.) Writes `results/switches.json`.

    python benchmarks/switches.py
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import harness
import torch
from torch import Tensor

import lightning_losses as ll
from lightning_losses.kernels import blocked, linear

FACTORS = {"/ 16": 1 / 16, "/ 4": 1 / 4, "as it is": 1, "x 4": 4, "x 16": 16}
BASE = "as it is"


class Case(NamedTuple):
    """The constant, and shape of the batch; of a linear layer also the width of what goes into it."""

    module: ModuleType
    constant: str
    rows: int
    classes: int
    width: int | None = None


CASES = {
    "gradient kept, 1024 x 1000": Case(blocked, "KEPT", 1024, 1000),
    "gradient kept, 4096 x 1000": Case(blocked, "KEPT", 4096, 1000),
    "gradient kept, 512 x 32000": Case(blocked, "KEPT", 512, 32000),
    "softmax of float32, 8192 x 32": Case(blocked, "WIDE", 8192, 32),
    "softmax of float32, 4096 x 100": Case(blocked, "WIDE", 4096, 100),
    "softmax of float32, 512 x 1000": Case(blocked, "WIDE", 512, 1000),
    "rows of a linear layer, width 64": Case(linear, "LEAST_ROWS", 2048, 8000, 64),
}


def step_of(case: Case) -> harness.Run:
    """Return forward and backward of a focal loss."""
    torch.manual_seed(0)
    x = torch.randn(case.rows, case.width or case.classes, requires_grad=True)
    loss, y = ll.FocalLoss(), torch.randint(case.classes, (case.rows,))
    if case.width:
        loss = ll.LinearLoss(loss, case.width, case.classes)

    def step(x: Tensor = x, y: Tensor = y) -> None:
        loss(x, y).backward()
        x.grad = None
        loss.zero_grad()

    return step


def one_process(name: str, rounds: int) -> dict[str, float]:
    case = CASES[name]
    step, number = step_of(case), getattr(case.module, case.constant)

    def with_number(factor: float) -> None:
        setattr(case.module, case.constant, int(number * factor))
        step()

    runs = {label: lambda factor=factor: with_number(factor) for label, factor in FACTORS.items()}
    return {"number": number, **harness.ratios(runs, BASE, rounds)}


if __name__ == "__main__":
    harness.measure_cases(__file__, __doc__, list(CASES), one_process, corner="what, and the batch", processes=3)
