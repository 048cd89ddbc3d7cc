"""Which loss stands wrong labels? Fashion-MNIST with planted noise, six losses, three seeds.

The small network and the settings that Ma et al. (Normalized Loss Functions for Deep Learning with Noisy Labels, 2020)
publish for MNIST, on 6,000 training rows and 20 epochs where they take 60,000 and 50: a run takes a minute of one core.
Accuracy is on the clean test rows: after each epoch on the first 2,000, after the last five on all 10,000.
Started again, it goes on with the runs that are missing in `results/label_noise.json`.

    python benchmarks/evidence/label_noise.py FOLDER_OF_FASHION_MNIST
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import lightning as L
from runs import Runs, calibration, fit, outputs, probabilities

from lightning_losses.app.data import Part, build_data

LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"name": "ce"},
    "gce": {"name": "gce", "q": 0.7},
    "sce": {"name": "sce", "alpha": 0.01, "beta": 1.0},
    "nce+rce": {"name": "combined", "terms": {"nce": 1.0, "rce": 10.0}},
    "label smoothing": {"name": "ce", "label_smoothing": 0.1},
    "focal": {"name": "focal", "gamma": 0.5},
}
NOISES: dict[str, dict[str, Any]] = {
    "symmetric 0.6": {"rate": 0.6},
    "none": {"rate": 0.0},
    "symmetric 0.4": {"rate": 0.4},
    "pairs 0.4": {"rate": 0.4, "pairs": "next"},
    "symmetric 0.2": {"rate": 0.2},
    "symmetric 0.8": {"rate": 0.8},
}
SEEDS = range(3)
TOLD_FIRST = {"losses": ("ce", "gce", "sce"), "noises": ("symmetric 0.6", "none")}
SETTING: dict[str, Any] = {
    "data": {"name": "fashion_mnist", "rows": 6300, "val_fraction": 1 / 21, "batch_size": 128},
    "model": {"name": "cnn", "channels": [32, 64], "hidden": 128},
    "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "scheduler": {"name": "cosine", "eta_min": 0.001},
    "trainer": {"max_epochs": 20, "gradient_clip_val": 5.0, "precision": "bf16-mixed"},
    "losses": LOSSES,
}
FEW = 2000  # test rows after each epoch
LAST = 5  # epochs after which all test rows are judged


class Watch(L.Callback):
    """Keeps the accuracy on test rows."""

    def __init__(self, test: Part) -> None:
        self.test = test
        self.few: list[float] = []
        self.everything: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        last = trainer.current_epoch >= (trainer.max_epochs or 0) - LAST
        rows = len(self.test.y) if last else FEW
        with trainer.precision_plugin.forward_context():
            right = outputs(module, self.test.x[:rows]).argmax(1) == self.test.y[:rows]
        self.few.append(float(right[:FEW].float().mean()))
        if last:
            self.everything.append(float(right.float().mean()))


def measure(root: str, loss: str, noise: str, seed: int) -> dict[str, Any]:
    """Train once."""
    begin = time.process_time()
    fixed = {"root": root, "download": False, "seed": seed, "label_noise": NOISES[noise]}
    data = build_data({**SETTING["data"], **fixed})
    test = data.dataset.parts["test"]
    watch = Watch(test)
    module = fit(data, LOSSES[loss], SETTING, seed, watch)
    return {
        "accuracy": [round(value, 4) for value in watch.few],
        "last": [round(value, 4) for value in watch.everything],
        "calibration": {name: calibration(p, test.y) for name, p in probabilities(module, test.x).items()},
        "seconds": round(time.process_time() - begin, 1),
    }


def in_order() -> Iterator[dict[str, Any]]:
    """Yield the runs, the most telling first."""
    runs = [{"loss": loss, "noise": noise, "seed": seed} for seed in SEEDS for noise in NOISES for loss in LOSSES]
    return iter(sorted(runs, key=rank))


def rank(run: dict[str, Any]) -> tuple[int, bool]:
    """Return what runs are sorted by: the seed, and whether others tell more."""
    return run["seed"], run["loss"] not in TOLD_FIRST["losses"] or run["noise"] not in TOLD_FIRST["noises"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder of the four idx files; Debian: /usr/share/datasets/fashion-mnist")
    root = parser.parse_args().root
    Runs("label_noise", SETTING).complete(in_order(), lambda **key: measure(root, **key))


if __name__ == "__main__":
    main()
