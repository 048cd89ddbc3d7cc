"""How does the time of a loss grow with the number of rows and of classes?

Forward and backward; the exponent is the slope of a line through the upper half of the sizes on logarithmic axes, where
fixed costs no longer matter. Writes `results/growth.json` and the plot `results/growth.svg`.

    python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import json
import math
import statistics

import harness
import matplotlib.pyplot as plt
import plots
import torch
from speed import LOSSES
from torch.nn import functional as F

BASE = "F.cross_entropy"
SIZES = {
    "rows, of 10 classes": [(2**k, 10) for k in range(7, 20, 2)],
    "rows, of 1000 classes": [(2**k, 1000) for k in range(3, 15, 2)],
    "classes, of 256 rows": [(256, 2**k) for k in range(1, 17, 3)],
}
CANDIDATES = {BASE: F.cross_entropy, "ce": LOSSES["ce"], "focal": LOSSES["focal"], "sce": LOSSES["sce"]}


def one_process(growth: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each loss at each size."""
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for rows, classes in SIZES[growth]:
        torch.manual_seed(0)
        z, y = torch.randn(rows, classes, requires_grad=True), torch.randint(classes, (rows,))

        def step(loss, z=z, y=y) -> None:
            loss(z, y).backward()
            z.grad = None

        turns = harness.take_turns({name: lambda f=f: step(f) for name, f in CANDIDATES.items()}, rounds)
        for name, value in turns.items():
            seconds[name].append(value)
    return seconds


def exponent(sizes: list[int], seconds: list[float]) -> float:
    upper = slice(len(sizes) // 2, None)
    line = statistics.linear_regression([math.log(s) for s in sizes[upper]], [math.log(s) for s in seconds[upper]])
    return line.slope


def counts(growth: str) -> list[int]:
    """Return the numbers that grow."""
    return [classes if growth.startswith("classes") else rows for rows, classes in SIZES[growth]]


def plot(figures: dict[str, dict[str, list[float]]]) -> None:
    figure, axes = plt.subplots(1, len(figures), figsize=(4 * len(figures), 3.6), layout="constrained", sharey=True)
    for axis, (growth, seconds) in zip(axes, figures.items(), strict=True):
        for name, values in seconds.items():
            label = f"{name}: {exponent(counts(growth), values):.2f}"
            axis.loglog(counts(growth), [1000 * v for v in values], "o-", markersize=3, label=label)
        axis.set_xlabel(f"number of {growth}")
        axis.minorticks_off()  # thousands of lines in the file
        axis.grid(alpha=0.3)
        axis.legend(title="exponent", fontsize=8, frameon=False)
    axes[0].set_ylabel("ms, forward and backward")
    plots.save(figure, "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--growth", choices=SIZES, help="measure this one in this process, for the benchmark itself")
    arguments = parser.parse_args()
    if arguments.growth:
        print(json.dumps(one_process(arguments.growth, arguments.rounds)))
        return
    figures = {}
    for growth in SIZES:
        ways = ("--growth", growth, "--rounds", str(arguments.rounds))
        runs = [harness.in_process(__file__, *ways, threads=arguments.threads) for _ in range(arguments.processes)]
        figures[growth] = {n: [statistics.median(s) for s in zip(*(r[n] for r in runs), strict=True)] for n in runs[0]}
    plot(figures)
    rows = {g: {name: exponent(counts(g), s) for name, s in figures[g].items()} for g in SIZES}
    harness.write(
        "growth", __doc__.splitlines()[0], arguments.threads, rows, "exponent of the number of", arguments.processes
    )


if __name__ == "__main__":
    main()
