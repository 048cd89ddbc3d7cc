"""The page `docs/reliability.md`, from what the other scripts of this folder have found.

python benchmarks/faults/page.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
SAME = ("weights", "optimizer", "random", "history")


def table(rows: Sequence[Sequence[Any]]) -> str:
    head, *others = rows
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *others])


def kills(found: Mapping[str, Any]) -> str:
    rows: list[list[Any]] = [["killed", "optimizer", "runs", "in the middle of a write", "checkpoint loads", *SAME]]
    for moment, name in {"random": "at a random moment", "writing": "while it wrote a checkpoint"}.items():
        for optimizer in ("sgd", "adam", "adamw"):
            of = [row for row in found["kills"] if (row["moment"], row["optimizer"]) == (moment, optimizer)]
            same = [sum(row.get(f"same {what}", False) for row in of) for what in SAME]
            counts = [sum(row[what] for row in of) for what in ("a part was left", "loads")]
            rows.append([name, optimizer, len(of), *counts, *same])
    controls = {
        moment: [not row["loads"] for row in found["kills with Lightning's own writer"] if row["moment"] == moment]
        for moment in ("random", "writing")
    }
    systems = found["file systems"]
    where = "on another file system" if found["temporary files on another file system"] else "on the same file system"
    return f"""## Runs that were killed

{len(found["kills"])} runs of the command got SIGKILL, and from the `last.ckpt` of each another was resumed to the end.
Weights, optimizer, random numbers and history were compared, bit for bit, with those of a run that nobody had killed.
The runs lay on {systems["runs"]}, the folder for temporary files {where} ({systems["temporary files"]}). `last.ckpt`
was written every second step and at the end of each epoch; the network has dropout.

{table(rows)}

As a control, runs were killed that wrote with what Lightning brings. Of {len(controls["writing"])} that were killed
while they wrote a checkpoint, {sum(controls["writing"])} left a `last.ckpt` that cannot be read;
of {len(controls["random"])} at a random moment, {sum(controls["random"])}.
"""


def malformed(found: Mapping[str, Any]) -> str:
    outcomes = ("tries", "refused in one line", "read", "neither")
    rows: list[list[Any]] = [["what", *outcomes, "for example"]]
    for kind, row in found["tries"].items():
        example = row["example"].removeprefix("lightning-losses: ").replace("FOLDER/", "")
        shown = f"`{example}`".replace("|", "\\|") if example else ""
        rows.append([kind, *(row[outcome] for outcome in outcomes), shown])
    total = {outcome: sum(row[outcome] for row in found["tries"].values()) for outcome in outcomes}
    planted = "was executed" if found["executed"] else "was not executed"
    return f"""## Files that are malformed, and folders that cannot be written

{total["tries"]} tries. *Refused in one line*: exit status 1 and one line that says what is wrong. *Read*: what is left
is a whole file of its kind, such as a CSV with fewer rows, an image without its last marker, or a checkpoint in which a
byte has changed that is not of its content, which was compared. *Neither*: anything else. The file that was tried was
still there afterwards, unchanged, and what was planted in pickles {planted}.

{table(rows)}
"""


def page() -> str:
    """Return the page."""
    found = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("kill", "malformed")}
    versions = ", ".join(f"{name} {version}" for name, version in found["kill"]["versions"].items())
    return f"""# Reliability

What became of runs that were killed and of files that were broken on purpose; how to resume a run stands in
[Checkpoints](checkpoints.md). Written by `make faults`, with {versions}.

{kills(found["kill"])}
{malformed(found["malformed"])}"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
