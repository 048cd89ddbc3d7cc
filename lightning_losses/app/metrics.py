"""torchmetrics by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeAlias

import torchmetrics
import torchmetrics.classification
import torchmetrics.regression

from lightning_losses._validation import as_block, choice, nearest

Metrics: TypeAlias = dict[str, dict[str, torchmetrics.Metric]]
INPUTS = ("decision", "probabilities")
LOWER = ("loss", "objective", "regularizer", "error", "mse", "mae", "deviance", "eer")  # in names: the less the better


def build_metrics(mapping: Mapping[str, Mapping[str, Any] | None] | None, prefix: str = "metrics") -> Metrics:
    """Build the metrics of one task.

    Args:
        mapping: `{key: {name: BinaryAUROC, of: probabilities, ...}}`: `name` is a class of torchmetrics or a dotted
            path to another, `of` is what of a `Prediction` it sees; the rest are its arguments. None
            leaves a metric out, or all of them.
        prefix: Before the keys, for messages.

    Returns:
        `{"decision": {key: metric}, "probabilities": {key: metric}}`, as `ObjectiveModule` takes them.

    Raises:
        ValueError: An unknown class or `of`.
        TypeError: What should be a block is none.
    """
    metrics: Metrics = {kind: {} for kind in INPUTS}
    for key, spec in as_block(prefix, mapping).items():
        if spec is None:
            continue
        owner = f"{prefix}.{key}"
        arguments = dict(as_block(owner, spec))
        kind = choice(f"{owner}.of", arguments.pop("of", None), INPUTS)
        metrics[kind][key] = _metric_class(owner, arguments.pop("name", ""))(**arguments)
    return metrics


def better(name: str, metric: torchmetrics.Metric | None = None) -> str:
    """Return whether `min` or `max` of what is logged by a name is better: as its metric knows it, else by the name."""
    if metric is not None and metric.higher_is_better is not None:
        return "max" if metric.higher_is_better else "min"
    return "min" if any(part in name for part in LOWER) else "max"


def _metric_class(owner: str, name: str) -> type[torchmetrics.Metric]:
    module, _, attribute = name.rpartition(".")
    places: list[ModuleType] = [torchmetrics.classification, torchmetrics.regression, torchmetrics]
    if module:
        places = [importlib.import_module(module)]
    for place in places:
        found = getattr(place, attribute, None)
        if isinstance(found, type) and issubclass(found, torchmetrics.Metric):
            return found
    known = [known for place in places for known in vars(place) if known[0].isupper()]
    raise ValueError(f"{owner}.name: torchmetrics has no {name!r}{nearest(name, known)}")
