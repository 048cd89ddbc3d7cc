"""The page of the benchmarks of speed and memory: tables and plots of `results/*.json` in `RESULTS.md`.

Run it after any of them.

    python benchmarks/results.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import plots

PAGE = Path(__file__).parent / "RESULTS.md"
ORDER = (
    "speed",
    "speed_binary",
    "linear_loss",
    "peers",
    "compiled",
    "growth",
    "blocks",
    "switches",
    "regularizers",
    "mixin_overhead",
    "startup",
    "gpu",
)
DRAWN = {"speed", "peers", "compiled"}
NO_RATIOS = ("seconds", "copy", "memory", "error", "logits", "chosen", "module")  # how other columns end
HEAD = """# Results

Ratios of times taken in turns in one process, medians over as many processes as are named, unless a heading says
otherwise; below 1 is faster than the base, whose time is in the column "seconds". Memory is the peak of a process
beyond what it held before; that of the losses is what goes beyond their gradient too, as a share of the logits.
Compare within a table alone: in a process whose memory is new, page faults are much of the time, most of it where
most is allocated; in one that has held larger batches they are not. Each table names where and when it was
measured. Made by `make bench`.
"""
NO_GPU = "There was no GPU. Liger and cut-cross-entropy run on GPUs alone, so they were not measured either."


def section(name: str) -> str:
    """Return the part of the page that one benchmark answers."""
    path = harness.RESULTS / f"{name}.json"
    if not path.exists():
        return f"## `benchmarks/{name}.py`\n\nNot measured. {NO_GPU if name == 'gpu' else ''}\n"
    result: dict[str, Any] = json.loads(path.read_text())
    if name in DRAWN:
        columns = dict.fromkeys(c for row in result["results"].values() for c in row if not c.endswith(NO_RATIOS))
        plots.ratios(name, result["results"], list(columns))
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    plot = f"\n![{result['question']}](results/{name}.svg)\n" if (harness.RESULTS / f"{name}.svg").exists() else ""
    table = harness.table(result["results"], "")
    return f"## {result['question']}\n\n{table}\n{plot}\n`benchmarks/{name}.py`: {facts}\n"


def main() -> None:
    PAGE.write_text("\n".join([HEAD, *map(section, ORDER)]))


if __name__ == "__main__":
    main()
