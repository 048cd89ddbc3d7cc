"""What the experiments share: training, results that grow run by run, the machine they took, and calibration."""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_losses.app.compare.references import logistic, trees
from lightning_losses.app.data import Dataset, InMemoryData
from lightning_losses.app.models import build_model
from lightning_losses.app.report import versions
from lightning_losses.app.training import quiet_lightning
from lightning_losses.module import ObjectiveModule

RESULTS = Path(__file__).parent / "results"
BINS = 15


class Runs:
    """The finished runs of an experiment in `results/<name>.json`, each on a line of its own.

    Args:
        name: Of the experiment.
        setting: What holds for all of its runs.
    """

    def __init__(self, name: str, setting: Mapping[str, Any]) -> None:
        self.path = RESULTS / f"{name}.json"
        self.setting = dict(setting)
        self.finished: list[dict[str, Any]] = json.loads(self.path.read_text())["runs"] if self.path.exists() else []

    def complete(self, wanted: Iterable[Mapping[str, Any]], measure: Callable[..., Mapping[str, Any]]) -> None:
        """Measure what is wanted and missing, and write after each run, so that a stopped experiment goes on."""
        for key in wanted:
            if any(key.items() <= run.items() for run in self.finished):
                continue
            self.finished.append({**key, **measure(**key)})
            self._write()
            print(f"{datetime.now():%H:%M:%S}", *key.values(), flush=True)

    def _write(self) -> None:
        head = json.dumps({"setting": self.setting, "machine": machine(), "versions": versions()}, indent=2)
        lines = ",\n".join(json.dumps(run) for run in self.finished)
        part = self.path.with_suffix(".part")
        part.write_text(f'{head[:-2]},\n  "runs": [\n{lines}\n]\n}}\n')
        part.replace(self.path)


def fit(
    data: InMemoryData, loss: Mapping[str, Any], setting: Mapping[str, Any], seed: int, *callbacks: L.Callback
) -> ObjectiveModule:
    """Train a network for all epochs; no row but those of the training part plays a role.

    Args:
        data: The data.
        loss: The loss.
        setting: `model`, `optimizer`, `scheduler` and `trainer`.
        seed: Of the initial weights.
        *callbacks: Further ones of the trainer's.
    """
    L.seed_everything(seed, verbose=False)
    net = build_model({**setting["model"], **sizes(setting["model"]["name"], data.dataset)})
    module = ObjectiveModule(net, loss=loss, optimizer=setting["optimizer"], scheduler=setting["scheduler"])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with quiet_lightning(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You defined a `validation_step` but have no `val_dataloader`")
        trainer = L.Trainer(**setting["trainer"], **quiet, enable_model_summary=False, callbacks=list(callbacks))
        trainer.fit(module, data.train_dataloader())
    return module


def sizes(model: str, dataset: Dataset) -> dict[str, Any]:
    """Return what the data decide about a network."""
    return {"in_features" if model == "mlp" else "in_shape": dataset.inputs, "out_features": dataset.outputs}


@torch.no_grad()
def outputs(module: L.LightningModule, x: Tensor) -> Tensor:
    """Return the logits of rows, in float64 so that probabilities near 1 stay apart, and go on in training mode."""
    module.eval()
    logits = torch.cat([module(batch).double() for batch in x.split(500)])
    module.train()
    return logits


def probabilities(module: ObjectiveModule, x: Tensor) -> dict[str, Tensor]:
    """Return the probabilities of rows by softmax and, where the loss has one, by its posterior."""
    logits = outputs(module, x)
    posterior = module.objective.predict(logits).probabilities
    return {"softmax": logits.softmax(1)} | ({} if posterior is None else {"posterior": posterior})


REFERENCES: dict[str, Callable[[], Any]] = {"logistic regression": logistic, "gradient-boosted trees": trees}


def reference(method: str, dataset: Dataset, x: Tensor) -> dict[str, Tensor]:
    """Return the probabilities of rows by one of the reference models of the command's reports."""
    train = dataset.parts["train"]
    classifier = REFERENCES[method]().fit(train.x.numpy(), train.y.numpy())
    return {"its own": torch.from_numpy(classifier.predict_proba(x.numpy()))}


def machine() -> dict[str, Any]:
    """Describe where and when the last run was made."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def calibration(probabilities: Tensor, target: Tensor) -> dict[str, Any]:
    """Return how the largest probabilities stand to how often they are right.

    Args:
        probabilities: (N, C); of two classes, the second one is looked at in place of the largest.
        target: Classes, (N,).

    Returns:
        The expected calibration error over bins of equal width, the mean negative log likelihood, the mean probability
        and how many are right; then of each bin that is not empty its share of the rows and these two.
    """
    p, right = probabilities.max(1) if probabilities.shape[1] > 2 else (probabilities[:, 1], torch.ones(()))
    hit = (right == target).double()
    index = (p * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(index, minlength=BINS)
    filled = count > 0
    share = (count / len(p))[filled]
    said, is_so = (torch.bincount(index, values.double(), BINS)[filled] / count[filled] for values in (p, hit))
    likelihood = probabilities.gather(1, target[:, None]).clamp(min=1e-12).log().mean()
    return {
        "error": round(float((share * (said - is_so).abs()).sum()), 5),
        "negative log likelihood": round(float(-likelihood), 5),
        "said": round(float(p.double().mean()), 6),
        "right": round(float(hit.mean()), 6),
        "bins": [[round(float(v), 4) for v in row] for row in zip(share, said, is_so, strict=True)],
    }
