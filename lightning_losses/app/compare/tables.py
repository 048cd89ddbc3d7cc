"""Tables of the page: cells with what they show and what they are sorted by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import pandas as pd

from lightning_losses.app.compare.comparison import ALPHA, LOSS, Comparison, Entry, have_all, shown_metric
from lightning_losses.app.compare.search import shown
from lightning_losses.app.compare.statistics import Mean
from lightning_losses.app.compare.sweep import FAILED, FINISHED, Job

PARTS = {"test": "test part", "val": "validation part"}


class Cell(NamedTuple):
    """A cell.

    Attributes:
        text: What it shows.
        sort: What it is sorted by; empty goes last.
        detail: In small type behind it.
        mark: `best`, `up` or `down`.
        is_text: Whether it is more than a name or a number.
    """

    text: str = ""
    sort: float | str = ""
    detail: str = ""
    mark: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def metric_table(comparison: Comparison) -> Table:
    """Return the entries with their metrics, the first one's differences, time and memory."""
    first, *others = comparison.metrics
    names = [shown_metric(metric) for metric in others]
    columns = [
        "model",
        shown_metric(first),
        f"difference to {comparison.baseline}",
        "p",
        *names,
        "seconds",
        "MB",
        "runs",
    ]
    best = {metric: _best(comparison, metric) for metric in comparison.metrics}
    rows = [
        [
            Cell(entry.name, entry.name, _kind(entry, comparison)),
            _value(entry, first, entry in best[first]),
            _difference(entry, first, comparison.better[first]),
            _p(entry, first),
            *(_value(entry, metric, entry in best[metric]) for metric in others),
            _amount(entry.seconds, ".1f"),
            _amount(entry.memory, ".0f"),
            Cell(str(_runs(entry)), _runs(entry)),
        ]
        for entry in comparison.entries
    ]
    caption = f"On the {PARTS[comparison.part]}, {comparison.rows:,} rows. Headings sort."
    return Table(caption, columns, rows)


def recall_table(comparison: Comparison) -> Table | None:
    """Return the mean recall of each class, a column for each entry; None where there are no classes."""
    entries = [entry for entry in comparison.entries if entry.recall]
    if not entries:
        return None
    # a class without rows in a run has no recall there, and counts in the other runs alone
    means = pd.DataFrame([pd.DataFrame(list(entry.recall.values()), dtype=float).mean() for entry in entries])
    found = have_all([entry.recall for entry in entries])
    complete = [has_all and sum(found) > 1 for has_all in found]
    rows = [
        [Cell(target, target), *(_recall(float(mean), float(mean) == best) for mean in means[i])]
        for (i, target), best in zip(enumerate(comparison.targets), means[complete].max(), strict=True)
    ]
    what = "label" if comparison.task == "multilabel" else "class"
    caption = f"Share of the rows of a {what} that are decided to be of it, mean over the runs."
    return Table(caption, [what, *(entry.name for entry in entries)], rows)


def unfinished_table(jobs: Sequence[Job], references: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the jobs that have not finished, or not started, and the reference models that failed."""
    rows = [
        [Cell(job.name, job.name), _text(job.status), _text(job.error), _text(job.command)]
        for job in jobs
        if job.status != FINISHED
    ]
    rows += [
        [
            Cell(record["name"], record["name"], f"of {', '.join(record['jobs'])}"),
            _text(FAILED),
            _text(record["error"]),
            _text(""),
        ]
        for record in references
        if record["status"] == FAILED
    ]
    return Table("They are not in the tables above.", ["job", "status", "error", "command"], rows) if rows else None


def job_table(comparisons: Sequence[Comparison]) -> Table:
    """Return the finished jobs with the metric that counts."""
    rows = []
    metrics = {shown_metric(comparison.metric) for comparison in comparisons}
    for comparison in comparisons:
        name = f"{comparison.part}/{comparison.metric}"
        detail = shown_metric(comparison.metric) if len(metrics) > 1 else ""
        for job in (job for entry in comparison.losses for job in entry.jobs):
            value = job.metrics.get(name)
            rows.append(
                [
                    Cell(job.name, job.name),
                    Cell() if value is None else Cell(f"{value:.4f}", value, detail),
                    Cell(f"{job.result['seconds']:.1f}", job.result["seconds"]),
                    _text(job.command, _chosen(job)),
                ]
            )
    return Table("One row a job.", ["job", " / ".join(sorted(metrics)), "seconds", "command"], rows)


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return every number of a comparison, a record for each entry and metric."""
    return [
        {
            "data": comparison.title,
            "part": comparison.part,
            "name": entry.name,
            "kind": entry.kind,
            "metric": metric,
            "runs": of_metric.mean.n,
            "mean": of_metric.mean.mean,
            "mean_half_width": of_metric.mean.half,
            "baseline": comparison.baseline,
            "difference": of_metric.difference.mean,
            "difference_half_width": of_metric.difference.half,
            "p_holm": of_metric.p,
            "shared": comparison.shared,
            "seconds": Mean.of(list(entry.seconds)).mean,
            "memory_mb": Mean.of(list(entry.memory)).mean,
            "command": entry.command,
        }
        for entry in comparison.entries
        for metric, of_metric in entry.statistics.items()
    ]


def _best(comparison: Comparison, metric: str) -> list[Entry]:
    """Return what has a star: nothing where a single entry has all runs, which would be the best of none."""
    several = len(comparison.complete(comparison.entries, metric)) > 1
    return comparison.best(comparison.entries, metric) if several else []


def _recall(mean: float, is_best: bool) -> Cell:
    return Cell() if isnan(mean) else Cell(f"{mean:.3f}", mean, mark="best" * is_best)


def _kind(entry: Entry, comparison: Comparison) -> str:
    if entry.kind != LOSS:
        return "reference model"
    return "baseline" if entry.name == comparison.baseline else ""


def _value(entry: Entry, metric: str, is_best: bool) -> Cell:
    if metric not in entry.statistics:
        return Cell()
    mean = entry.statistics[metric].mean
    return Cell(f"{mean.mean:.4f}", mean.mean, _half(mean), "best" * is_best)


def _difference(entry: Entry, metric: str, better: str) -> Cell:
    if metric not in entry.statistics or not entry.statistics[metric].difference.n:
        return Cell()
    of_metric = entry.statistics[metric]
    difference = of_metric.difference
    mark = ""
    if of_metric.p < ALPHA:
        mark = "up" if (difference.mean > 0) == (better == "max") else "down"
    return Cell(f"{difference.mean:+.4f}", difference.mean, _half(difference), mark)


def _p(entry: Entry, metric: str) -> Cell:
    p = entry.statistics[metric].p if metric in entry.statistics else float("nan")
    if isnan(p):
        return Cell()
    return Cell("< .001" if p < 0.001 else f"{p:.3f}", p)


def _half(mean: Mean) -> str:
    return "" if isnan(mean.half) else f"± {mean.half:.4f}"


def _amount(values: Sequence[float], form: str) -> Cell:
    mean = Mean.of(list(values)).mean
    return Cell() if isnan(mean) else Cell(format(mean, form), mean)


def _runs(entry: Entry) -> int:
    return max(map(len, entry.values.values()), default=0)


def _text(text: str, detail: str = "") -> Cell:
    return Cell(text, text, detail, is_text=True)


def _chosen(job: Job) -> str:
    """Return the values that a search has chosen."""
    trials = job.result.get("trials")
    if not trials:
        return ""
    values = trials[job.result["chosen_trial"]]["values"]
    return f"chosen of {len(trials)} trials: {shown(values)}"
