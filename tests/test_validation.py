from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lightning_losses._validation import (
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
