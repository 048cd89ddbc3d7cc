"""The page of the experiments says what their results say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_made_from_the_results():
    made = runpy.run_path(str(ROOT / "benchmarks" / "evidence" / "page.py"))["page"]()
    assert (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8") == made
