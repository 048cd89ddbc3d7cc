"""Figures of a comparison, for light and for dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_losses.app.compare.calibration import Calibration
from lightning_losses.app.compare.comparison import LOSS, Comparison, Entry, shown_metric
from lightning_losses.app.compare.sweep import Job

LIGHT = {"paper": "#ffffff", "ink": "#1d232b", "faint": "#8a94a0", "grid": "#e3e7eb"}
DARK = {"paper": "#171b21", "ink": "#e6e9ed", "faint": "#8a94a0", "grid": "#2c333c"}
THEMES = {"light": LIGHT, "dark": DARK}
# Tol's bright scheme, told apart by colour-blind readers and on both papers
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999")
STYLES = ("-", "--", ":", "-.")


@contextmanager
def _theme(name: str) -> Iterator[dict[str, str]]:
    colors = THEMES[name]
    parameters: Any = {
        "figure.facecolor": colors["paper"],
        "savefig.facecolor": colors["paper"],
        "axes.facecolor": colors["paper"],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": colors["grid"],
        "font.size": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "text.parse_math": False,  # names are shown as they are
    }
    parameters |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), colors["ink"])
    parameters["axes.edgecolor"] = colors["faint"]
    with mpl.rc_context(parameters):
        yield colors


def plot_differences(comparison: Comparison, theme: str) -> Figure:
    """Return the paired difference of each loss to the baseline, with its interval."""
    metric = comparison.metric
    entries = [e for e in comparison.entries if metric in e.statistics and e.statistics[metric].difference.n]
    with _theme(theme) as colors:
        figure, axis = _figure(0.42 * len(entries) + 1.1)
        for i, entry in enumerate(reversed(entries)):
            difference = entry.statistics[metric].difference
            color = COLORS[0] if entry.kind == LOSS else colors["faint"]
            half = np.nan_to_num(difference.half)
            axis.errorbar(difference.mean, i, xerr=half, fmt="o", color=color, capsize=4, markersize=6, linewidth=1.8)
        axis.axvline(0, color=colors["ink"], linewidth=1)
        axis.set_yticks(range(len(entries)), [_short(entry.name) for entry in reversed(entries)])
        axis.set_ylim(-0.6, len(entries) - 0.4)
        axis.set_xlabel(f"{shown_metric(metric)} minus that of {_short(comparison.baseline)}")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.grid(visible=False, axis="y")
        return figure


def plot_curves(comparison: Comparison, theme: str) -> Figure:
    """Return the validation metric over the epochs, its mean over the repetitions, and that of the training part."""
    with _theme(theme) as colors:
        figure, axis = _figure(3.5)
        metric = comparison.metric
        for i, entry in enumerate(comparison.losses):
            color, style = COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)]
            mean = _mean_curve(entry.jobs, f"val_{metric}")
            axis.plot(mean.index, mean, color=color, linestyle=style, linewidth=1.8, label=_short(entry.name))
            train = _mean_curve(entry.jobs, metric)
            axis.plot(train.index, train, color=color, linestyle=style, linewidth=1, alpha=0.45)
        axis.set(xlabel="epoch", ylabel=shown_metric(metric))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
        figure.suptitle("strong: validation, faint: training", fontsize=9, color=colors["faint"])
        return figure


def plot_reliability(entry: Entry, found: Calibration, theme: str) -> Figure:
    """Return how often a class is there over how likely it is said to be, by posterior and by softmax."""
    with _theme(theme) as colors:
        figure = Figure(figsize=(3.6, 3.9), layout="constrained")
        axis = figure.subplots()
        lowest = 1e-4 if found.rare else 0.0
        axis.plot([lowest, 1], [lowest, 1], color=colors["faint"], linewidth=1, linestyle=":")
        for (name, curve), color, marker in zip(found.curves.items(), COLORS[1::-1], "so", strict=False):
            shares = curve.count / curve.count.sum()
            axis.plot(curve.said, curve.seen, color=color, linewidth=1.4, alpha=0.8, zorder=2)
            axis.scatter(curve.said, curve.seen, 8 + 90 * shares, color=color, marker=marker, zorder=3)
            axis.plot([], [], color=color, marker=marker, markersize=5, label=name)
        if found.rare:
            axis.set(xscale="log", yscale="log", xlim=(1e-4, 1.2), ylim=(1e-4, 1.2))
        else:
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.set(xlabel="probability said", ylabel="share seen", title=_short(entry.name))
        axis.set_aspect("equal")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, height), layout="constrained")
    return figure, figure.subplots()


def _mean_curve(jobs: Sequence[Job], column: str) -> pd.Series[float]:
    """Return the mean of a column of the histories, over the epochs that at least half of the jobs have reached."""
    columns = [job.history.set_index("epoch")[column] for job in jobs if column in job.history]
    if not columns:
        return pd.Series(dtype=float)
    return pd.concat(columns, axis=1).dropna(thresh=(len(columns) + 1) // 2).mean(axis=1)


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
