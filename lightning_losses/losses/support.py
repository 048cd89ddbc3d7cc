"""Which loss takes which option, and the reason where it does not."""

from __future__ import annotations

from typing import Literal

from lightning_losses.functional._options import TASKS, Options
from lightning_losses.losses.registry import LOSSES, refusal

OPTIONS = (*TASKS, *(name for name in Options.__annotations__ if name != "task"), "sample_weight")

SUPPORT: dict[str, dict[str, Literal[True] | str]] = {
    name: {option: refusal(cls, option) or True for option in OPTIONS} for name, cls in sorted(LOSSES.items())
}


def support_table() -> str:
    """Return `SUPPORT` as a Markdown table, the reasons as numbered notes below it."""
    answers = [answer for row in SUPPORT.values() for answer in row.values() if answer is not True]
    notes = {reason: str(number) for number, reason in enumerate(dict.fromkeys(answers), start=1)}
    lines = [
        "| loss | " + " | ".join(f"`{option}`" for option in OPTIONS) + " |",
        "|---|" + "---|" * len(OPTIONS),
        *(
            f"| `{name}` | " + " | ".join("yes" if row[o] is True else notes[str(row[o])] for o in OPTIONS) + " |"
            for name, row in SUPPORT.items()
        ),
        "",
        *(f"{number}. {reason}" for reason, number in notes.items()),
    ]
    return "\n".join(lines) + "\n"
