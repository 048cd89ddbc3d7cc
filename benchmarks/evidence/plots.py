"""The plots of the page of the experiments, in `docs/images/`, from `results/*.json`.

python benchmarks/evidence/plots.py
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from page import IMAGES, NOISES, error, last, ordered, read, sweeps_of, values

from lightning_losses.app.files import write_figure

Result = Mapping[str, Any]


def figure(columns: int, rows: int = 1, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """Return axes in a grid, read by rows."""
    drawn = Figure(figsize=(9.0, height * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def label_noise(result: Result) -> Figure:
    """Draw the accuracy after each epoch, the mean over seeds."""
    noises = [noise for noise in NOISES if values(result["runs"], last, noise=noise)]
    columns = min(3, len(noises))
    drawn, axes = figure(columns, -(-len(noises) // columns))
    losses = list(result["setting"]["losses"])
    for axis, noise in zip(axes, noises, strict=False):
        axis.set(
            title=f"noise: {noise}",
            xlabel="epoch",
            ylim=(0, 1),
            xticks=range(0, result["setting"]["trainer"]["max_epochs"] + 1, 5),
        )
        for position, loss in enumerate(losses):
            runs = [run["accuracy"] for run in result["runs"] if (run["loss"], run["noise"]) == (loss, noise)]
            if runs:
                curve = [statistics.fmean(epoch) for epoch in zip(*runs, strict=True)]
                axis.plot(range(1, len(curve) + 1), curve, color=f"C{position}", label=loss)
    for axis in axes[len(noises) :]:
        axis.set_axis_off()
    axes[0].set_ylabel("accuracy, clean test rows")
    legend(drawn, axes)
    return drawn


def fraud(result: Result) -> Figure:
    """Draw a point for each seed."""
    drawn, axes = figure(2)
    methods = ordered(result, (run["method"] for run in result["runs"]))[::-1]
    for axis, name in zip(axes, ("average precision", "recall at 1 % alarms"), strict=True):
        for height, method in enumerate(methods):
            points = list(values(result["runs"], itemgetter(name), method=method).values())
            axis.plot(points, [height] * len(points), "o", color="C0", alpha=0.5)
            axis.plot(statistics.fmean(points), height, "|", color="black", markersize=16)
        axis.set(xlabel=name, yticks=range(len(methods)), yticklabels=methods if axis is axes[0] else [])
        axis.margins(y=0.1)
    return drawn


def shuttle(result: Result) -> Figure:
    """Draw the recall of the rarest classes."""
    sweeps = sweeps_of(result)
    first = next(iter(sweeps.values()))[0]
    rare = sorted(range(len(first.classes)), key=lambda index: first.rows[index])[:4]
    drawn, (axis,) = figure(1, height=3.6)
    width = 0.8 / len(sweeps)
    for position, (method, own) in enumerate(sweeps.items()):
        found = [statistics.fmean(sweep.recall(index) for sweep in own) for index in rare]
        axis.bar([place + position * width for place in range(len(rare))], found, width * 0.9, label=method)
    axis.set_xticks(
        [place + 0.4 - width / 2 for place in range(len(rare))],
        [f"{first.classes[index]}\n{first.rows[index]} rows" for index in rare],
    )
    axis.set(ylabel="recall", ylim=(0, 1))
    drawn.legend(loc="outside right center", frameon=False)
    return drawn


def posterior(noise: Result, rare: Result) -> Figure:
    """Draw the calibration error of softmax and of the posterior, the mean over seeds."""
    drawn, axes = figure(2)
    clean = [run for run in noise["runs"] if run["noise"] == "none"]
    for axis, title, key, runs, losses in (
        (axes[0], "Fashion-MNIST, no noise", "loss", clean, noise["setting"]["losses"]),
        (axes[1], "credit-card fraud", "method", rare["runs"], rare["setting"]["losses"]),
    ):
        shown = [loss for loss in losses if any(run[key] == loss for run in runs)][::-1]
        for height, loss in enumerate(shown):
            found = {how: values(runs, error(how), **{key: loss}) for how in ("softmax", "posterior")}
            means = [statistics.fmean(errors.values()) for errors in found.values() if errors]
            axis.plot(means, [height] * len(means), color="0.7", zorder=0)
            for color, (how, errors) in zip(("C1", "C0"), found.items(), strict=True):
                if errors:
                    axis.plot(statistics.fmean(errors.values()), height, "o", color=color, label=how)
        axis.set(title=title, xlabel="calibration error", xscale="log", xlim=(1e-4, 1))
        axis.set(yticks=range(len(shown)), yticklabels=shown)
    legend(drawn, axes)
    return drawn


def legend(drawn: Figure, axes: list[Axes]) -> None:
    """Draw one legend for all axes."""
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)


def main() -> None:
    results = {name: read(name) for name in ("label_noise", "fraud", "shuttle")}
    drawn = {name: draw(results[name]) for name, draw in SECTIONS.items()}
    drawn["posterior"] = posterior(results["label_noise"], results["fraud"])
    for name, drawing in drawn.items():
        write_figure(IMAGES / f"evidence_{name}.png", drawing)


SECTIONS = {"label_noise": label_noise, "fraud": fraud, "shuttle": shuttle}


if __name__ == "__main__":
    main()
