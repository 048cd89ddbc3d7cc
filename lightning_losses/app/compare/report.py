"""The report of a sweep: a page to look at, and its numbers and figures as files."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lightning_losses._files import replace
from lightning_losses.app.compare.calibration import calibration
from lightning_losses.app.compare.comparison import Comparison, compare, shown_metric, verdict
from lightning_losses.app.compare.figures import plot_curves, plot_differences, plot_reliability
from lightning_losses.app.compare.references import read_references
from lightning_losses.app.compare.sweep import FINISHED, Job, left_out, read_sweep
from lightning_losses.app.compare.tables import (
    PARTS,
    Table,
    job_table,
    metric_table,
    recall_table,
    records,
    unfinished_table,
)
from lightning_losses.app.files import write_csv, write_json
from lightning_losses.app.report import versions

PAGE = "report.html"
DPI = 144


class Image(NamedTuple):
    """A figure as PNG, for light and for dark pages."""

    name: str
    light: bytes
    dark: bytes
    text: str
    caption: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, which stand in the header of a PNG file."""
        return int.from_bytes(self.light[16:20], "big"), int.from_bytes(self.light[20:24], "big")


@dataclass(frozen=True)
class Section:
    """What the page shows of one comparison."""

    title: str
    verdict: str
    metrics: Table
    notes: Sequence[str]
    figures: Sequence[Image]
    recall: Table | None
    reliability: Sequence[Image]
    commands: Sequence[tuple[str, str]]


def write_report(folder: Path, settings: DictConfig) -> Path:
    """Write `report.html`, `report.json`, `report.csv` and the figures as PNG files into the folder of a sweep.

    Args:
        folder: Of the sweep.
        settings: `compare` of the config: `metric` and `baseline` count, where they are null what the sweep had.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is of something else, no job has finished, or a name is unknown.
        OSError: The folder cannot be written to.
    """
    jobs = read_sweep(folder)
    metric, baseline = (settings[key] or _setting(jobs, key) for key in ("metric", "baseline"))
    references = read_references(folder)
    comparisons = compare(jobs, references, metric, baseline)
    sections = [_section(comparison, f"{i}_" * (len(comparisons) > 1)) for i, comparison in enumerate(comparisons)]
    rows = [record for comparison in comparisons for record in records(comparison)]
    write_csv(folder / "report.csv", pd.DataFrame(rows))
    write_json(folder / "report.json", {"rows": rows, "jobs": [_summary(job) for job in jobs], "versions": versions()})
    for image in (image for section in sections for image in (*section.figures, *section.reliability)):
        _write_bytes(folder / f"{image.name}.png", image.light)
    _write_bytes(folder / PAGE, _page(folder, jobs, references, comparisons, sections).encode())
    return (folder / PAGE).absolute()


def _write_bytes(path: Path, content: bytes) -> None:
    replace(path, lambda part: part.write_bytes(content))


def _setting(jobs: Sequence[Job], key: str) -> str | None:
    """Return what the sweep itself had in its block `compare`."""
    return next((job.result["config"].get("compare", {}).get(key) for job in jobs if "config" in job.result), None)


def _summary(job: Job) -> dict[str, Any]:
    return {"job": job.name, "status": job.status, "error": job.error, "command": job.command, "metrics": job.metrics}


def _section(comparison: Comparison, prefix: str) -> Section:
    metric, part = shown_metric(comparison.metric), PARTS[comparison.part]
    figures = []
    if len(comparison.entries) > 1:
        shown = ", ".join(
            f"{entry.name} {difference.mean:+.4f}"
            for entry in comparison.entries
            if comparison.metric in entry.statistics
            and (difference := entry.statistics[comparison.metric].difference).n
        )
        figures.append(
            _image(
                f"{prefix}differences",
                partial(plot_differences, comparison),
                f"Difference in {metric} to {comparison.baseline}: {shown}",
                f"Paired difference in {metric} to {comparison.baseline} on the {part}, with its 95 % interval.",
            )
        )
    figures.append(
        _image(
            f"{prefix}learning_curves",
            partial(plot_curves, comparison),
            f"Learning curves: {metric} of the validation and the training part over the epochs, a line for each loss",
            f"Mean {metric} over the epochs that at least half of the runs reach, over the runs that reach them.",
        )
    )
    return Section(
        title=comparison.title,
        verdict=verdict(comparison),
        metrics=metric_table(comparison),
        notes=[
            *_about_chance(comparison),
            *_about_decisions(comparison),
            *_about_choices(comparison),
            *_about_class_1(comparison),
            *comparison.notes,
        ],
        figures=figures,
        recall=recall_table(comparison),
        reliability=list(_reliability(comparison, prefix)),
        commands=[(entry.name, entry.command) for entry in comparison.entries],
    )


def _about_chance(comparison: Comparison) -> Iterator[str]:
    if all(of_metric.mean.n < 2 for entry in comparison.entries for of_metric in entry.statistics.values()):
        return
    if comparison.shared:
        yield (
            "The runs divide the same rows anew: ± and p are corrected for the rows that they share (Nadeau and "
            f"Bengio, 2003), by {comparison.shared:.2f} rows that judge for each row of training."
        )
    else:
        yield "± and p are Student's: all runs are judged by the same rows, or each by rows of its own."


def _about_decisions(comparison: Comparison) -> Iterator[str]:
    deciding = [result["config"].get("decide", {}) for result in _results(comparison) if result.get("decide")]
    given = [f"decide.{key}={value}" for decide in deciding for key, value in decide.items() if value]
    if deciding:
        yield f"How to decide was chosen on the validation part: {', '.join(dict.fromkeys(given))}."


def _about_choices(comparison: Comparison) -> Iterator[str]:
    results = _results(comparison)
    kinds = {
        "the epoch": any(map(_chooses_epoch, results)),
        "the trial": any("trials" in result for result in results),
        "how to decide": any(result.get("decide") for result in results),
    }
    chosen = [kind for kind, was_chosen in kinds.items() if was_chosen]
    if comparison.part == "val" and chosen:
        yield (
            f"There is no test part: the rows that judge also chose {' and '.join(chosen)}, which flatters what was "
            "chosen. data.test_fraction=0.2 keeps rows apart that choose nothing."
        )


def _chooses_epoch(result: Mapping[str, Any]) -> bool:
    stopping = result["config"].get("callbacks", {}).get("early_stopping")
    return bool(stopping or result.get("checkpoint", {}).get("monitor"))


def _results(comparison: Comparison) -> list[Mapping[str, Any]]:
    return [job.result for entry in comparison.losses for job in entry.jobs]


def _about_class_1(comparison: Comparison) -> Iterator[str]:
    if comparison.task == "binary":
        zero, one = comparison.targets
        yield (
            f"Class 1, which average precision, f1 and calibration are about, is {one}; "
            f"for a table data.positive={zero} turns it round."
        )


def _reliability(comparison: Comparison, prefix: str) -> list[Image]:
    images = []
    for i, entry in enumerate(comparison.losses):
        found = calibration(entry.jobs, comparison.part)
        if found is not None:
            over = f"rows of its {len(entry.jobs)} runs together" if len(entry.jobs) > 1 else "rows of its one run"
            errors = ", ".join(f"{name} {error:.3f}" for name, error in found.errors.items())
            images.append(
                _image(
                    f"{prefix}reliability_{i}",
                    partial(plot_reliability, entry, found),
                    f"Reliability of {entry.name}; calibration error, {over}: {errors}",
                    f"Calibration error of {entry.name}, {over}: {errors}.",
                )
            )
    return images


def _image(name: str, draw: Callable[[str], Figure], text: str, caption: str) -> Image:
    return Image(name, _png(draw("light")), _png(draw("dark")), text, caption)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _page(
    folder: Path,
    jobs: Sequence[Job],
    references: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Comparison],
    sections: Sequence[Section],
) -> str:
    own = files(__package__) / "page"
    style, script = ((own / f"report.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    environment = Environment(autoescape=True)
    environment.filters["base64"] = _base64
    template = environment.from_string((own / PAGE).read_text(encoding="utf-8"))
    names = list(dict.fromkeys(entry.name for comparison in comparisons for entry in comparison.losses))
    finished = sum(job.status == FINISHED for job in jobs)
    facts = [
        f"{finished} of {len(jobs)} jobs finished",
        f"{others} of an earlier sweep left out" if (others := len(left_out(folder, jobs))) else "",
        _data(jobs),
        f"folder {folder.absolute().name}",
        f"{datetime.now():%Y-%m-%d %H:%M}",
    ]
    return template.render(
        title=f"Comparison of {', '.join(names)}" if len(names) <= 8 else f"Comparison of {len(names)} models",
        facts=[fact for fact in facts if fact],
        sections=sections,
        unfinished=unfinished_table(jobs, references),
        jobs=job_table(comparisons),
        versions=", ".join(f"{package} {number}" for package, number in versions().items()),
        style=Markup(style),  # own files, nothing else is unescaped
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _data(jobs: Sequence[Job]) -> str:
    """Return which data the jobs were trained on."""
    known = [job.result["config"]["data"] for job in jobs if job.status == FINISHED]
    files = [next((str(data[key]) for key in ("path", "root") if data.get(key)), "") for data in known]
    names = [f"{data['name']} {Path(file).name}".strip() for data, file in zip(known, files, strict=True)]
    return f"data {', '.join(dict.fromkeys(names))}"


def _hash(text: str) -> str:
    """Return the hash by which the page's security policy knows its own style and script."""
    return _base64(hashlib.sha256(text.encode()).digest())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
