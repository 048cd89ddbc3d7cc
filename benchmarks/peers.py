"""How long do other libraries' focal losses, and the plain formulas, take beside `F.cross_entropy`?

Multiclass, forward and backward of the mean, each through its public call. The plain formulas are what one writes by
hand, eager and compiled. Writes `results/peers.json`; in an environment of its own, `make bench`.

    python benchmarks/peers.py
"""

from __future__ import annotations

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


if __name__ == "__main__":
    harness.measure_cases(__file__, __doc__, list(SHAPES), one_process, corner="shape", processes=5)
