"""How well does the mean margin over the epochs rank wrong labels?

Digits (1,077 training rows) with 10, 20 and 40 % of the labels replaced by another class, three seeds each; the command
trains 20 epochs with cross entropy and leaves suspects.csv, whose order is compared with what was planted. Writes
`results/label_audit.json` beside this file and prints a table.

    python benchmarks/label_audit.py
"""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

import lightning_losses as ll
from lightning_losses.app import run
from lightning_losses.app.data import build_data
from lightning_losses.app.report import versions

RATES = (0.1, 0.2, 0.4)
SEEDS = range(3)
RESULTS = Path(__file__).parent / "results" / "label_audit.json"
TRAINING = ["data=digits", "loss=ce", "callbacks=none", "callbacks.label_audit=true", "trainer.max_epochs=20"]


def measure(rate: float, seed: int) -> dict[str, float]:
    """Train once and return how the suspects stand to the labels that were planted."""
    cfg = ll.compose(*TRAINING, f"data.label_noise.rate={rate}", f"seed={seed}", "logger=none")
    train = build_data(OmegaConf.to_container(cfg.data, resolve=True)).dataset.parts["train"]
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(io.StringIO()):
            run(cfg, folder)
        suspects = pd.read_csv(Path(folder) / "suspects.csv", index_col="row")
    wrong = pd.Series((train.y != train.clean).numpy(), index=(train.rows + 1).numpy())[suspects.index]
    return {
        "wrong labels": int(wrong.sum()),
        "AUC": float(roc_auc_score(wrong, -suspects["margin"])),
        "wrong among as many first": float(wrong.iloc[: int(wrong.sum())].mean()),
        "wrong with a margin below 0": float((suspects["margin"] < 0)[wrong].mean()),
        "right with a margin below 0": float((suspects["margin"] < 0)[~wrong].mean()),
    }


def main() -> None:
    """Measure, print and write."""
    rows = [{"noise": rate, "seed": seed, **measure(rate, seed)} for rate in RATES for seed in SEEDS]
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4f}".format))
    RESULTS.write_text(json.dumps({"rows": rows, "training": TRAINING, "versions": versions()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
