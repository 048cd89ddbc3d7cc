"""The page of exactness is what was measured, and what was measured is as exact as it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def exactness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("exactness")


@pytest.fixture
def result() -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / "exactness.json").read_text(encoding="utf-8"))


def test_the_page_is_what_was_measured(exactness: Any, result: Any) -> None:
    assert (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8") == exactness.page(result)


def test_every_case_was_measured(exactness: Any, result: Any) -> None:
    measured = {
        (row["split"], row["precision"], row["optimizer"], row["clip"], row["exact"]) for row in result["results"]
    }
    expected = {
        (case.split.name, case.precision, case.optimizer, case.clip, case.exact)
        for case in exactness.cases(exactness.SPLITS)
        if (case.split.strategy, case.precision) != ("fsdp2", "64-true")
    }
    assert measured == expected


@pytest.mark.parametrize(
    ("precision", "measure", "bound"),
    [
        ("32-true", "largest difference", 1e-6),
        ("64-true", "largest difference", 1e-14),
        ("bf16-mixed", "share of the largest update", 0.01),
        ("bf16-true", "share of the largest update", 0.1),
    ],
)
def test_splits_are_exact(precision: str, measure: str, bound: float, result: Any) -> None:
    rows = [row for row in result["results"] if row["precision"] == precision]
    assert max(row[measure] for row in rows if row["exact"]) <= bound
    assert max(row["share of the largest update"] for row in rows if not row["exact"]) > 1
