"""How well do focal loss and penalties separate two noisy rings, and how often does the tiny network collapse?

Ten seeds of each setting (200 points inside 6,000, Adam at 0.01, 30 epochs, the last one judged) beside the scorer that
knows the radius alone, on the same validation rows. Writes `results/rings.json` beside this file and prints a table.

    python benchmarks/rings.py
"""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

import lightning_losses as ll
from lightning_losses.app import run
from lightning_losses.app.report import versions

SEEDS = range(10)
COLLAPSED = 0.9  # AUROC below this: the network ignores the rings
RESULTS = Path(__file__).parent / "results" / "rings.json"


def penalty(factor: float) -> list[str]:
    """Overrides for L1 and L2 with one factor."""
    return [f"regularizer.elastic_net.{name}={factor}" for name in ("l1", "l2")]


SETTINGS = {
    "focal (alpha 0.75), L1 + L2 at 1e-3": penalty(1e-3),
    "focal (alpha 0.75), L1 + L2 at 1e-4": penalty(1e-4),
    "cross entropy, L1 + L2 at 1e-3": ["loss=bce", *penalty(1e-3)],
    "cross entropy": ["loss=bce", "regularizer.elastic_net.factor=0"],
}
# what a published tutorial prints for the first setting
TUTORIAL = {"train objective": 0.016, "train accuracy": 0.981, "val objective": 0.017, "val accuracy": 0.983}


def measure(overrides: list[str], seed: int) -> dict[str, float]:
    """Train once and return the figures of the last epoch."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        cfg = ll.compose("experiment=rings_focal", "callbacks=none", "logger=none", f"seed={seed}", *overrides)
        result = run(cfg, folder).result
    metrics, radius = result["metrics"], result["baselines"]["radius only"]
    return {
        "train objective": metrics["train/objective"],
        "train accuracy": metrics["train/accuracy"],
        "val objective": metrics["val/objective"],
        "val accuracy": metrics["val/accuracy"],
        "val AUROC": metrics["val/auroc"],
        "val AP": metrics["val/average_precision"],
        "radius AUROC": radius["val/auroc"],
        "radius AP": radius["val/average_precision"],
        "seconds": result["seconds"],
    }


def summarise(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians, and how many runs collapsed."""
    medians = {name: median(one[name] for one in runs) for name in runs[0]}
    return {**medians, "collapsed": sum(one["val AUROC"] < COLLAPSED for one in runs)}


def table(summaries: dict[str, dict[str, float]]) -> str:
    """Return the medians as a markdown table, the tutorial's figures first."""
    columns = [*TUTORIAL, "val AUROC", "radius AUROC", "val AP", "radius AP", "collapsed"]
    rows = {"the tutorial, one seed": TUTORIAL, **summaries}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(cell(row.get(column)) for column in columns)} |")
    return "\n".join(lines)


def cell(value: float | None) -> str:
    """Return a figure with as many digits as it deserves."""
    if value is None:
        return ""
    return f"{value} of {len(SEEDS)}" if isinstance(value, int) else f"{value:.4f}"


def main() -> None:
    """Run all settings and seeds."""
    runs = {name: [measure(overrides, seed) for seed in SEEDS] for name, overrides in SETTINGS.items()}
    summaries = {name: summarise(found) for name, found in runs.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"versions": versions(), "seeds": list(SEEDS), "medians": summaries, "runs": runs}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    print(table(summaries))


if __name__ == "__main__":
    main()
