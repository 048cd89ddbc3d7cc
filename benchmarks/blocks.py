"""How large should the blocks be that the losses and the penalties work on?

Forward and backward of the focal loss beside torch's own cross entropies, and of L2 beside the plain loop, for several
sizes of a block. Writes `results/blocks.json`.

    python benchmarks/blocks.py
"""

from __future__ import annotations

import harness
import regularizers
import speed
import speed_binary
from torch.nn import functional as F

import lightning_losses as ll
from lightning_losses.functional import penalties
from lightning_losses.kernels import blocked, elements

WHAT = {
    "4096 x 10": (blocked, "BLOCK"),
    "1024 x 1000": (blocked, "BLOCK"),
    "512 x 32000": (blocked, "BLOCK"),
    "binary": (elements, "BLOCK"),
    "l2": (penalties, "_BLOCK"),
}
SIZES = [2**k for k in range(14, 21)]


def runs_of(what: str) -> tuple[harness.Run, harness.Run]:
    """Return a step of the base and one of ours."""
    if what == "l2":
        module = regularizers.network()
        return lambda: regularizers.plain_l2(module), lambda: regularizers.OURS["l2"].add_gradient_(module)
    if what == "binary":
        z, y = speed_binary.batch()
        base, ours = F.binary_cross_entropy_with_logits, ll.FocalLoss(alpha=0.25, task="binary")
    else:
        z, y = speed.batch(what)
        base, ours = F.cross_entropy, ll.FocalLoss()

    def step(loss) -> None:
        loss(z, y).backward()
        z.grad = None

    return lambda: step(base), lambda: step(ours)


def one_process(what: str, rounds: int) -> dict[str, float]:
    module, constant = WHAT[what]
    base, ours = runs_of(what)

    def with_blocks(size: int) -> None:
        setattr(module, constant, size)
        ours()

    chosen = getattr(module, constant)
    runs = {"base": base} | {f"{size}": lambda size=size: with_blocks(size) for size in SIZES}
    return {"chosen": chosen, **harness.ratios(runs, "base", rounds)}


if __name__ == "__main__":
    harness.measure_cases(__file__, __doc__, list(WHAT), one_process, corner="numbers in a block", processes=3)
