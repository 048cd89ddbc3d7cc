"""Plots of the data, the history and the predictions, as figures without a window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix
from torch import Tensor

from lightning_losses.app.data import Dataset, Part

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


def plot_data(dataset: Dataset) -> Figure:
    """Return a scatter of the training and validation part of data with two features."""
    parts = list(dataset.parts.items())
    figure, axes = _figure(len(parts), 4.2)
    for axis, (name, part) in zip(axes, parts, strict=True):
        _scatter(axis, dataset, part.x, part.y.flatten(), f"{name} part: {len(part.y):,} rows")
    return figure


def plot_history(history: pd.DataFrame, best_epoch: int | None = None) -> Figure:
    """Return loss and metrics over the epochs, training beside validation.

    Args:
        history: One row an epoch.
        best_epoch: Epoch of the kept checkpoint, marked by a line.
    """
    values = [name for name in history.columns if f"val_{name}" in history]
    losses = [name for name in values if name in ("loss", "objective")]
    if "objective" in losses and np.allclose(history["objective"], history["loss"]):
        losses.remove("objective")
    metrics = [name for name in values if name not in ("loss", "objective")]
    figure, axes = _figure(2 if metrics else 1, 5.0, 3.6)
    _curves(axes[0], history, losses, "loss")
    if losses and history[losses].min().min() > 0:
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter(NullFormatter())
    if metrics:
        _curves(axes[1], history, metrics, "metric")
    for axis in axes:
        if best_epoch is not None:
            axis.axvline(best_epoch, color="0.6", linestyle=":", linewidth=1, zorder=0)
            axis.annotate("best", (best_epoch, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
        axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.supxlabel("solid: validation, dashed: training", fontsize=8, color="0.4")
    return figure


def plot_predictions(dataset: Dataset, part: Part, decision: Tensor, name: str) -> Figure:
    """Return true beside predicted classes in two scatters where there are two features; else a confusion matrix
    (for labels: their counts) or, for regression, predicted over true values.

    Args:
        dataset: The data.
        part: The part that was predicted.
        decision: Predicted classes, labels or values, in the shape of `part.y`.
        name: Of the part.
    """  # noqa: D205
    if dataset.task == "regression":
        return _plot_regression(dataset, part, decision, name)
    if dataset.task == "multilabel":
        return _plot_labels(dataset, part, decision, name)
    true, predicted = part.y.flatten(), decision.flatten()
    if dataset.inputs == 2:
        figure, axes = _figure(2, 4.2)
        _scatter(axes[0], dataset, part.x, true, f"true ({name} part)")
        _scatter(axes[1], dataset, part.x, predicted, "predicted")
        return figure
    figure, axes = _figure(1, max(4.2, 0.45 * len(dataset.targets) + 1.5))
    counts = confusion_matrix(true, predicted, labels=range(len(dataset.targets)))
    _matrix(axes[0], counts, counts / counts.sum(1, keepdims=True).clip(1), dataset.targets, dataset.targets)
    axes[0].set(xlabel="predicted", ylabel="true", title=f"{name} part: {len(true):,} rows")
    return figure


def _plot_labels(dataset: Dataset, part: Part, decision: Tensor, name: str) -> Figure:
    counts = multilabel_confusion_matrix(part.y, decision).reshape(-1, 4)[:, [3, 2, 1, 0]]  # tp, fn, fp, tn
    figure, axes = _figure(1, 4.2, max(3.0, 0.35 * len(dataset.targets) + 1.2))
    _matrix(axes[0], counts, counts / len(part.y), ["true +", "missed", "false +", "true -"], dataset.targets)
    axes[0].set_title(f"{name} part: {len(part.y):,} rows")
    return figure


def _plot_regression(dataset: Dataset, part: Part, decision: Tensor, name: str) -> Figure:
    true, predicted = (dataset.in_own_units(y) for y in (part.y, decision.reshape(part.y.shape)))
    figure, axes = _figure(len(dataset.targets), 4.2)
    for i, (axis, target) in enumerate(zip(axes, dataset.targets, strict=True)):
        axis.plot(true[:, i], predicted[:, i], "o", color=COLORS[0], markersize=3, alpha=0.6, markeredgewidth=0)
        ends = [float(true[:, i].min()), float(true[:, i].max())]
        axis.plot(ends, ends, color="0.5", linewidth=1, label="predicted = true")
        axis.set(xlabel=f"true {target}", ylabel=f"predicted {target}", title=f"{name} part: {len(true):,} rows")
        axis.legend(frameon=False)
    return figure


def _figure(columns: int, width: float, height: float | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height or width), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _scatter(axis: Axes, dataset: Dataset, x: Tensor, classes: Tensor, title: str) -> None:
    """Draw small classes last and larger, so that they are seen."""
    counts = [int((classes == i).sum()) for i in range(len(dataset.targets))]
    for i in sorted(range(len(counts)), key=lambda i: -counts[i]):
        points = x[classes == i]
        size = 2.0 if counts[i] > sum(counts) / 4 else 4.0
        axis.plot(
            points[:, 0],
            points[:, 1],
            "o",
            color=COLORS[i % len(COLORS)],
            markersize=size,
            markeredgewidth=0,
            alpha=0.7,
            label=f"{dataset.targets[i]} ({counts[i]:,})",
        )
    axis.set(xlabel=dataset.features[0], ylabel=dataset.features[1], title=title)
    axis.set_aspect("equal", "datalim")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False, markerscale=1.5)


def _curves(axis: Axes, history: pd.DataFrame, names: Sequence[str], label: str) -> None:
    for i, name in enumerate(names):
        color = COLORS[i % len(COLORS)]
        axis.plot(history["epoch"], history[name], color=color, linewidth=1.2, linestyle="--")
        validated = history[history[f"val_{name}"].notna()]
        axis.plot(validated["epoch"], validated[f"val_{name}"], color=color, linewidth=1.6, label=name)
    axis.set(xlabel="epoch", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _matrix(
    axis: Axes,
    counts: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    columns: Sequence[str],
    rows: Sequence[str],
) -> None:
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    crowded = len(columns) * max(map(len, columns)) > 50
    axis.set_xticks(range(len(columns)), columns, rotation=90 if crowded else 0)
    axis.set_yticks(range(len(rows)), rows)
    axis.spines[:].set_visible(False)
    if counts.size <= 900:
        for (i, j), count in np.ndenumerate(counts):
            color = "white" if shares[i, j] > 0.6 else "0.2"
            axis.text(j, i, f"{count:,}" if count else "", ha="center", va="center", color=color, fontsize=8)
