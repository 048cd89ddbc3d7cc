"""From which size on should `torch.compile` leave the loss to the blocks of rows, and is that faster than its formula?

Forward and backward of the focal loss, compiled in one graph, beside `F.cross_entropy` compiled: once with the plain
formula, once with the operation that works in blocks of rows; and the loss without a compiler. Writes
`results/compiled.json`.

    python benchmarks/compiled.py
"""

from __future__ import annotations

import harness
import torch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from lightning_losses.kernels import compiled

SHAPES = {
    f"{rows} x {classes}": (rows, classes)
    for rows, classes in ((256, 1000), (1024, 1000), (4096, 1000), (128, 32000), (512, 32000))
}
BASE = "F.cross_entropy, compiled"
LEAST = compiled.LEAST


def compiled_focal(least: int):
    """Return the compiled loss in which blocks begin at so many logits."""
    loss = torch.compile(ll.FocalLoss(), fullgraph=True)

    def run(z: Tensor, y: Tensor) -> Tensor:
        compiled.LEAST = least  # at each call: with another number it would be compiled anew
        return loss(z, y)

    return run


def one_process(shape: str, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    rows, classes = SHAPES[shape]
    z, y = torch.randn(rows, classes, requires_grad=True), torch.randint(classes, (rows,))
    losses = {
        BASE: torch.compile(F.cross_entropy),
        "focal, formula": compiled_focal(rows * classes + 1),
        "focal, blocks": compiled_focal(0),
        "focal, not compiled": ll.FocalLoss(),
    }

    def step(loss) -> None:
        loss(z, y).backward()
        z.grad = None

    runs = {name: lambda loss=loss: step(loss) for name, loss in losses.items()}
    return {"logits": rows * classes, "chosen": LEAST, **harness.ratios(runs, BASE, rounds)}


if __name__ == "__main__":
    harness.measure_cases(__file__, __doc__, list(SHAPES), one_process, corner="shape", processes=3)
