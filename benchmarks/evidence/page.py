"""The page of the experiments, `docs/evidence.md`, from `results/*.json`; `plots.py` draws its pictures.

Run both after any of the experiments, complete or not: all figures and all comparisons are computed.

    python benchmarks/evidence/page.py && python benchmarks/evidence/plots.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import fraud as fraud_runs
import label_noise as label_noise_runs
import shuttle as shuttle_runs
from runs import BINS, REFERENCES
from words import CORRECTED, Values, gains, judged, shown, verdict, without_help

from lightning_losses.app.compare.statistics import Mean, differences

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "evidence.md"
IMAGES = ROOT / "docs" / "images"
RESULTS = Path(__file__).parent / "results"
Run = Mapping[str, Any]
Result = Mapping[str, Any]
Figure = Callable[[Run], float | None]

HEAD = """# Evidence

Which loss helps, on which data, and by how much? Real data, made imbalanced or wrong where it says so, and no choice by
test rows: all epochs are trained and the last one is judged. `±` is half the width of the 95 % interval of the mean
over the repetitions (Student's t); where they divide the same rows anew its variance, and that of the tests, is
corrected for the rows that they share (Nadeau and Bengio, 2003). Without `±` there was one repetition. Each script in
`benchmarks/evidence/` says where its data come from and goes on where it was stopped; every figure and every comparison
on this page is computed from its results.
"""
NOISES = sorted(  # none, at random, then in pairs
    label_noise_runs.NOISES, key=lambda name: ("pairs" in (of := label_noise_runs.NOISES[name]), of["rate"])
)


def read(name: str) -> dict[str, Any]:
    """Return the results of an experiment."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def values(runs: Iterable[Run], figure: Figure, **which: Any) -> dict[str, float]:
    """Return a figure of the runs that are asked for, by what repeats: the seed, and the fold where there are folds."""
    chosen = sorted((run for run in runs if which.items() <= run.items()), key=repetition)
    found = {str(repetition(run)): figure(run) for run in chosen}
    return {key: value for key, value in found.items() if value is not None}


def repetition(run: Run) -> tuple[int, int]:
    """Return by what runs are paired."""
    return run["seed"], run.get("fold", 0)


def mean(found: Mapping[str, float], digits: int, scale: float = 1.0, shared: float = 0.0) -> str:
    """Return the mean with its interval, empty where nothing was measured."""
    return shown(Mean.of(list(found.values()), shared), digits, scale)


def table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def items(lines: Mapping[str, str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {name}: {line}." for name, line in lines.items())


def took(result: Result, script: str, wanted: Iterable[Any]) -> str:
    """Return where the figures come from, what they took and what is missing."""
    machine, runs, all_runs = result["machine"], result["runs"], len(list(wanted))
    minutes = sum(run["seconds"] for run in runs) / 60
    processor = f"{machine['processor']}, {machine['instructions']}"
    missing = (
        f" {all_runs - len(runs)} are missing: means rest on the repetitions that are there, differences on those that "
        "both have."
        if len(runs) < all_runs
        else ""
    )
    return (
        f"`benchmarks/evidence/{script}.py`, {machine['date']}: {len(runs)} of {all_runs} runs, together {minutes:.1f} "
        f"minutes of one core ({processor}), torch {result['versions']['torch']}, "
        f"no GPU.{missing}"
    )


def last(run: Run) -> float:
    """Return the mean accuracy after the last epochs."""
    return statistics.fmean(run["last"])


def best(run: Run) -> float:
    """Return the best accuracy after any epoch."""
    return max(run["accuracy"])


def parameters(loss: Mapping[str, Any]) -> str:
    """Return what a loss is set to, in words."""
    of_loss = {key: value for key, value in loss.items() if key != "name"}
    return ", ".join(f"{key} {value:g}" for key, value in of_loss.get("terms", of_loss).items())


def label_noise(result: Result) -> str:
    """Return the section on wrong labels."""
    runs, setting = result["runs"], result["setting"]
    losses, data = setting["losses"], setting["data"]
    noises = [noise for noise in NOISES if values(runs, last, noise=noise)]
    found = {
        noise: gains({loss: values(runs, last, loss=loss, noise=noise) for loss in losses}, "ce") for noise in noises
    }
    fallen = [
        f"{noise} {mean(of_ce, 1, 100)}"
        for noise in noises
        if (of_ce := values(runs, lambda run: best(run) - last(run), loss="ce", noise=noise))
    ]
    set_to = "; ".join(f"{name}: {said}" for name, loss in losses.items() if (said := parameters(loss)))
    rows_of_papers, epochs_of_papers = 60_000, 50
    rows, epochs = round(data["rows"] * (1 - data["val_fraction"])), setting["trainer"]["max_epochs"]

    def rows_of(figure: Figure) -> dict[str, list[str]]:
        return {
            loss: [mean(values(runs, figure, loss=loss, noise=noise), 1, 100) for noise in noises] for loss in losses
        }

    above = {
        loss: [shown(found[noise][loss].mean, 1, 100, "+") if loss in found[noise] else "" for noise in noises]
        for loss in losses
        if loss != "ce"
    }
    return f"""## Wrong labels: Fashion-MNIST

In short: how many points of accuracy a loss stands above cross entropy after the last epochs, with the same rows,
labels and initial weights ({CORRECTED}):

{items({noise: verdict(found[noise], "above", "below", 1, 100) for noise in noises})}

{without_help({noise: of for noise, of in found.items() if noise != "none"}, " with wrong labels")}
Points that cross entropy loses from its best epoch to its last ones: {", ".join(fallen)}.

{rows:,} training rows, {epochs} epochs, a network of {len(setting["model"]["channels"])} blocks of convolutions: \
{100 * rows / rows_of_papers:.0f} % of the rows and {100 * epochs / epochs_of_papers:.0f} % of the epochs that
Ma et al. (2020) take, so that a run fits a processor, in {setting["trainer"]["precision"]}. Set as they publish it for
MNIST, save that the weight decay leaves biases and norms out. {set_to}. Accuracy on clean test rows in per cent, the
mean of the last {label_noise_runs.LAST} epochs:

{table("loss", noises, rows_of(last))}

Points above cross entropy:

{table("loss", noises, above)}

The best epoch, on {label_noise_runs.FEW:,} of the test rows; without clean labels nobody knows which one it is:

{table("loss", noises, rows_of(best))}

![Accuracy on clean test rows, epoch by epoch](images/evidence_label_noise.png)

No published figures of this setting are known here. For CIFAR-10 the PyTorch code that the authors of the symmetric
cross entropy point to (<https://github.com/HanxunH/SCELoss-Reproduce>) reports, by the best epoch, 92.7 with ce and
92.1 with sce without noise, 54.1 and 73.8 at 0.6.

{took(result, "label_noise", label_noise_runs.in_order())}
"""


def shared_rows(result: Result) -> float:
    """Return how many rows judge for each row of training, where all seeds divide the same rows."""
    data = result["setting"]["data"]
    if "folds" in data:
        return 1 / (data["folds"] - 1)
    return data["test_fraction"] / (1 - data["val_fraction"] - data["test_fraction"])


def fraud(result: Result) -> str:
    """Return the section on rare positives."""
    runs, shared = result["runs"], shared_rows(result)
    methods = ordered(result, (run["method"] for run in runs))
    precision, recall = (by_method(runs, itemgetter(name)) for name in ("average precision", "recall at 1 % alarms"))
    found = {
        "average precision": gains(losses_of(precision), "ce", shared),
        "recall at 1 % alarms": gains(losses_of(recall), "ce", shared),
    }
    above = gains(precision, "ce", shared)

    def said(how: str) -> Figure:
        return lambda run: run["calibration"].get(how, {}).get("said")

    def cells(method: str) -> list[str]:
        own = values(runs, said("its own"), method=method)
        return [
            mean(precision[method], 3, shared=shared),
            shown(above[method].mean, 3, sign="+") if method in above else "",
            mean(recall[method], 3, shared=shared),
            mean(own or values(runs, said("softmax"), method=method), 4, shared=shared),
            mean(values(runs, said("posterior"), method=method), 4, shared=shared),
        ]

    right = statistics.fmean(run["calibration"][how]["right"] for run in runs for how in run["calibration"])
    columns = ["average precision", "above ce", "recall at 1 % alarms", "mean probability, softmax", "posterior"]
    frauds, rows = 492, 284_807
    return f"""## Rare positives: credit-card fraud

In short: how far a loss stands above cross entropy on the same rows ({CORRECTED}):

{items({name: verdict(of_name, "above", "below", 3) for name, of_name in found.items()})}

{without_help(found)} {ahead(precision, "average precision", 3)}

{frauds} frauds in {rows:,} transactions; each seed divides them anew and leaves about \
{frauds * result["setting"]["data"]["test_fraction"]:.0f} frauds among the test rows. Average
precision, and recall among the 1 % of the rows that stand first, are of the ranking alone. The mean probability is what
a model says of the share of frauds, which is {right:.5f}:

{table("", columns, {method: cells(method) for method in methods})}

One setting serves all losses; it was tried with ce on validation rows. Logistic regression and the trees are those of
the command's reports, and were not tested; the trees' setting was chosen on validation rows.

![Average precision, a point for each seed](images/evidence_fraud.png)

{took(result, "fraud", fraud_runs.in_order())}
"""


def by_method(runs: Sequence[Run], figure: Figure) -> dict[str, dict[str, float]]:
    """Return a figure of each method."""
    return {method: values(runs, figure, method=method) for method in dict.fromkeys(run["method"] for run in runs)}


def ahead(found: Values, what: str, digits: int) -> str:
    """Return in a sentence which method has the best mean, and which of the reference models."""
    means = {method: statistics.fmean(own.values()) for method, own in found.items()}
    first = max(means, key=means.__getitem__)
    of_reference = max(set(means) & set(REFERENCES), key=means.__getitem__, default=None)
    reference = f"; of the reference models {of_reference}, {means[of_reference]:.{digits}f}" if of_reference else ""
    return f"Best mean {what}: {first}, {means[first]:.{digits}f}{reference}."


def losses_of(found: Values) -> Values:
    """Return what is tested: all but the reference models."""
    return {method: own for method, own in found.items() if method not in REFERENCES}


def ordered(result: Result, methods: Iterable[str]) -> list[str]:
    """Return each method once, the losses first."""
    return sorted(dict.fromkeys(methods), key=lambda method: method not in result["setting"]["losses"])


class Sweep(NamedTuple):
    """Folds of a method: how many rows each class has, and how many of them were decided right."""

    classes: Sequence[str]
    rows: Sequence[int]
    right: Sequence[int]

    def recall(self, index: int) -> float:
        """Return the share of a class that was found."""
        return self.right[index] / self.rows[index]

    @property
    def balanced(self) -> float:
        """The mean recall of the classes."""
        return statistics.fmean(map(self.recall, range(len(self.classes))))

    @property
    def accuracy(self) -> float:
        """The share of all rows."""
        return sum(self.right) / sum(self.rows)


def added(runs: Sequence[Run]) -> Sweep:
    """Return folds together."""
    rows, right = ([sum(n) for n in zip(*(run[of] for run in runs), strict=True)] for of in ("rows", "right"))
    return Sweep(runs[0]["classes"], rows, right)


def sweeps_of(result: Result) -> dict[str, list[Sweep]]:
    """Return the folds of each method, those of a seed together, of the seeds that have all."""
    found: dict[str, dict[int, list[Run]]] = {}
    for run in result["runs"]:
        found.setdefault(run["method"], {}).setdefault(run["seed"], []).append(run)
    folds = result["setting"]["data"]["folds"]
    whole = {
        method: [added(runs) for runs in found[method].values() if len(runs) == folds]
        for method in ordered(result, found)
    }
    return {method: sweeps for method, sweeps in whole.items() if sweeps}


def shuttle(result: Result) -> str:
    """Return the section on classes of a few rows."""
    sweeps, shared = sweeps_of(result), shared_rows(result)
    head, source = "## Classes of a few rows: Shuttle", took(result, "shuttle", shuttle_runs.in_order())
    if not sweeps:
        return f"{head}\n\nNo method has all folds of a seed yet.\n\n{source}\n"
    first = next(iter(sweeps.values()))[0]
    order = sorted(range(len(first.classes)), key=lambda index: first.rows[index])
    balanced = by_method(result["runs"], lambda run: added([run]).balanced)
    accuracy = by_method(result["runs"], lambda run: added([run]).accuracy)
    above = gains(balanced, "ce", shared)
    found = {"balanced accuracy": gains(losses_of(balanced), "ce", shared)}

    def cells(method: str) -> Iterator[str]:
        own = sweeps[method]
        yield f"{len(own)}"
        yield f"{statistics.fmean(sweep.balanced for sweep in own):.3f}"
        yield shown(above[method].mean, 3, sign="+") if method in above else ""
        yield f"{statistics.fmean(sweep.accuracy for sweep in own):.4f}"
        for index in order:
            yield f"{statistics.fmean(sweep.recall(index) for sweep in own):.2f}"

    names = [f"{first.classes[index]} ({first.rows[index]:,})" for index in order]
    columns = ["seeds", "balanced accuracy", "above ce", "accuracy", *names]
    return f"""{head}

In short: how far a loss stands above cross entropy on the same folds ({CORRECTED}):

- balanced accuracy: {verdict(found["balanced accuracy"], "above", "below", 3)}.
- accuracy: {verdict(gains(losses_of(accuracy), "ce", shared), "above", "below", 4)}.

{without_help(found, " balanced accuracy")} {ahead(balanced, "balanced accuracy of a fold", 3)}

{sum(first.rows):,} rows, {len(order)} classes, the rarest of {first.rows[order[0]]} rows. \
{result["setting"]["data"]["folds"]} folds: each row is judged by a model that has not seen it. The
recall of each class, with its number of rows, and their mean, the balanced accuracy, of all folds together:

{table("", columns, {method: list(cells(method)) for method in sweeps})}

![Recall of the rarest classes](images/evidence_shuttle.png)

{source}
"""


def error(how: str) -> Figure:
    """Return what reads the calibration error of softmax or of the posterior."""
    return lambda run: run["calibration"].get(how, {}).get("error")


def posterior(noise: Result, rare: Result) -> str:
    """Return the section on probabilities."""

    def section(runs: Sequence[Run], losses: Iterable[str], key: str, shared: float) -> tuple[str, str]:
        both = {loss: [values(runs, error(how), **{key: loss}) for how in ("softmax", "posterior")] for loss in losses}
        found = judged({loss: differences(after, before) for loss, (before, after) in both.items()}, shared)
        cells = {
            loss: [mean(of_how, 4, shared=shared) for of_how in errors] for loss, errors in both.items() if errors[0]
        }
        none = [loss for loss, (before, after) in both.items() if before and not after]
        said = verdict(found, "larger", "smaller", 4)
        without = f"; without a posterior: {', '.join(none)}" if none else ""
        return f"{said}{without}", table("loss", ["softmax", "posterior"], cells)

    clean = [run for run in noise["runs"] if run["noise"] == "none"]
    of_clean, clean_table = section(clean, noise["setting"]["losses"], "loss", 0.0)
    of_rare, rare_table = section(rare["runs"], rare["setting"]["losses"], "method", shared_rows(rare))
    return f"""## Probabilities: `posterior` against softmax

In short: by how much the expected calibration error of `posterior` is larger or smaller than that of softmax
({CORRECTED}):

- Fashion-MNIST without noise: {of_clean}.
- credit-card fraud: {of_rare}.

`posterior` undoes what the loss itself does to the probabilities, without further data. The formula is exact at the
minimum of the expected loss. A network that knows its training rows by heart is far from it, and there the error can
grow; what is meant for that is one number from validation rows, `decide.temperature=true`.

On test rows, {BINS} bins of equal width. Fashion-MNIST without noise, by the largest probability:

{clean_table}

Credit-card fraud, by the probability of fraud:

{rare_table}

![Calibration error of softmax and posterior](images/evidence_posterior.png)
"""


def page() -> str:
    """Return the whole page."""
    noise, rare, few = (read(name) for name in ("label_noise", "fraud", "shuttle"))
    return "\n".join([HEAD, label_noise(noise), fraud(rare), shuttle(few), posterior(noise, rare)])


if __name__ == "__main__":
    PAGE.write_text(page())
