"""Which loss finds classes of a few rows? Statlog's Shuttle, seven classes from 45,586 rows down to 10, three seeds.

Five folds, so that each row is judged by a network that has not seen it: the rarest class trains on 8 rows. Beside the
losses cross entropy with a balanced sampler, and scikit-learn's logistic regression and gradient-boosted trees on the
same rows. Started again, it goes on with what is missing in `results/shuttle.json`.

The file is one of R's, in Debian's package r-cran-mlbench, and is read by the package rdata:

    apt-get download r-cran-mlbench && dpkg-deb -x r-cran-mlbench_*.deb mlbench && pip install rdata
    python benchmarks/evidence/shuttle.py mlbench/usr/lib/R/site-library/mlbench/data/Shuttle.rda
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from runs import REFERENCES, Runs, fit, probabilities, reference

from lightning_losses.app.data import build_data

LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"name": "ce"},
    "balanced": {"name": "ce", "weight": "balanced"},
    "ldam": {"name": "ldam"},
    "logit_adjusted": {"name": "logit_adjusted"},
    "effective_number": {"name": "ce", "weight": "effective_number"},
    "focal": {"name": "focal", "gamma": 2.0},
}
SAMPLER = "ce, balanced sampler"
SEEDS = range(3)
SETTING: dict[str, Any] = {
    "data": {"name": "csv", "target": "Class", "batch_size": 1024, "folds": 5},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "optimizer": {"name": "adamw", "lr": 0.003, "weight_decay": 0.01},
    "scheduler": {"name": "cosine"},
    "trainer": {"max_epochs": 10},
    "losses": LOSSES,
}


def convert(source: str, folder: str) -> str:
    """Write the table of an .rda file as CSV and return the path."""
    import rdata  # noqa: PLC0415  whoever reads the results does without

    path = Path(folder) / "shuttle.csv"
    rdata.read_rda(source, default_encoding="ascii")["Shuttle"].to_csv(path, index=False)
    return str(path)


def measure(path: str, method: str, seed: int, fold: int) -> dict[str, Any]:
    """Train on the other folds and decide for the rows of this one."""
    begin = time.process_time()
    sampler = "balanced" if method == SAMPLER else None
    data = build_data({**SETTING["data"], "path": path, "seed": seed, "fold": fold, "sampler": sampler})
    val = data.dataset.parts["val"]
    if method in REFERENCES:
        said = reference(method, data.dataset, val.x)
    else:
        said = probabilities(fit(data, LOSSES.get(method, LOSSES["ce"]), SETTING, seed), val.x)
    # a model decides by the outputs that it was trained on, which softmax leaves in their order
    decision = next(iter(said.values())).argmax(1)
    classes = len(data.dataset.targets)
    return {
        "rows": torch.bincount(val.y, minlength=classes).tolist(),
        "right": torch.bincount(val.y[decision == val.y], minlength=classes).tolist(),
        "decided": torch.bincount(decision, minlength=classes).tolist(),
        "classes": list(data.dataset.targets),
        "seconds": round(time.process_time() - begin, 1),
    }


def in_order() -> Iterator[dict[str, Any]]:
    """Yield the runs."""
    methods, folds = [*REFERENCES, *LOSSES, SAMPLER], range(SETTING["data"]["folds"])
    return ({"method": m, "seed": seed, "fold": fold} for seed in SEEDS for m in methods for fold in folds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="Shuttle.rda")
    with tempfile.TemporaryDirectory() as folder:
        path = convert(parser.parse_args().source, folder)
        Runs("shuttle", SETTING).complete(in_order(), lambda **key: measure(path, **key))


if __name__ == "__main__":
    main()
