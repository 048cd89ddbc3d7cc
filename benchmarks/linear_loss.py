"""What do the last linear layer and a focal loss cost, with and without the logits as a whole?

Hidden width 1024, 32,000 classes, 2048 rows, forward and backward, beside torch's chunked linear cross entropy, which
knows cross entropy alone. Writes `results/linear_loss.json`.

    python benchmarks/linear_loss.py
"""

from __future__ import annotations

import argparse
import json
import statistics

import harness
import torch
from torch import nn
from torch.nn import functional as F

import lightning_losses as ll
from lightning_losses.functional.linear import linear_loss

ROWS, WIDTH, CLASSES = 2048, 1024, 32000
BASE = "F.linear_cross_entropy, chunked"
FOCAL = ll.FocalLoss()
WAYS = {
    BASE: lambda h, w, y: F.linear_cross_entropy(h, w, y, options=nn.LinearCrossEntropyOptions()),
    "linear_loss, focal": lambda h, w, y: linear_loss(h, w, None, y, FOCAL),
    "linear, then focal": lambda h, w, y: FOCAL(F.linear(h, w), y),
}


def one_process(way: str) -> dict[str, float]:
    """Return peak memory and seconds of one way, which a process's peak memory can tell of one way only."""
    torch.manual_seed(0)
    hidden = torch.randn(ROWS, WIDTH, requires_grad=True)
    weight = torch.randn(CLASSES, WIDTH).mul_(0.02).requires_grad_()
    target = torch.randint(CLASSES, (ROWS,))

    def step() -> None:
        WAYS[way](hidden, weight, target).backward()
        hidden.grad = weight.grad = None

    peak = harness.peak_bytes(step)
    return {"bytes": peak, "seconds": min(harness.seconds_of(step, 1) for _ in range(3))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help="measure this one in this process, for the benchmark itself")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(one_process(arguments.way)))
        return
    turns = [
        {way: harness.in_process(__file__, "--way", way, threads=arguments.threads) for way in WAYS}
        for _ in range(arguments.processes)
    ]
    rows = {
        way: {
            "time ratio": statistics.median(turn[way]["seconds"] / turn[BASE]["seconds"] for turn in turns),
            "memory ratio": statistics.median(turn[way]["bytes"] / turn[BASE]["bytes"] for turn in turns),
            "peak MiB": statistics.median(turn[way]["bytes"] / 2**20 for turn in turns),
            "seconds": statistics.median(turn[way]["seconds"] for turn in turns),
        }
        for way in WAYS
    }
    harness.write("linear_loss", __doc__.splitlines()[0], arguments.threads, rows, "way", arguments.processes)


if __name__ == "__main__":
    main()
