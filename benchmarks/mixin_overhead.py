"""What the mixin costs: a training step with ObjectiveMixin against the same LightningModule written by hand.

Both train the same network with the same focal loss, L1 and L2 penalty, parameter groups and logged values, through
Lightning's Trainer. Epochs of the two take turns; the ratio is taken pair by pair, and its median is the figure. What
it costs to log a term: the same with each step recorded, which logs the penalties too, over one whose steps are not.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import torch
from harness import write
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

import lightning_losses as ll

TERMS = 2  # that only a recorded step logs: the penalties


class Batches:
    """The same batch again and again: a step's own cost, without a loader's."""

    def __init__(self, features: int, rows: int, steps: int) -> None:
        self.batch = torch.randn(rows, features), torch.randint(10, (rows,))
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        return iter([self.batch] * self.steps)


def network(features: int, width: int) -> nn.Sequential:
    layers = [nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(*layers)


class WithMixin(ll.ObjectiveMixin, LightningModule):
    def __init__(self, features: int, width: int) -> None:
        optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}
        super().__init__(loss="focal", regularizer={"l1": 1e-4, "l2": 1e-4}, optimizer=optimizer)
        self.net = network(features, width)

    def forward(self, x):
        return self.net(x)


class ByHand(LightningModule):
    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.net = network(features, width)
        self.loss = ll.FocalLoss()

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.loss(self.net(x), y)
        kernels = [p for name, p in self.named_parameters() if not name.endswith("bias")]
        l1 = 1e-4 * sum(p.abs().sum() for p in kernels)
        l2 = 0.5e-4 * sum(p.square().sum() for p in kernels)
        objective = loss + l1 + l2
        values = {"loss": loss, "objective": objective, "regularizer/l1": l1, "regularizer/l2": l2}
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()}, on_epoch=True)
        return objective

    def configure_optimizers(self):
        decay = [p for name, p in self.named_parameters() if not name.endswith("bias")]
        rest = [p for name, p in self.named_parameters() if name.endswith("bias")]
        groups = [{"params": decay, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-3)


class Clock(Callback):
    """Seconds of each training epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        self.seconds.append(time.perf_counter() - self.start)


def epoch(
    cls: type[LightningModule], features: int, width: int, rows: int, steps: int, record_every: int = 50
) -> float:
    """Return the seconds of a step in the second of two epochs."""
    clock = Clock()
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = Trainer(max_epochs=2, accelerator="cpu", callbacks=[clock], log_every_n_steps=record_every, **quiet)
    trainer.fit(cls(features, width), Batches(features, rows, steps))
    return clock.seconds[1] / steps


def measure(pairs: int, steps: int) -> dict[str, dict[str, float]]:
    cases = {
        "61-parameter scale: 2 features, width 8, 100 rows": (2, 8, 100),
        "small: 64 features, width 64, 128 rows": (64, 64, 128),
        "medium: 512 features, width 1024, 256 rows": (512, 1024, 256),
    }
    results = {}
    for name, case in cases.items():
        count = steps if case[1] < 1000 else steps // 8
        epoch(WithMixin, *case, count), epoch(ByHand, *case, count)
        seconds = [(epoch(WithMixin, *case, count), epoch(ByHand, *case, count)) for _ in range(pairs)]
        ratios = [mixin / hand for mixin, hand in seconds]
        low, _, high = statistics.quantiles(ratios, n=4)
        ratio = statistics.median(ratios)
        recorded = [epoch(WithMixin, *case, count, 1) - epoch(WithMixin, *case, count, 10**9) for _ in range(5)]
        results[name] = {
            "mixin / by hand": ratio,
            "quartile 1": low,
            "quartile 3": high,
            "pairs": pairs,
            "us a step by hand": 1e6 * statistics.median(hand for _, hand in seconds),
            "us to log a term": 1e6 * statistics.median(recorded) / TERMS,
        }
        print(f"{name}: {ratio:.3f} (quartiles {low:.3f} to {high:.3f})", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    results = measure(arguments.pairs, arguments.steps)
    write("mixin_overhead", __doc__.splitlines()[0], torch.get_num_threads(), results, "network")


if __name__ == "__main__":
    main()
