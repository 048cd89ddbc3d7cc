"""Models without a network, on the same rows as the jobs: what a loss has to beat."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from torch import Tensor

from lightning_losses.app.compare.recall import recall_by_class
from lightning_losses.app.compare.sweep import FAILED, FINISHED, Job
from lightning_losses.app.data import Dataset, Part, Task, build_data
from lightning_losses.app.data.base import as_target
from lightning_losses.app.errors import one_line
from lightning_losses.app.files import write_json
from lightning_losses.app.metrics import Metrics, build_metrics
from lightning_losses.app.tables import say
from lightning_losses.decide import DecisionRule
from lightning_losses.losses import Prediction
from lightning_losses.losses.registry import get_loss

REFERENCES = "references.json"
SKIPPED = "skipped"
ITERATIONS = 1000  # of the logistic regression; scikit-learn's 100 are too few for many columns
# scikit-learn's own stop after ten trees where rows are many and positives rare, and do not regularize their leaves: on
# three divisions of 0.2 % frauds these have an average precision of .88 on validation rows, those .54
BOOSTING: dict[str, Any] = {
    "early_stopping": False,
    "learning_rate": 0.05,
    "max_iter": 200,
    "l2_regularization": 1.0,
    "random_state": 0,
}


def logistic() -> LogisticRegression:
    """Return the classifier that is linear."""
    return LogisticRegression(max_iter=ITERATIONS)


def trees() -> HistGradientBoostingClassifier:
    """Return the classifier of gradient-boosted trees."""
    return HistGradientBoostingClassifier(**BOOSTING)


Maker = tuple[str, Callable[[], Any]]
LINEAR: dict[Task, Maker] = {
    "binary": ("logistic regression", logistic),
    "multiclass": ("logistic regression", logistic),
    "multilabel": ("logistic regression", lambda: MultiOutputClassifier(logistic())),
    "regression": ("ridge regression", RidgeCV),
}
TREES: dict[Task, Maker] = {
    "binary": ("boosted trees", trees),
    "multiclass": ("boosted trees", trees),
    "multilabel": ("boosted trees", lambda: MultiOutputClassifier(trees())),
    "regression": ("boosted trees", lambda: MultiOutputRegressor(HistGradientBoostingRegressor(**BOOSTING))),
}
KINDS = {"linear": LINEAR, "trees": TREES}


def fit_references(folder: Path, jobs: Sequence[Job], cfg: DictConfig) -> None:
    """Fit the reference models once for each division of the data, and write `references.json`.

    They train on the rows and labels that the jobs train on, images flattened, decide by the rule of the jobs, chosen
    on the same validation rows, and are judged by the same metrics on the same rows. What fails is written down with
    its error: a sweep has its page all the same.

    Args:
        folder: Of the sweep.
        jobs: Its jobs.
        cfg: The sweep's config, of which `compare` and `metrics` count.
    """
    divisions: dict[str, list[Job]] = {}
    for job in jobs:
        if job.status == FINISHED:
            divisions.setdefault(job.division, []).append(job)
    records: list[dict[str, Any]] = []
    for i, of_data in enumerate(divisions.values()):
        task = of_data[0].result["task"]
        load = cache(partial(build_data, of_data[0].result["config"]["data"], task))
        for kind in cfg.compare.references or ():
            name = KINDS[kind][task][0]
            say(f"reference model, {name}, data {i + 1} of {len(divisions)}")
            try:
                record = _fit(kind, load().dataset, _rule(of_data), cfg)
            except Exception as error:
                record = {"status": FAILED, "error": one_line(error)}
            records.append({"name": name, "jobs": [job.name for job in of_data], **record})
    write_json(folder / REFERENCES, {"references": records})


def read_references(folder: Path) -> list[dict[str, Any]]:
    """Return the records that `fit_references` has left, if it has run."""
    try:
        return list(json.loads((folder / REFERENCES).read_text(encoding="utf-8"))["references"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _rule(jobs: Sequence[Job]) -> DecisionRule:
    """Return by what rule jobs decide; where each has its own, none."""
    first, *others = (DecisionRule(**job.result["config"].get("decide", {})) for job in jobs)
    return first if all(other == first for other in others) else DecisionRule()


def _fit(kind: str, dataset: Dataset, rule: DecisionRule, cfg: DictConfig) -> dict[str, Any]:
    """Return the metrics and the time of one model, or why there are none."""
    _, make = KINDS[kind][dataset.task]
    train = dataset.parts["train"]
    x = train.x.flatten(1).numpy()
    size = x.size * dataset.outputs
    if size > cfg.compare.reference_limit:
        reason = (
            f"{len(x):,} rows x {x.shape[1]:,} columns x {dataset.outputs} outputs would take long: "
            f"compare.reference_limit={size} fits it"
        )
        return {"status": SKIPPED, "error": reason}
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = make().fit(x, _as_fitted(dataset.task, train))
    seconds = time.perf_counter() - start
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    judged = {name: part for name, part in dataset.parts.items() if name != "train"}
    predictions = {name: _predict(model, dataset, part) for name, part in judged.items()}
    decider = None
    if rule != DecisionRule():
        loss = get_loss("ce", task=dataset.task, from_logits=False)
        probabilities = {name: cast("Tensor", said.probabilities) for name, said in predictions.items()}
        decider = rule.fit(loss, probabilities["val"], judged["val"].y)
        predictions = {name: decider(loss, p) for name, p in probabilities.items()}
    return {
        "status": FINISHED,
        "error": None if converged else f"did not converge in {ITERATIONS} steps",
        "seconds": round(seconds, 2),
        "metrics": dict(_judge(dataset, predictions, cfg)),
        "recall": {
            name: recall_by_class(dataset.task, judged[name].y, said.decision, len(dataset.targets))
            for name, said in predictions.items()
        },
        "decide": None if decider is None else decider.state(),
    }


def _as_fitted(task: Task, part: Part) -> Any:
    """Return the targets in the shape that scikit-learn takes."""
    return part.y.flatten().numpy() if task in ("binary", "multiclass") else part.y.numpy()


def _predict(model: Any, dataset: Dataset, part: Part) -> Prediction:
    """Return decisions and probabilities in the shapes of a module's."""
    x = part.x.flatten(1).numpy()
    decision = as_target(dataset.task, np.asarray(model.predict(x)))
    if dataset.task == "regression":
        return Prediction(decision, None)
    probabilities = model.predict_proba(x)
    if dataset.task == "multilabel":
        probabilities = np.stack([of_label[:, 1] for of_label in probabilities], axis=1)
    elif dataset.task == "binary":
        probabilities = probabilities[:, 1:]
    return Prediction(decision, torch.tensor(probabilities, dtype=torch.float32))


def _judge(dataset: Dataset, predictions: Mapping[str, Prediction], cfg: DictConfig) -> Iterator[tuple[str, float]]:
    """Yield the metrics of each part, those of the config."""
    for part, prediction in predictions.items():
        for kind, named in _metrics(dataset, cfg).items():
            for name, metric in named.items():
                said = getattr(prediction, kind)
                if said is not None:
                    yield f"{part}/{name}", float(metric(said, dataset.parts[part].y))


def _metrics(dataset: Dataset, cfg: DictConfig) -> Metrics:
    cfg = cfg.copy()
    cfg.sizes.outputs = dataset.outputs
    spec = OmegaConf.to_container(cfg.metrics, resolve=True)
    return build_metrics(cast("dict[str, Any]", spec)[dataset.task], f"metrics.{dataset.task}")
