"""How well do focal loss and penalties separate two noisy rings, and how often does the tiny network collapse?

Ten seeds each of focal loss with L1 and L2 at 1e-3 and at 1e-4, and of cross entropy with 1e-3 and without; Adam at 0.01,
30 epochs, the last one judged, beside the scorer that knows the radius alone, on the same validation rows.

    python benchmarks/rings.py [--seeds 10] [--folder outputs/rings]

Writes `benchmarks/results/rings.json` and prints the table of the README.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
from pathlib import Path

import lightning_losses as ll
from lightning_losses.app import run

COLLAPSED = 0.9  # AUROC; a linear score has 0.5, the radius 0.983
SETTINGS = {
    "focal, L1 + L2 at 1e-3": ["loss=focal", "loss.gamma=2", "~1e-3"],
    "focal, L1 + L2 at 1e-4": ["loss=focal", "loss.gamma=2", "~1e-4"],
    "cross entropy, L1 + L2 at 1e-3": ["loss=bce", "~1e-3"],
    "cross entropy": ["loss=bce", "~0"],
}


def main() -> None:
    """Run all settings and seeds."""
