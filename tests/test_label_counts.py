"""What a loss takes from the training labels: counted once, over all ranks, as plain numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll
from lightning_losses.label_counts import LabelCounts, count_labels, with_counts
from tests.test_mixins import Net, fit, loader, rows, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

# task, targets of the batches -> counts
COUNTED = {
    "classes": ("multiclass", [[0, 2, 2], [1, -100]], [1, 1, 2]),
    "a class that the first batch has not": ("multiclass", [[0], [3, 0]], [2, 0, 0, 1]),
    "pixels": ("multiclass", [[[0, 1], [1, -100]]], [1, 2]),
    "probabilities": ("multiclass", [[[0.25, 0.75], [1.0, 0.0]], [[-100.0, -100.0]]], [1.25, 0.75]),
    "binary": ("binary", [[0, 1, 1], [0, -100]], [2, 2]),
    "binary in a column": ("binary", [[[0.0], [1.0], [1.0]]], [1, 2]),
    "labels": ("multilabel", [[[0, 1], [0, 1]], [[1, -100]]], [[2, 1], [0, 2]]),
}


@pytest.mark.parametrize("name", COUNTED)
def test_labels_are_counted(name: str) -> None:
    task, batches, expected = COUNTED[name]
    assert count_labels(task, map(torch.tensor, batches)).tolist() == expected


MULTICLASS = LabelCounts("multiclass", torch.tensor([90.0, 9.0, 1.0]))
BINARY = LabelCounts("binary", torch.tensor([75.0, 25.0]))
LABELS = LabelCounts("multilabel", torch.tensor([[75.0, 25.0], [90.0, 10.0]]))
BALANCED = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(range(3), [90, 9, 1]))  # scikit-learn's
EFFECTIVE = 1 / np.array([sum(0.9**k for k in range(n)) for n in (90, 9, 1)])  # Cui et al., 2019, as a sum

FILLED: dict[str, tuple[Any, LabelCounts, dict[str, Any]]] = {
    "balanced": ({"name": "focal", "gamma": 1.0, "weight": "balanced"}, MULTICLASS, {"weight": BALANCED}),
    "effective number": (
        {"name": "ce", "weight": {"name": "effective_number", "beta": 0.9}},
        MULTICLASS,
        {"weight": EFFECTIVE / EFFECTIVE.mean()},
    ),
    "two classes": ({"name": "bce", "weight": "balanced"}, BINARY, {"weight": [2 / 3, 2.0]}),
    "positives": ({"name": "bce", "pos_weight": "balanced"}, BINARY, {"pos_weight": 3.0}),
    "positives of labels": (
        {"name": "bce", "task": "multilabel", "pos_weight": "balanced"},
        LABELS,
        {"pos_weight": [3.0, 9.0]},
    ),
    "prior": ("logit_adjusted", MULTICLASS, {"prior": [0.9, 0.09, 0.01]}),
    "prior of labels": ({"name": "logit_adjusted", "task": "multilabel"}, LABELS, {"prior": [0.25, 0.1]}),
    "counts": ({"name": "balanced_softmax", "class_counts": None}, MULTICLASS, {"class_counts": [90, 9, 1]}),
    "margins": ("ldam", MULTICLASS, {"class_counts": [90, 9, 1]}),
    "of a sum": ({"name": "combined", "terms": {"ce": 1.0}, "weight": "balanced"}, MULTICLASS, {"weight": BALANCED}),
}


@pytest.mark.parametrize("name", FILLED)
def test_numbers_take_the_place_of_words(name: str) -> None:
    spec, counts, expected = FILLED[name]
    filled = with_counts(spec, counts)
    given = {"name": spec} if isinstance(spec, str) else spec
    assert {key: value for key, value in filled.items() if key not in expected} == {
        key: value for key, value in given.items() if key not in expected
    }
    for key, value in expected.items():
        np.testing.assert_allclose(filled[key], value, rtol=1e-6)
    assert ll.get_loss(filled).task == counts.task


@pytest.mark.parametrize(
    "spec", ["ce", {"name": "ce", "weight": [1.0, 2.0, 3.0]}, {"name": "ldam", "class_counts": [2, 1]}]
)
def test_what_is_given_stays(spec: Any) -> None:
    assert with_counts(spec, MULTICLASS) == spec


WEIGHT = {"name": "focal", "weight": "balanced"}


def counts_of_rows() -> list[int]:
    labels = rows()[1]
    return [int((labels == c).sum()) for c in range(4)]


def test_a_fit_counts_and_learns_what_given_numbers_teach(tmp_path: Path) -> None:
    def train(loss: Any) -> Net:
        module = Net(loss=loss)
        torch.manual_seed(3)  # of the order of the rows
        fit(module, DataLoader(TensorDataset(*rows()), batch_size=16, shuffle=True), max_epochs=2)
        return module

    counted, given = train(WEIGHT), train({"name": "focal", "weight": {"name": "balanced", "counts": counts_of_rows()}})
    assert torch.equal(weights(counted), weights(given))
    torch.testing.assert_close(counted.objective.loss.weight, given.objective.loss.weight)


def test_a_checkpoint_holds_the_numbers(tmp_path: Path) -> None:
    module = Net(loss=WEIGHT)
    trainer = fit(module, loader(16))
    path = tmp_path / "counted.ckpt"
    trainer.save_checkpoint(path)
    saved = torch.load(path, weights_only=True)["hyper_parameters"]["loss"]
    assert saved == {"name": "focal", "weight": module.objective.loss.weight.tolist()}
    again = Net(loss=WEIGHT)
    trainer.test(again, loader(16), ckpt_path=path, verbose=False, weights_only=True)
    torch.testing.assert_close(again.objective.loss.weight, module.objective.loss.weight)


def test_two_ranks_count_what_one_process_counts() -> None:
    one, two = (Net(loss="ldam") for _ in range(2))
    fit(one, loader(64))
    fit(two, loader(32), strategy="ddp_fork", devices=2)
    assert one.hparams["loss"] == {"name": "ldam", "class_counts": counts_of_rows()}
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=1e-6)


def test_batches_of_another_form() -> None:
    class FromDict(Net):
        def supervised_step(self, batch: Any) -> ll.Supervised:
            return ll.Supervised(self(batch["x"]), batch["y"])

    class Counted(FromDict):
        def batch_labels(self, batch: Any) -> torch.Tensor:
            return batch["y"]

    x, y, _ = rows()
    batches = DataLoader([{"x": a, "y": b} for a, b in zip(x, y, strict=True)], batch_size=16)
    with pytest.raises(TypeError, match=r"FromDict.batch_labels must be overridden .* but a dict"):
        fit(FromDict(loss=WEIGHT), batches)
    module = Counted(loss="balanced_softmax")
    fit(module, batches)
    assert module.hparams["loss"]["class_counts"] == counts_of_rows()


REFUSED = {
    "unknown": (lambda: Net(loss={"name": "ce", "weight": "balancd"}), "did you mean 'balanced'?"),
    "unknown function": (lambda: Net(loss={"name": "ce", "weight": {"name": "efective_number"}}), "'effective_number'"),
    "another argument": (lambda: Net(loss={"name": "ldam", "scal": 3}), "did you mean 'scale'?"),
    "not of this loss": (lambda: Net(loss={"name": "mse", "weight": "balanced"}), "does not take weight"),
    "labels": (lambda: Net(loss={"name": "bce", "task": "multilabel", "weight": "balanced"}), "pos_weight=balanced"),
    "a class that is missing": (
        lambda: fit(Net(loss=WEIGHT), DataLoader(TensorDataset(torch.zeros(2, 3), torch.tensor([0, 2])))),
        "they hold no row of class 1",
    ),
    "before a fit": (lambda: Net(loss=WEIGHT).compute_objective(torch.zeros(1, 4), torch.tensor([0])), "counted"),
    "outside a mixin": (lambda: ll.get_loss(WEIGHT), "only under a Trainer"),
    "outside a mixin, by a function": (
        lambda: ll.get_loss({"name": "ce", "weight": {"name": "effective_number"}}),
        "only under a Trainer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, expected = REFUSED[name]
    with pytest.raises((ValueError, TypeError, RuntimeError), match=expected.replace("?", r"\?")):
        call()


def test_a_loader_without_end_is_refused() -> None:
    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            while True:
                yield torch.zeros(3), torch.tensor(0)

    with pytest.raises(ValueError, match="length is not known: give numbers"):
        fit(Net(loss=WEIGHT), DataLoader(Endless(), batch_size=4), max_steps=2, max_epochs=None)
