"""What a run prints: about the data, the layers and the epochs. One process prints, however many there are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import rich
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table
from torch import Tensor, nn

from lightning_losses.app.data import Dataset, Part

MB = 2**20
WIDEST = 1000  # columns of a table; where the terminal has fewer, it breaks the lines


@rank_zero_only
def say(text: str | Table = "") -> None:
    """Print a line as it is, or a table, of which no number is cut; a progress bar stays below it."""
    console = rich.get_console()
    if isinstance(text, str):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        wide = console.options.update(width=WIDEST)
        needed = Measurement.get(console, wide, text).maximum
        console.print(Segments(console.render(text, wide.update(width=needed))), soft_wrap=True, end="")


def data_table(dataset: Dataset, of_loss: Mapping[str, Sequence[float]]) -> Table:
    """Rows of each class (multilabel: positive rows of each label), or statistics of each target, in each part.

    Beside them the numbers that the loss has for each class, by their names.
    """
    parts = dataset.parts
    kinds = {
        "binary": "class",
        "multiclass": "class",
        "multilabel": "label, positive rows",
        "regression": "target, mean ± sd",
    }
    table = _table("Data", kinds[dataset.task])
    for part in parts:
        table.add_column(part, justify="right")
    for name in of_loss:
        table.add_column(f"loss.{name}", justify="right")
    for i, name in enumerate(dataset.targets):
        table.add_row(
            name, *(_cell(dataset, part, i) for part in parts.values()), *(f"{n[i]:.4g}" for n in of_loss.values())
        )
    table.add_section()
    table.add_row("rows", *(f"{len(part.y):,}" for part in parts.values()))
    return table


def layer_table(net: nn.Module, example: Tensor) -> Table:
    """Output shape, parameters and memory of each layer, by running `example` (rows, features) through the network."""
    shapes = _output_shapes(net, example)
    table = _table("Network", "layer", "type", "output shape")
    table.add_column("parameters", justify="right")
    table.add_column("MB", justify="right")
    for name, module in net.named_modules():
        if not any(module.children()):
            numbers, size = _size(module.parameters(recurse=False))
            shape = shapes.get(name, "not used")
            table.add_row(name or "net", type(module).__name__, shape, f"{numbers:,}", f"{size:.6f}")
    numbers, size = _size(net.parameters())
    trainable, _ = _size(p for p in net.parameters() if p.requires_grad)
    table.add_section()
    table.add_row("total", f"{trainable:,} trainable", "", f"{numbers:,}", f"{size:.6f}")
    return table


class EpochTable:
    """One line an epoch, under a heading that is printed with the first.

    Args:
        monitored: Column to show besides the fixed ones.
        penalised: Whether the objective is more than the loss, and so is shown.
    """

    def __init__(self, monitored: str, penalised: bool) -> None:
        names = ["loss", "objective", "accuracy", "r2"] if penalised else ["loss", "accuracy", "r2"]
        shown = [prefix + name for prefix in ("", "val_") for name in names]
        self.columns = shown if monitored in shown else [*shown, monitored]
        self.widths: dict[str, int] = {}

    def print(self, row: Mapping[str, Any]) -> None:
        """Print a row, the heading first."""
        if not self.widths:
            self.widths = {name: max(len(name), 7) for name in self.columns if name in row}
            say("  ".join(["epoch", *(name.rjust(width) for name, width in self.widths.items())]))
        cells = (_number(row.get(name, math.nan)).rjust(width) for name, width in self.widths.items())
        say("  ".join([f"{row['epoch']:5d}", *cells]))


def metric_table(metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> Table:
    """Metrics by name and part, with the baselines beside the model."""
    parts = [part for part in ("train", "val", "test") if any(name.startswith(f"{part}/") for name in metrics)]
    table = _table("Result", "metric")
    columns = {part: _of_part(metrics, part) for part in parts}
    columns |= {f"{name}, {part}": _of_part(baseline, part) for name, baseline in baselines.items() for part in parts}
    columns = {name: column for name, column in columns.items() if column}
    for name in columns:
        table.add_column(name, justify="right")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(name, *(_number(column[name]) if name in column else "" for column in columns.values()))
    return table


def _of_part(metrics: Mapping[str, float], part: str) -> dict[str, float]:
    return {name.removeprefix(f"{part}/"): value for name, value in metrics.items() if name.startswith(f"{part}/")}


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE, pad_edge=False, show_edge=False
    )
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="fold")
    return table


def _cell(dataset: Dataset, part: Part, target: int) -> str:
    """Rows of a class and their share, or mean and standard deviation of a regression target."""
    if dataset.task == "regression":
        values = dataset.in_own_units(part.y)[:, target]
        return f"{values.mean():.4g} ± {values.std():.4g}"
    count = dataset.counts(part)[target]
    return f"{count:,} ({count / len(part.y):.1%})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def _size(parameters: Any) -> tuple[int, float]:
    """Return how many numbers there are and their memory in MB."""
    sizes = [(p.numel(), p.numel() * p.element_size()) for p in parameters]
    return sum(numbers for numbers, _ in sizes), sum(size for _, size in sizes) / MB


@torch.no_grad()
def _output_shapes(net: nn.Module, example: Tensor) -> dict[str, str]:
    shapes: dict[str, str] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            shape = output.shape[1:] if isinstance(output, Tensor) else [type(output).__name__]
            shapes[name] = f"(N, {', '.join(map(str, shape))})"

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in net.named_modules()]
    training = net.training
    try:
        net.eval()(example)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return shapes
