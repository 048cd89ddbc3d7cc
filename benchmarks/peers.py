"""How long do other libraries' focal losses, and the plain formulas, take beside `F.cross_entropy`?

Multiclass, forward and backward of the mean, each through its public call. The plain formulas are what one writes by
hand, eager and compiled. Writes `results/peers.json`; in an environment of its own, `make bench`.

    python benchmarks/peers.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version

import harness
import torch
from imbalanced_losses import SoftmaxFocalLoss
from kornia.losses import focal_loss as kornia_focal_loss
from monai.losses import FocalLoss as MonaiFocalLoss
from speed import BASE, SHAPES, batch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll

Loss = Callable[[Tensor, Tensor], Tensor]
MONAI_FOCAL = MonaiFocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)


def plain_focal(z: Tensor, y: Tensor) -> Tensor:
    log_p = F.log_softmax(z, dim=1).gather(1, y.unsqueeze(1)).squeeze(1)
    return ((1 - log_p.exp()) ** 2 * -log_p).mean()


def plain_sce(z: Tensor, y: Tensor) -> Tensor:
    """As tutorials write it: with one-hot labels, clamped at 1e-4."""
    p = z.softmax(dim=1).clamp(1e-7, 1)
    label = F.one_hot(y, z.shape[1]).to(p).clamp(1e-4, 1)
    return F.cross_entropy(z, y) - (p * label.log()).sum(dim=1).mean()


LOSSES: dict[str, Loss] = {
    BASE: F.cross_entropy,
    "focal, ours": ll.FocalLoss(),
    "focal, plain": plain_focal,
    "focal, plain, compiled": torch.compile(plain_focal),
    f"focal, kornia {version('kornia')}": lambda z, y: kornia_focal_loss(z, y, alpha=None, reduction="mean"),
    f"focal, monai {version('monai')}": lambda z, y: MONAI_FOCAL(z, y.unsqueeze(1)),
    f"focal, imbalanced-losses {version('imbalanced-losses')}": SoftmaxFocalLoss(gamma=2.0),
    "sce, ours": ll.SymmetricCrossEntropyLoss(),
    "sce, plain": plain_sce,
    "sce, plain, compiled": torch.compile(plain_sce),
}


def one_process(shape: str, rounds: int) -> dict[str, float]:
    z, y = batch(shape)

    def step(loss: Loss) -> None:
        loss(z, y).backward()
        z.grad = None

    return harness.ratios({name: lambda loss=loss: step(loss) for name, loss in LOSSES.items()}, BASE, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", choices=SHAPES, help="measure this one in this process, for the benchmark itself")
    arguments = parser.parse_args()
    if arguments.shape:
        print(json.dumps(one_process(arguments.shape, arguments.rounds)))
        return
    how_often = {"processes": arguments.processes, "threads": arguments.threads}
    rows = {
        shape: harness.median_of_processes(__file__, "--shape", shape, "--rounds", str(arguments.rounds), **how_often)
        for shape in SHAPES
    }
    harness.write("peers", __doc__.splitlines()[0], arguments.threads, rows, "shape")


if __name__ == "__main__":
    main()
