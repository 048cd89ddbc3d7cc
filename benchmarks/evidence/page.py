"""The page of the experiments, `docs/evidence.md`, from `results/*.json`; `plots.py` draws its pictures.

Run both after any of the experiments.

    python benchmarks/evidence/page.py && python benchmarks/evidence/plots.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import t

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "evidence.md"
IMAGES = ROOT / "docs" / "images"
RESULTS = Path(__file__).parent / "results"
Run = Mapping[str, Any]

HEAD = """# Evidence

Which loss helps, on which data, and by how much? Real data, made imbalanced or wrong where it says so, and no choice by
test rows: all epochs are trained and the last one is judged. `±` is the half width of the 95 % interval of the mean
over seeds; without it there was one seed. Each script in `benchmarks/evidence/` says where its data come from and goes
on where it was stopped; this page is made from its results. What did not help stands here too.
"""
NOISES = ("none", "symmetric 0.2", "symmetric 0.4", "symmetric 0.6", "symmetric 0.8", "pairs 0.4")


def read(name: str) -> dict[str, Any]:
    """Return the results of an experiment."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def values(runs: Iterable[Run], figure: Callable[[Run], float | None], **which: Any) -> list[float]:
    """Return a figure of the runs that are asked for, by seed."""
    chosen = sorted((run for run in runs if which.items() <= run.items()), key=lambda run: run["seed"])
    return [value for run in chosen if (value := figure(run)) is not None]


def mean(found: Sequence[float], digits: int, scale: float = 1.0) -> str:
    """Return the mean with its interval, empty where nothing was measured."""
    if not found:
        return ""
    shown = f"{scale * statistics.fmean(found):.{digits}f}"
    if len(found) == 1:
        return shown
    half = t.ppf(0.975, len(found) - 1) * statistics.stdev(found) / len(found) ** 0.5
    return f"{shown} ± {scale * half:.{digits}f}"


def table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def took(result: Mapping[str, Any], script: str) -> str:
    """Return where the figures come from and what they took."""
    machine, runs = result["machine"], result["runs"]
    minutes = sum(run["seconds"] for run in runs) / 60
    return (
        f"`benchmarks/evidence/{script}.py`, {machine['date']}: {len(runs)} runs, together {minutes:.1f} minutes of "
        f"one core ({machine['processor']}, {machine['instructions']}), torch {result['versions']['torch']}, no GPU."
    )


def last(run: Run) -> float:
    """Return the mean accuracy after the last epochs."""
    return statistics.fmean(run["last"])


def best(run: Run) -> float:
    """Return the best accuracy after any epoch."""
    return max(run["accuracy"])


def label_noise(result: Mapping[str, Any]) -> str:
    """Return the section on wrong labels."""
    runs, losses = result["runs"], list(result["setting"]["losses"])
    noises = [noise for noise in NOISES if values(runs, last, noise=noise)]

    def rows(figure: Callable[[Run], float]) -> dict[str, list[str]]:
        return {
            loss: [mean(values(runs, figure, loss=loss, noise=noise), 1, 100) for noise in noises] for loss in losses
        }

    return f"""## Wrong labels: Fashion-MNIST

In short: cross entropy learns wrong labels by heart. Losses that give up on hopeless rows (nce+rce, sce, gce) keep much
of what it loses, gce not where classes are mixed up in pairs, and cost less than a point where all labels are right.
Focal loss and label smoothing do not help.

6,000 training rows, 20 epochs, a network of two blocks of convolutions: a tenth of the rows and 40 % of the epochs that
papers take, so that a run fits a processor, in bfloat16 where torch mixes precisions. Set as Ma et al. (2020) publish
it for MNIST (gce: q 0.7; sce: alpha 0.01, beta 1; nce+rce: 1 and 10; focal: gamma 0.5), save that the weight decay
leaves biases and norms out; smoothing by 0.1. Accuracy on clean test rows in per cent, the mean of the last five
epochs:

{table("loss", noises, rows(last))}

Points above cross entropy, with the same rows, labels and initial weights:

{table("loss", noises, {loss: [above_ce(runs, loss, noise) for noise in noises] for loss in losses if loss != "ce"})}

The best epoch, on 2,000 of the test rows; without clean labels nobody knows which one it is:

{table("loss", noises, rows(best))}

![Accuracy on clean test rows, epoch by epoch](images/evidence_label_noise.png)

No published figures of this setting are known here. For CIFAR-10 the PyTorch code that the authors of the symmetric
cross entropy point to (<https://github.com/HanxunH/SCELoss-Reproduce>) reports, by the best epoch, 92.7 with ce and
92.1 with sce without noise, 54.1 and 73.8 at 0.6.

{took(result, "label_noise")}
"""


def above_ce(runs: Sequence[Run], loss: str, noise: str) -> str:
    """Return how many points a loss stands above cross entropy, compared seed by seed."""
    own, ce = (
        {run["seed"]: last(run) for run in runs if (run["loss"], run["noise"]) == (name, noise)}
        for name in (loss, "ce")
    )
    return mean([own[seed] - ce[seed] for seed in own if seed in ce], 1, 100)


def fraud(result: Mapping[str, Any]) -> str:
    """Return the section on rare positives."""
    runs = result["runs"]
    methods = ordered(result, (run["method"] for run in runs))

    def figure(name: str) -> Callable[[Run], float]:
        return lambda run: run[name]

    def said(how: str) -> Callable[[Run], float | None]:
        return lambda run: run["calibration"].get(how, {}).get("said")

    def cells(method: str) -> list[str]:
        precision = values(runs, figure("average precision"), method=method)
        of_ce = values(runs, figure("average precision"), method="ce")
        gain = [] if method == "ce" else [one - ce for one, ce in zip(precision, of_ce, strict=False)]
        own = values(runs, said("its own"), method=method)
        return [
            mean(precision, 3),
            mean(gain, 3),
            mean(values(runs, figure("recall at 1 % alarms"), method=method), 3),
            mean(own or values(runs, said("softmax"), method=method), 4),
            mean(values(runs, said("posterior"), method=method), 4),
        ]

    right = statistics.fmean(run["calibration"][how]["right"] for run in runs for how in run["calibration"])
    columns = ["average precision", "above ce", "recall at 1 % alarms", "mean probability, softmax", "posterior"]
    return f"""## Rare positives: credit-card fraud

In short: logit adjustment ranks best, weights do not help the ranking, and among the first 1 % all networks find nearly
equally many frauds. What a loss does to the probabilities, `posterior` undoes.

492 frauds in 284,807 transactions; each seed divides them anew and leaves 98 or 99 frauds among the test rows. Average
precision, and recall among the 1 % of the rows that stand first, are of the ranking alone. The mean probability is what
a model says of the share of frauds, which is {right:.5f}:

{table("", columns, {method: cells(method) for method in methods})}

The trees have scikit-learn's defaults, with which they stop after a few steps on these data: they are no measure of
what trees can do. One setting serves all losses; it was tried with ce on validation rows.

![Average precision, a point for each seed](images/evidence_fraud.png)

{took(result, "fraud")}
"""


def ordered(result: Mapping[str, Any], methods: Iterable[str]) -> list[str]:
    """Return each method once, the losses first."""
    return sorted(dict.fromkeys(methods), key=lambda method: method not in result["setting"]["losses"])


class Sweep(NamedTuple):
    """All folds of a method and a seed: how many rows each class has, and how many of them were decided right."""

    classes: Sequence[str]
    rows: Sequence[int]
    right: Sequence[int]

    def recall(self, index: int) -> float:
        """Return the share of a class that was found."""
        return self.right[index] / self.rows[index]


def by_sweep(result: Mapping[str, Any]) -> dict[tuple[str, int], Sweep]:
    """Return the folds of each method and seed together, of those that are complete."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in result["runs"]:
        found.setdefault((run["method"], run["seed"]), []).append(run)
    return {
        key: Sweep(
            runs[0]["classes"],
            *([sum(n) for n in zip(*(run[of] for run in runs), strict=True)] for of in ("rows", "right")),
        )
        for key, runs in found.items()
        if len(runs) == result["setting"]["data"]["folds"]
    }


def shuttle(result: Mapping[str, Any]) -> str:
    """Return the section on classes of a few rows."""
    sweeps = by_sweep(result)
    first = next(iter(sweeps.values()))
    order = sorted(range(len(first.classes)), key=lambda index: first.rows[index])
    rows = {}
    for method in ordered(result, (method for method, _ in sweeps)):
        own = [sweep for (name, _), sweep in sweeps.items() if name == method]
        rows[method] = [
            mean([statistics.fmean(sweep.recall(index) for index in order) for sweep in own], 3),
            mean([sum(sweep.right) / sum(sweep.rows) for sweep in own], 4),
            *(mean([sweep.recall(index) for sweep in own], 2) for index in order),
        ]
    names = [f"{first.classes[index]} ({first.rows[index]:,})" for index in order]
    return f"""## Classes of a few rows: Shuttle

In short: weights find classes of ten rows that cross entropy mostly misses, and pay with rows of the most frequent one.

58,000 rows, seven classes, the rarest of 10 rows. Five folds: each row is judged by a model that has not seen it. The
recall of each class, with its number of rows, and their mean, the balanced accuracy:

{table("", ["balanced accuracy", "accuracy", *names], rows)}

![Recall of the four rarest classes](images/evidence_shuttle.png)

{took(result, "shuttle")}
"""


def error(how: str) -> Callable[[Run], float | None]:
    """Return what reads the calibration error of softmax or of the posterior."""
    return lambda run: run["calibration"].get(how, {}).get("error")


def posterior(noise: Mapping[str, Any], rare: Mapping[str, Any]) -> str:
    """Return the section on probabilities."""

    def both(runs: Sequence[Run], **which: Any) -> list[str]:
        return [mean(values(runs, error(how), **which), 4) for how in ("softmax", "posterior")]

    clean = {loss: both(noise["runs"], loss=loss, noise="none") for loss in noise["setting"]["losses"]}
    fraudulent = {loss: both(rare["runs"], method=loss) for loss in rare["setting"]["losses"]}
    columns = ["softmax", "posterior"]
    return f"""## Probabilities: `posterior` against softmax

Expected calibration error on test rows (15 bins of equal width). `posterior` undoes what the loss itself does to the
probabilities, without further data; where a loss has none the cell is empty. Fashion-MNIST without noise, by the
largest probability:

{table("loss", columns, {loss: cells for loss, cells in clean.items() if cells[0]})}

Credit-card fraud, by the probability of fraud:

{table("loss", columns, fraudulent)}

It helps where a loss weighs classes or rows and the training comes near its minimum, as with fraud, and with smoothed
labels. With focal, gce and sce on Fashion-MNIST it makes things worse: the formula is exact at the minimum of the
expected loss, and a network that knows its training rows by heart is far from it. What fits there is one number from
validation rows, `decide.temperature=true`.

![Calibration error of softmax and posterior](images/evidence_posterior.png)
"""


def page() -> str:
    """Return the whole page."""
    noise, rare, few = (read(name) for name in ("label_noise", "fraud", "shuttle"))
    return "\n".join([HEAD, label_noise(noise), fraud(rare), shuttle(few), posterior(noise, rare)])


if __name__ == "__main__":
    PAGE.write_text(page())
