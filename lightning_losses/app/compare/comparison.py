"""Jobs of a sweep, grouped by what they have in common, and what their metrics say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from lightning_losses._validation import choice
from lightning_losses.app.compare.recall import recall_by_class
from lightning_losses.app.compare.statistics import Mean, differences, holm, minus, paired_p
from lightning_losses.app.compare.sweep import FINISHED, LEARNING, REPEATS, Job, command
from lightning_losses.app.data import DRAWN, Task
from lightning_losses.app.metrics import better

LOSS, REFERENCE = "loss", "reference"
ALPHA = 0.05
OWN_TERMS = ("loss", "objective", "loss_step", "auxiliary", "ignored_batches")  # each loss has its own units
FIRST_METRIC: dict[Task, str] = {
    "binary": "average_precision",
    "multiclass": "accuracy",
    "multilabel": "average_precision",
    "regression": "mse",
}


@dataclass(frozen=True)
class Statistic:
    """What one metric says of one entry.

    Attributes:
        mean: Over the repetitions.
        difference: Paired, to the baseline; of no value for the baseline itself.
        p: Of the difference, corrected for the number of losses; NaN where nothing is tested.
    """

    mean: Mean
    difference: Mean
    p: float


@dataclass(frozen=True)
class Entry:
    """One row of the table: a loss, or what else the sweep varies, or a reference model.

    Attributes:
        name: What distinguishes it.
        kind: `loss` or `reference`.
        values: Metric -> repetition -> value, on the part that judges.
        seconds: Of training, for each repetition.
        memory: Peak of the process in MB, for each repetition.
        recall: Of each class, by repetition.
        jobs: Those that have finished; of a reference model none.
        command: What repeats it; a reference model is fitted by the sweep of the baseline.
        statistics: By metric.
    """

    name: str
    kind: str
    values: Mapping[str, Mapping[str, float]]
    seconds: Sequence[float]
    memory: Sequence[float]
    recall: Mapping[str, Sequence[float]]
    jobs: Sequence[Job]
    command: str
    statistics: Mapping[str, Statistic]


@dataclass(frozen=True)
class Comparison:
    """Entries on the same data.

    Attributes:
        title: What distinguishes the data, where the sweep varies them.
        task: What the target is.
        part: Which one judges, `test` or `val`.
        rows: Of that part.
        shared: How many rows judge for each row of training, where the repetitions divide the same rows anew; else 0.
        targets: The classes, labels or target columns.
        metrics: What was measured, the first is the one that counts.
        better: Whether `min` or `max` of each metric is better.
        baseline: Name of the entry to which the others are compared.
        entries: Reference models, then the rest in the order of the sweep.
        notes: On what is missing.
    """

    title: str
    task: Task
    part: str
    rows: int
    shared: float
    targets: Sequence[str]
    metrics: Sequence[str]
    better: Mapping[str, str]
    baseline: str
    entries: Sequence[Entry]
    notes: Sequence[str]

    @property
    def metric(self) -> str:
        """The one that counts."""
        return self.metrics[0]

    @property
    def losses(self) -> list[Entry]:
        """The entries that are no reference models."""
        return [entry for entry in self.entries if entry.kind == LOSS]

    def repeats(self, metric: str) -> set[str]:
        """Return the repetitions that any entry has."""
        return {repeat for entry in self.entries for repeat in entry.values.get(metric, {})}

    def complete(self, entries: Sequence[Entry], metric: str) -> list[Entry]:
        """Return the entries that have all repetitions."""
        found = have_all([entry.values.get(metric, {}) for entry in self.entries])
        return [entry for entry, has_all in zip(self.entries, found, strict=True) if has_all and entry in entries]

    def best(self, entries: Sequence[Entry], metric: str) -> list[Entry]:
        """Return those with the best mean of the entries that have all repetitions, several if they are equal."""
        means = {entry.name: entry.statistics[metric].mean.mean for entry in self.complete(entries, metric)}
        best = (max if self.better[metric] == "max" else min)(means.values(), default=nan)
        return [entry for entry in entries if entry.name in means and minus(means[entry.name], best) == 0]


def have_all(runs: Sequence[Collection[str]]) -> list[bool]:
    """Tell which have the repetitions that any has: the means of others are of other rows or seeds."""
    repeats = set[str]().union(*runs)
    return [bool(repeats) and set(own) == repeats for own in runs]


def compare(
    jobs: Sequence[Job],
    references: Sequence[Mapping[str, Any]],
    metric: str | None = None,
    baseline: str | None = None,
) -> list[Comparison]:
    """Compare the finished jobs of a sweep, those on other data apart.

    Args:
        jobs: Of the sweep, in its order; those that have not finished tell what it was to compare.
        references: Records of reference models.
        metric: The one that counts; None, or where it was not measured: that of the task.
        baseline: Name of the entry to compare to; None: the first. Where it has not finished: the first that has.

    Returns:
        A comparison for each kind of data.

    Raises:
        ValueError: No job has finished, or there was to be no such `metric` or `baseline`.
    """
    finished = [job for job in jobs if job.status == FINISHED]
    if not finished:
        first = next((f", the first with: {job.error}" for job in jobs if job.error), "")
        raise ValueError(f"none of {len(jobs)} jobs has finished{first}")
    keys = [key for key in _varying(jobs) if key not in REPEATS]
    of_data = _choosing_data(finished, keys)
    own = [key for key in keys if key not in of_data]
    if baseline is not None:
        choice("compare.baseline", baseline, list(_by_name(jobs, own)))
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_label(job, of_data, with_keys=True), []).append(job)
    comparisons = [
        _compare(title, group, own, references, metric, baseline)
        for title, group in groups.items()
        if any(job.status == FINISHED for job in group)
    ]
    if metric is not None:
        measured = [name for comparison in comparisons for name in comparison.metrics]
        choice("compare.metric", metric, list(dict.fromkeys([*measured, *_configured(finished)])))
    return comparisons


def _compare(
    title: str,
    jobs: Sequence[Job],
    keys: Sequence[str],
    references: Sequence[Mapping[str, Any]],
    metric: str | None,
    baseline: str | None,
) -> Comparison:
    finished = [job for job in jobs if job.status == FINISHED]
    part = "test" if all("test" in job.result["rows"] for job in finished) else "val"
    groups = _by_name(finished, keys)
    wanted = baseline or next(iter(_by_name(jobs, keys)))
    base = wanted if wanted in groups else next(iter(groups))
    losses = [_loss(name, group, part) for name, group in groups.items()]
    models, notes = _references(finished, references, part, _command(groups[base], sweep=True))
    result = finished[0].result
    metrics = _metrics([*losses, *models], result["task"], metric)
    shared = _shared(finished, part)
    if base != wanted:
        notes.append(f"No run of {wanted} has finished here: the differences are to {base}.")
    if metric is not None and metric != metrics[0]:
        notes.append(f"No run here has {shown_metric(metric)}: {shown_metric(metrics[0])} counts in its place.")
    return Comparison(
        title=title,
        task=result["task"],
        part=part,
        rows=result["rows"][part],
        shared=shared,
        targets=result["targets"],
        metrics=metrics,
        better=_better(finished, metrics),
        baseline=base,
        entries=_with_statistics([*models, *losses], base, metrics, shared),
        notes=notes,
    )


def _varying(jobs: Sequence[Job]) -> list[str]:
    """Return the keys in which the overrides of jobs differ, in the order in which they were given."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def _choosing_data(jobs: Sequence[Job], keys: Sequence[str]) -> list[str]:
    """Return the keys of the data, and those of others, such as `experiment`, by which jobs have other data."""
    chosen = list(keys)
    for key in reversed(keys):  # what is given first is the likelier to choose
        others = [other for other in chosen if other != key]
        if not _is_of_data(key) and _sources(jobs, others) == _sources(jobs, chosen):
            chosen = others
    return chosen


def _is_of_data(key: str) -> bool:
    group, _, name = key.lstrip("+").partition(".")
    return group in ("data", "task") and name not in LEARNING


def _sources(jobs: Sequence[Job], keys: Sequence[str]) -> list[int]:
    """Return for each job how many kinds of data there are among those that are the same in some keys."""
    sources: dict[str, set[str]] = {}
    for job in jobs:
        sources.setdefault(_label(job, keys), set()).add(job.source)
    return [len(sources[_label(job, keys)]) for job in jobs]


def _by_name(jobs: Sequence[Job], keys: Sequence[str]) -> dict[str, list[Job]]:
    """Return the jobs of each row; where nothing else distinguishes it, it has the name of the loss."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        loss = job.result.get("config", {}).get("loss", {"name": ""})
        if name := _label(job, keys) or str(loss.get("name", "all")):
            groups.setdefault(name, []).append(job)
    return groups


def _label(job: Job, keys: Sequence[str], *, with_keys: bool = False) -> str:
    """Return what distinguishes a job in some keys; of a single one the value is enough."""
    values = {key: job.overrides.get(key, "default") for key in keys}
    if len(keys) == 1 and not with_keys:
        return values[keys[0]]
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _loss(name: str, jobs: Sequence[Job], part: str) -> Entry:
    memory = [job.result["peak_memory_mb"]["process"] for job in jobs]
    return Entry(
        name=name,
        kind=LOSS,
        values=_by_metric({job.repeat: job.metrics for job in jobs}, part),
        seconds=[job.result["seconds"] for job in jobs],
        memory=[value for value in memory if value is not None],
        recall={job.repeat: recall for job in jobs if (recall := _recall(job, part)) is not None},
        jobs=jobs,
        command=_command(jobs, sweep=len(jobs) > 1),
        statistics={},
    )


def _recall(job: Job, part: str) -> list[float] | None:
    outputs = job.outputs.get(part)
    if outputs is None:
        return None
    return recall_by_class(job.result["task"], outputs.target, outputs.decision, len(job.result["targets"]))


def _references(
    jobs: Sequence[Job], records: Sequence[Mapping[str, Any]], part: str, made_by: str
) -> tuple[list[Entry], list[str]]:
    """Return the reference models on the rows of these jobs, and why some are missing."""
    repeats = {job.name: job.repeat for job in jobs}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if not repeats.keys().isdisjoint(record["jobs"]):
            groups.setdefault(record["name"], []).append(record)
    entries, notes = [], dict[str, None]()
    for name, group in groups.items():
        notes |= dict.fromkeys(f"{name}: {record['error']}" for record in group if record["error"])
        fitted = [record for record in group if record["status"] == FINISHED]
        if any(job.result.get("decide") for job in jobs) and not all(record.get("decide") for record in fitted):
            notes[f"{name}: its decisions are its own, chosen on no validation row"] = None
        if fitted:
            of_repeat = {repeats[job]: record for record in fitted for job in record["jobs"] if job in repeats}
            entries.append(
                Entry(
                    name=name,
                    kind=REFERENCE,
                    values=_by_metric({repeat: record["metrics"] for repeat, record in of_repeat.items()}, part),
                    seconds=[record["seconds"] for record in fitted],
                    memory=[],
                    recall={
                        repeat: recall
                        for repeat, record in of_repeat.items()
                        if (recall := record["recall"][part]) is not None
                    },
                    jobs=[],
                    command=made_by,
                    statistics={},
                )
            )
    return entries, list(notes)


def _by_metric(of_repeat: Mapping[str, Mapping[str, float | None]], part: str) -> dict[str, dict[str, float]]:
    """Turn `{repeat: {part/metric: value}}` round, of one part."""
    values: dict[str, dict[str, float]] = {}
    for repeat, metrics in of_repeat.items():
        for name, value in metrics.items():
            of_part, _, metric = name.partition("/")
            if of_part == part and metric.split("/")[0] not in OWN_TERMS and value is not None:
                values.setdefault(metric, {})[repeat] = value
    return values


def _metrics(entries: Sequence[Entry], task: Task, wanted: str | None) -> list[str]:
    """Return the metrics, first the one that counts."""
    known = list(dict.fromkeys(metric for entry in entries for metric in entry.values))
    if not known:
        raise ValueError("no job has a metric to compare by: give metrics in the config")
    first = next((metric for metric in (wanted, FIRST_METRIC[task]) if metric in known), known[0])
    return [first, *(metric for metric in known if metric != first)]


def _configured(jobs: Sequence[Job]) -> list[str]:
    """Return the metrics that jobs were to have."""
    return [name for job in jobs for name in (job.result["config"].get("metrics", {}).get(job.result["task"]) or {})]


def _better(jobs: Sequence[Job], metrics: Sequence[str]) -> dict[str, str]:
    """Return what the jobs say of each metric; those that an older version has left say nothing."""
    known = {name: mode for job in jobs for name, mode in job.result.get("better", {}).items()}
    return {metric: known.get(metric, better(metric)) for metric in metrics}


def _shared(jobs: Sequence[Job], part: str) -> float:
    """Return how many rows judge for each row of training, if the repetitions divide the same rows anew."""
    if jobs[0].result["config"]["data"]["name"] in DRAWN:
        return 0.0
    divisions: set[bytes | str] = {job.outputs[part].rows.numpy().tobytes() for job in jobs if part in job.outputs}
    divisions = divisions or {job.division for job in jobs}
    rows = jobs[0].result["rows"]
    return rows[part] / rows["train"] if len(divisions) > 1 else 0.0


def _with_statistics(entries: Sequence[Entry], baseline: str, metrics: Sequence[str], shared: float) -> list[Entry]:
    base = next(entry for entry in entries if entry.kind == LOSS and entry.name == baseline)
    statistics: list[dict[str, Statistic]] = [{} for _ in entries]
    for metric in metrics:
        of_base = base.values.get(metric, {})
        found = [[] if entry is base else differences(entry.values.get(metric, {}), of_base) for entry in entries]
        tested = [
            paired_p(of_entry, shared) if entry.kind == LOSS else nan
            for entry, of_entry in zip(entries, found, strict=True)
        ]
        for own, entry, of_entry, p in zip(statistics, entries, found, holm(tested), strict=True):
            if metric in entry.values:
                mean = Mean.of(list(entry.values[metric].values()), shared)
                own[metric] = Statistic(mean, Mean.of(of_entry, shared), p)
    return [Entry(**{**vars(entry), "statistics": own}) for entry, own in zip(entries, statistics, strict=True)]


def _command(jobs: Sequence[Job], *, sweep: bool) -> str:
    """Return the command that repeats some jobs, which differ in their seeds alone."""
    swept = {
        key: ",".join(dict.fromkeys(job.overrides[key] for job in jobs)) for key in REPEATS if key in jobs[0].overrides
    }
    return command(jobs[0].flags, {**jobs[0].overrides, **swept}, sweep=sweep)


def shown_metric(metric: str) -> str:
    """Return a metric's name in words."""
    return metric.replace("auroc", "AUROC").replace("_", " ")


def verdict(comparison: Comparison) -> str:
    """Return in a few sentences what the metric that counts says."""
    if len(comparison.losses) == 1:
        return ""
    said = [*_winner(comparison), *_beyond_chance(comparison)]
    references = [entry for entry in comparison.entries if entry.kind == REFERENCE]
    if best := comparison.best(references, comparison.metric):
        said.append(f"Best reference model: {_named(best, comparison.metric)}.")
    return " ".join(said)


def _winner(comparison: Comparison) -> Iterator[str]:
    """Say which loss is best, of those that have all runs, and which ones have not."""
    metric, base, losses = comparison.metric, comparison.baseline, comparison.losses
    complete = comparison.complete(losses, metric)
    runs = {entry.name: len(entry.values.get(metric, {})) for entry in losses if entry not in complete}
    if len(complete) > 1:
        best = comparison.best(losses, metric)
        difference = best[0].statistics[metric].difference.mean
        margin = (
            "" if base in [entry.name for entry in best] or isnan(difference) else f" ({difference:+.4f} to {base})"
        )
        yield f"Best mean {shown_metric(metric)}: {_named(best, metric)}{margin}."
        if runs:
            fewer = ", ".join(f"{name} ({count} of {len(comparison.repeats(metric))})" for name, count in runs.items())
            yield f"Left out, with fewer runs: {fewer}."
    else:
        counts = ", ".join(f"{entry.name} {len(entry.values.get(metric, {}))}" for entry in losses)
        yield f"The losses have not finished the same runs ({counts}): none is called the best."


def _named(best: Sequence[Entry], metric: str) -> str:
    """Return the names of entries with the same mean, and the mean."""
    return f"{', '.join(entry.name for entry in best)}, {best[0].statistics[metric].mean.mean:.4f}"


def _beyond_chance(comparison: Comparison) -> Iterator[str]:
    """Say which differences to the baseline are more than chance, or why nothing can be said."""
    metric, base = comparison.metric, comparison.baseline
    statistics = {entry.name: entry.statistics[metric] for entry in comparison.losses if metric in entry.statistics}
    if all(of_loss.mean.n < 2 for of_loss in statistics.values()):
        yield "One run of each says nothing about chance: repeat it, as in seed=0,1,2,3,4."
    elif telling := [name for name, of_loss in statistics.items() if of_loss.p < ALPHA]:
        yield f"Different from {base} beyond chance (p < {ALPHA}): {', '.join(telling)}."
    elif any(of_loss.difference.n > 1 for of_loss in statistics.values()):
        yield f"No difference to {base} is beyond chance (p < {ALPHA})."
    else:
        yield f"No loss shares two runs with {base}, which a test of chance needs."
