"""The page of faults is what the scripts have found, and they have found nothing lost."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def found(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_page_is_what_was_found() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "benchmarks" / "faults" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


def test_every_killed_run_went_on_as_if_nothing_had_been() -> None:
    result = found("kill")
    assert result["temporary files on another file system"]
    assert len(result["kills"]) >= 50
    assert {row["moment"] for row in result["kills"]} == {"random", "writing"}
    for row in result["kills"]:
        assert row["loads"]
        assert all(row[f"same {what}"] for what in ("weights", "optimizer", "random", "history"))


def test_every_malformed_file_was_refused_or_was_whole() -> None:
    result = found("malformed")
    assert not result["executed"]
    for kind, row in result["tries"].items():
        assert not row["neither"], kind
        assert not (kind.endswith("whole") and row["refused in one line"]), kind
