"""How long do the losses take, forward and backward, beside `F.cross_entropy`?

Through the public function (and, for the smallest batch, the module) with all checks on, and a copy of the logits for
scale; of half logits also the error of the gradient beside that of `F.cross_entropy`, each against its own in float64.
Writes `results/speed.json`.

    python benchmarks/speed.py
"""

from __future__ import annotations

import argparse
import json

import harness
import torch
from torch.nn import functional as F

import lightning_losses as ll

SHAPES = {
    "128 x 10": (128, 10, torch.float32),
    "4096 x 10": (4096, 10, torch.float32),
    "1024 x 1000": (1024, 1000, torch.float32),
    "512 x 32000": (512, 32000, torch.float32),
    "512 x 32000 bf16": (512, 32000, torch.bfloat16),
}
LOSSES = {
    "ce": ll.functional.cross_entropy_loss,
    "focal": ll.functional.focal_loss,
    "sce": ll.functional.symmetric_cross_entropy_loss,
    "gce": ll.functional.generalized_cross_entropy_loss,
    "poly1": ll.functional.poly1_loss,
}
BASE = "F.cross_entropy"


def batch(shape: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows, classes, dtype = SHAPES[shape]
    torch.manual_seed(0)
    return torch.randn(rows, classes).to(dtype).requires_grad_(), torch.randint(classes, (rows,))


def one_process(shape: str, rounds: int) -> dict[str, float]:
    z, y = batch(shape)
    copy = torch.empty_like(z)

    def step(loss) -> None:
        loss(z, y).backward()
        z.grad = None

    runs = {BASE: lambda: step(F.cross_entropy)}
    runs |= {name: lambda loss=loss: step(loss) for name, loss in LOSSES.items()}
    if len(z) == 128:
        modules = {name: ll.get_loss(name) for name in LOSSES}
        runs |= {f"{name} module": lambda loss=loss: step(loss) for name, loss in modules.items()}
    runs["copy"] = lambda: copy.copy_(z.detach())
    return harness.ratios(runs, BASE, rounds)


def memory(shape: str, name: str) -> dict[str, float]:
    """Peak memory of a step beyond the logits and their gradient, as a share of the logits."""
    z, y = batch(shape)
    LOSSES[name](z, y).backward()  # what torch loads at its first call
    z.grad = None
    own = z.numel() * z.element_size()
    return {"share": harness.peak_bytes(lambda: LOSSES[name](z, y).backward()) / own - 1}


def gradient_error(loss, z: torch.Tensor, y: torch.Tensor) -> float:
    """The mean absolute error of the gradient, as a share of its mean absolute value."""
    exact = z.detach().double().requires_grad_()
    (gradient,), (reference,) = (torch.autograd.grad(loss(x, y), x) for x in (z, exact))
    return ((gradient - reference).abs().mean() / reference.abs().mean()).item()


def errors(shape: str) -> dict[str, float]:
    """The error of each gradient over that of `F.cross_entropy`."""
    base = gradient_error(F.cross_entropy, *batch(shape))
    return {f"{name} error": gradient_error(loss, *batch(shape)) / base for name, loss in LOSSES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", help="only these; the others' rows stay as they are")
    parser.add_argument("--shape", choices=SHAPES, help="measure this one in this process, for the benchmark itself")
    parser.add_argument("--memory", choices=LOSSES, help="likewise, the peak memory of this loss")
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(memory(arguments.shape, arguments.memory)))
    elif arguments.shape:
        print(json.dumps(one_process(arguments.shape, arguments.rounds)))
    else:
        rounds, how_often = str(arguments.rounds), {"processes": arguments.processes, "threads": arguments.threads}
        shapes = arguments.shapes or list(SHAPES)
        rows = {shape: row for shape, row in harness.earlier("speed").items() if shape not in shapes}
        for shape in shapes:
            rows[shape] = harness.median_of_processes(__file__, "--shape", shape, "--rounds", rounds, **how_often)
            for name in LOSSES if SHAPES[shape][1] >= 1000 else ():
                share = harness.in_process(__file__, "--shape", shape, "--memory", name, threads=arguments.threads)
                rows[shape][f"{name} memory"] = share["share"]
            if SHAPES[shape][2] == torch.bfloat16:
                rows[shape] |= errors(shape)
        rows = {shape: rows[shape] for shape in SHAPES if shape in rows}
        harness.write("speed", __doc__.splitlines()[0], arguments.threads, rows, "shape", arguments.processes)


if __name__ == "__main__":
    main()
