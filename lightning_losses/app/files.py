"""What a run writes: numbers, tables and figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lightning_losses._files import replace


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data as JSON; NaN and infinities become null."""
    replace(path, lambda part: part.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index."""
    replace(path, lambda part: table.to_csv(part, index=False))


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure in the format of the file's ending."""
    replace(path, lambda part: figure.savefig(part, dpi=120, bbox_inches="tight"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
