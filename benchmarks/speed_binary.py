"""How long does the binary focal loss take beside torchvision's formula and torch's own binary cross entropy?

Forward and backward of a million elements, labels 0 and 1. Writes `results/speed_binary.json`.

    python benchmarks/speed_binary.py
"""

from __future__ import annotations

import argparse
import json

import harness
import torch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll

ELEMENTS = 2**20
BASE = "F.binary_cross_entropy_with_logits"


def sigmoid_focal_loss(z: Tensor, y: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """torchvision.ops.sigmoid_focal_loss, reduction "mean"."""
    p = torch.sigmoid(z)
    cross_entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    p_t = p * y + (1 - p) * (1 - y)
    loss = cross_entropy * ((1 - p_t) ** gamma)
    return ((alpha * y + (1 - alpha) * (1 - y)) * loss).mean()


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(ELEMENTS, requires_grad=True), torch.randint(2, (ELEMENTS,)).float()


def one_process(rounds: int) -> dict[str, float]:
    z, y = batch()

    def step(loss) -> None:
        loss(z, y).backward()
        z.grad = None

    losses = {
        BASE: F.binary_cross_entropy_with_logits,
        "torchvision's formula": sigmoid_focal_loss,
        "focal": ll.FocalLoss(alpha=0.25, task="binary"),
        "bce": ll.BinaryCrossEntropyLoss(),
    }
    result = harness.ratios({name: lambda loss=loss: step(loss) for name, loss in losses.items()}, BASE, rounds)
    result["focal / torchvision's"] = result["focal"] / result["torchvision's formula"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="measure in this process, for the benchmark itself")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(one_process(arguments.rounds)))
        return
    figures = harness.median_of_processes(
        __file__,
        "--here",
        "--rounds",
        str(arguments.rounds),
        processes=arguments.processes,
        threads=arguments.threads,
    )
    rows = {f"{ELEMENTS} elements": figures}
    harness.write("speed_binary", __doc__.splitlines()[0], arguments.threads, rows, "size", arguments.processes)


if __name__ == "__main__":
    main()
