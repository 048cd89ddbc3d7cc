"""What the plots of the benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping

import harness
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter


def save(figure: Figure, name: str) -> None:
    """Write `results/<name>.svg`: words as words, and the same file for the same figures."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(harness.RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def ratios(name: str, rows: Mapping[str, Mapping[str, float]], columns: list[str]) -> None:
    """Draw the ratios of each row: one mark for each column, and a line where the base is."""
    figure, axis = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.6), layout="constrained")
    for column, marker in zip(columns, "o^sDvP*Xdp<>", strict=False):
        at = [(row[column], i) for i, row in enumerate(rows.values()) if column in row]
        axis.plot(*zip(*at, strict=True), marker, markersize=5, alpha=0.8, label=column)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set(xscale="log", yticks=range(len(rows)), yticklabels=list(rows), xlabel="time beside the base, 1")
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks([x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if axis.get_xlim()[0] <= x <= axis.get_xlim()[1]])
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    save(figure, name)
