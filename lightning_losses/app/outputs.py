"""What a model says about each row of a part, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_losses._files import replace
from lightning_losses.app.data import Part
from lightning_losses.module import ObjectiveModule

OUTPUTS = "outputs.npz"


class Outputs(NamedTuple):
    """Rows of one part and what a model says about them.

    Attributes:
        rows: Numbers of the rows in what the data came from, (N,), from 0.
        target: As in the data.
        output: What the network returns.
        decision: In the shape of the target.
        probabilities: The loss's posterior; None where it has none.
    """

    rows: Tensor
    target: Tensor
    output: Tensor
    decision: Tensor
    probabilities: Tensor | None = None


@torch.no_grad()
def outputs_of(module: ObjectiveModule, part: Part, batch_size: int) -> Outputs:
    """Return what a module says about a part, on the CPU."""
    module.eval()
    outputs = [module(x.to(module.device)) for x in part.x.split(batch_size)]
    decisions, probabilities = zip(*map(module.objective.predict, outputs), strict=True)
    return Outputs(
        part.rows,
        part.y,
        torch.cat(outputs).cpu(),
        torch.cat(decisions).reshape(part.y.shape).cpu(),
        None if probabilities[0] is None else torch.cat(probabilities).cpu(),
    )


def write_outputs(path: Path, parts: Mapping[str, Outputs]) -> None:
    """Write the outputs of parts as arrays with the names `<part>_<field>`."""
    arrays = {
        f"{part}_{name}": values.float().numpy() if values.is_floating_point() else values.to(torch.int32).numpy()
        for part, outputs in parts.items()
        for name, values in outputs._asdict().items()
        if values is not None
    }
    replace(path, lambda part: np.savez_compressed(part, allow_pickle=False, **arrays))


def read_outputs(path: Path) -> dict[str, Outputs]:
    """Read what `write_outputs` has written, by part; nothing in it is executed."""
    parts: dict[str, dict[str, Tensor]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            part, _, field = name.partition("_")
            parts.setdefault(part, {})[field] = torch.from_numpy(arrays[name])
    return {part: Outputs(**fields) for part, fields in parts.items()}
