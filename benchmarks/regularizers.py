"""What do penalties cost, value and gradient, beside the plain loop of the tutorials and beside an SGD step?

26 million parameters in 130 matrices. The plain loop adds `f * w.abs().sum()` and `0.5 * g * w.pow(2).sum()` for each
matrix and differentiates the sum; ours adds the gradient to `.grad` without a graph. Memory is what the call needs
beyond the parameters and their gradients.

An L2 penalty cannot be cheaper than the SGD step, which also reads weights and gradients and writes one of them; its
value is one more pass over weights that are still in a cache. What did not make that pass cheaper, on one thread:
blocks that a core's second cache holds (views and calls cost more than the memory saves), dot products of short pieces,
batched products of rows, `_foreach_norm`. `torch.dot` of whole matrices takes as long as the norms of rows that are
used, but of equal numbers it loses digits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from harness import median_of_processes, peak_bytes, ratios, write
from torch import nn

from lightning_losses.regularizers import L2, ElasticNet, ParameterRegularizer

MATRICES, SIDE = 130, 447
FACTOR = 1e-4


def network() -> nn.Module:
    """Return 26 million parameters, with gradients."""
    module = nn.ModuleList(nn.Linear(SIDE, SIDE, bias=False) for _ in range(MATRICES))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return module


def plain_elastic_net(module: nn.Module) -> None:
    value = sum(FACTOR * w.abs().sum() + 0.5 * FACTOR * w.pow(2).sum() for w in module.parameters())
    value.backward()


def plain_l2(module: nn.Module) -> None:
    sum(0.5 * FACTOR * w.pow(2).sum() for w in module.parameters()).backward()


PLAIN: dict[str, Callable[[nn.Module], None]] = {"elastic net": plain_elastic_net, "l2": plain_l2}
OURS: dict[str, ParameterRegularizer] = {"elastic net": ElasticNet(FACTOR, FACTOR), "l2": L2(FACTOR)}


def figures(penalty: str, rounds: int) -> dict[str, float]:
    """Return times as ratios to the plain loop, in this process."""
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    runs = {
        "plain": lambda: PLAIN[penalty](module),
        "ours": lambda: OURS[penalty].add_gradient_(module),
        "SGD step": optimizer.step,
    }
    return ratios(runs, "plain", rounds)


def memory(penalty: str, way: str) -> dict[str, float]:
    """Return peak memory beyond parameters and gradients, in largest parameters, in this process."""
    run = {"plain": PLAIN[penalty], "ours": OURS[penalty].add_gradient_}[way]
    run(network())  # what torch loads at its first call of this size is not the penalty's
    module = network()
    return {f"{way}, extra memory in matrices": peak_bytes(lambda: run(module)) / (4 * SIDE * SIDE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--figures", choices=[*PLAIN])
    parser.add_argument("--memory", choices=["plain", "ours"])
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(memory(arguments.figures, arguments.memory)))
    elif arguments.figures:
        print(json.dumps(figures(arguments.figures, arguments.rounds)))
    else:
        rows = {}
        for penalty in PLAIN:
            common = {"processes": arguments.processes, "threads": arguments.threads}
            rows[penalty] = median_of_processes(
                __file__, "--figures", penalty, "--rounds", str(arguments.rounds), **common
            )
            for way in ("plain", "ours"):
                rows[penalty] |= median_of_processes(__file__, "--figures", penalty, "--memory", way, **common)
        write("regularizers", __doc__.splitlines()[0], arguments.threads, rows, "penalty", arguments.processes)


if __name__ == "__main__":
    main()
