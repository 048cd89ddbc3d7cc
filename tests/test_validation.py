from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch import callbacks, loggers
from torch.optim import lr_scheduler

from lightning_losses._validation import (
    check_types,
    choice,
    finite_non_negative,
    in_interval,
    nearest,
    positive,
    unknown_arguments,
)

REFUSED: list[tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = [
    (
        choice,
        ("loss", "focul", ["ce", "focal"]),
        ValueError,
        "loss must be one of 'ce', 'focal', got 'focul', did you mean",
    ),
    (choice, ("loss", "xyz", ["ce", "focal"]), ValueError, r"got 'xyz'$"),
    (finite_non_negative, ("factor", -1.0), ValueError, r"factor must be a finite number >= 0, got -1\.0"),
    (finite_non_negative, ("factor", float("nan")), ValueError, "got nan"),
    (finite_non_negative, ("factor", float("inf")), ValueError, "got inf"),
    (finite_non_negative, ("factor", "1"), TypeError, "got '1'"),
    (finite_non_negative, ("factor", True), TypeError, "got True"),
    (positive, ("q", 0.0), ValueError, r"q must be a finite number > 0, got 0\.0"),
    (in_interval, ("e", 1.5, 0, 1), ValueError, r"e must be a number in \[0, 1\], got 1\.5"),
    (in_interval, ("e", None, 0, 1), TypeError, "got None"),
    (
        unknown_arguments,
        ("loss 'focal'", ["gama"], ["gamma"]),
        TypeError,
        "loss 'focal' has no argument 'gama', did you mean",
    ),
]


@pytest.mark.parametrize(("check", "arguments", "error", "message"), REFUSED)
def test_refusals_name_the_argument_its_value_and_what_is_allowed(
    check: Callable[..., Any], arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check(*arguments)


@pytest.mark.parametrize(
    ("check", "arguments", "result"),
    [
        (choice, ("loss", "ce", ["ce", "focal"]), "ce"),
        (finite_non_negative, ("factor", 0), 0.0),
        (positive, ("q", 1e-9), 1e-9),
        (in_interval, ("e", 1, 0, 1), 1.0),
        (unknown_arguments, ("loss", ["gamma"], ["gamma"]), None),
        (nearest, ("focul", ["Focal"]), ", did you mean 'Focal'?"),
        (nearest, ("xyz", ["focal"]), ""),
    ],
)
def test_what_is_allowed_is_returned(check: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> None:
    assert check(*arguments) == result


def of_torch(module: object, base: type) -> list[type]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]


ANNOTATED = [
    *of_torch(lr_scheduler, lr_scheduler.LRScheduler),
    *of_torch(torch.optim, torch.optim.Optimizer),
    L.Trainer,
    loggers.CSVLogger,
    loggers.TensorBoardLogger,
    callbacks.EarlyStopping,
    callbacks.LearningRateMonitor,
    callbacks.ModelCheckpoint,
    callbacks.RichProgressBar,
]


@pytest.mark.parametrize("owner", ANNOTATED, ids=lambda owner: owner.__name__)
def test_a_default_is_of_the_kind_that_is_annotated(owner: Any) -> None:
    given = {name: p.default for name, p in inspect.signature(owner).parameters.items() if p.default is not p.empty}
    check_types("owner", given, owner.__init__)


# argument: whose, values that are taken, what is said of those that are not
KINDS: dict[str, tuple[Any, list[Any], dict[str, Any]]] = {
    "lr": (torch.optim.Adam, [0.1, 1, torch.tensor(0.1)], {"a number, got 'x'": "x", "a number, got True": True}),
    "betas": (
        torch.optim.Adam,
        [(0.9, 0.99), [0.9, torch.tensor(0.99)]],
        {"a list of 2, each a number, got 0.9": 0.9, "got [0.9]": [0.9], "got ['a', 'b']": ["a", "b"]},
    ),
    "milestones": (
        lr_scheduler.MultiStepLR,
        [[1, 2], range(3), {1, 2}, ()],
        {"a list, each a whole number, got 3": 3, "got '12'": "12", "got [1.5]": [1.5]},
    ),
    "max_lr": (lr_scheduler.OneCycleLR, [0.1, [0.1, 0.2]], {"a number or a list, each a number, got None": None}),
    "anneal_strategy": (lr_scheduler.OneCycleLR, ["cos"], {"cos or linear, got 'sin'": "sin"}),
    "lr_lambda": (lr_scheduler.LambdaLR, [len, [len]], {}),
    "precision": (L.Trainer, [32, "16-mixed", "64", None], {"got 3": 3, "got 32.0": 32.0}),
    "max_time": (L.Trainer, ["00:12:00:00", {"days": 1}, None], {"text or a block or null, got 3": 3}),
    "devices": (L.Trainer, [1, "auto", [0, 1]], {"got None": None, "got [0.5]": [0.5]}),
    "deterministic": (L.Trainer, [True, "warn", None], {"true or false or warn or null, got 1": 1}),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_value_is_of_the_kind_that_is_annotated(name: str) -> None:
    owner, taken, refused = KINDS[name]
    for value in taken:
        check_types("owner", {name: value}, owner.__init__)
    for said, value in refused.items():
        with pytest.raises(TypeError, match=rf"^owner\.{name} must be ") as error:
            check_types("owner", {name: value}, owner.__init__)
        assert said in str(error.value)


def test_a_block_is_a_mapping_or_nothing() -> None:
    check_types("owner", None, L.Trainer.__init__)
    given: Any = 3
    with pytest.raises(TypeError, match=r"^owner must be a block, as in \{name: value\}, got 3$"):
        check_types("owner", given, L.Trainer.__init__)
