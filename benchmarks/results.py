"""The page of all benchmarks: the tables of `results/*.json` in `RESULTS.md`.

Run it after any of them.

    python benchmarks/results.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness

PAGE = Path(__file__).parent / "RESULTS.md"
ORDER = (
    "speed",
    "speed_binary",
    "blocks",
    "linear_loss",
    "peers",
    "growth",
    "blocks",
    "regularizers",
    "mixin_overhead",
    "startup",
)
HEAD = """# Results

Ratios of times taken in turns in one process, medians over processes, unless a heading says otherwise; below 1 is
faster than the base, whose time is in the column "seconds". Memory is the peak of a process beyond what it held before.
Each table names where and when it was measured. No GPU has been measured. Made by `make bench`.
"""


def section(name: str) -> str:
    """Return the part of the page that one benchmark answers."""
    result: dict[str, Any] = json.loads((harness.RESULTS / f"{name}.json").read_text())
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    plot = f"\n![{result['question']}](results/{name}.svg)\n" if (harness.RESULTS / f"{name}.svg").exists() else ""
    table = harness.table(result["results"], "")
    return f"## {result['question']}\n\n{table}\n{plot}\n`benchmarks/{name}.py`: {facts}\n"


def main() -> None:
    PAGE.write_text("\n".join([HEAD, *map(section, ORDER)]))


if __name__ == "__main__":
    main()
