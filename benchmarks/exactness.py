"""How far apart is what a batch teaches when it is cut into micro-batches and over processes?

A network of 68 parameters learns from 64 rows: labels that are ignored unevenly (in one micro-batch of 16 all of them),
class weights, sample weights, a focal loss, L1 and L2. What it has learned after 1 and 20 optimizer steps is compared
with what the whole batch teaches one process, in every precision that the strategy knows. Writes
`results/exactness.json` beside this file and docs/exactness.md.

    python benchmarks/exactness.py
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from harness import RESULTS, machine
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll

PAGE = Path(__file__).parents[1] / "docs" / "exactness.md"
NAME = "exactness"
ROWS = 64
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "64-true")
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "AdamW": {"name": "adamw", "lr": 0.01, "weight_decay": 0.0},
}
STEPS = (1, 20)
CLIPS: dict[str, dict[str, Any]] = {
    "none": {},
    "norm": {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "norm"},
    "value": {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"},
}


class Split(NamedTuple):
    """How the rows are cut.

    Attributes:
        name: For the table.
        batch_size: Rows of a micro-batch.
        accumulate: Micro-batches of a window, as the trainer is told; an epoch's end cuts a window short.
        strategy: None is one process.
        silent_rank: Whether all labels of the second process are ignored.
    """

    name: str
    batch_size: int
    accumulate: int
    strategy: str | None = None
    silent_rank: bool = False


SPLITS = (
    Split("4 x 16", 16, 4),
    Split("16 x 4", 4, 16),
    Split("9 x 7 and 1, in a window for 16", 7, 16),
    Split("2 processes x 32", 32, 1, "ddp"),
    Split("2 processes x 2 x 16", 16, 2, "ddp"),
    Split("2 processes x (4 x 7 and 4), in a window for 8", 7, 8, "ddp"),
    Split("2 processes x 32, one with ignored labels only", 32, 1, "ddp", silent_rank=True),
    Split("2 processes x 32, sharded parameters", 32, 1, "fsdp2"),
    Split("2 processes x 2 x 16, sharded parameters", 16, 2, "fsdp2"),
)
WHOLE = {silent: Split("whole", ROWS, 1, silent_rank=silent) for silent in (False, True)}
PARTS: dict[str, tuple[Split, ...]] = {
    "one process": (*WHOLE.values(), *(split for split in SPLITS if split.strategy is None)),
    "ddp": tuple(split for split in SPLITS if split.strategy == "ddp"),
    "fsdp2": tuple(split for split in SPLITS if split.strategy == "fsdp2"),
}


class Case(NamedTuple):
    """One training, and the key of what it learns."""

    split: Split
    precision: str
    optimizer: str
    clip: str
    exact: bool


def cases(splits: tuple[Split, ...]) -> Iterator[Case]:
    """Yield every precision and optimizer, and beside them the ways to clip; each exactly and as Lightning does it."""
    for split in splits:
        for optimizer in OPTIMIZERS:
            for exact in (True, False):
                yield from (Case(split, precision, optimizer, "none", exact) for precision in PRECISIONS)
                yield from (Case(split, "32-true", optimizer, clip, exact) for clip in CLIPS if clip != "none")


def rows(*, silent_rank: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, labels and sample weights; a trainer gives every second row to the second process."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 3, generator=generator)
    y = torch.randint(4, (ROWS,), generator=generator)
    number = torch.arange(ROWS)
    ignored = ((number < 16) & (number % 5 > 0)) | ((number >= 32) & (number < 48))
    if silent_rank:
        ignored |= number % 2 == 1
    return x, y.masked_fill(ignored, -100), torch.rand(ROWS, generator=generator)


class Net(ll.ObjectiveMixin, LightningModule):
    def __init__(self, case: Case) -> None:
        torch.manual_seed(1)
        super().__init__(
            loss={"name": "focal", "weight": [1.0, 2.0, 0.5, 3.0]},
            regularizer={"l1": 1e-3, "l2": 1e-2},
            optimizer=OPTIMIZERS[case.optimizer],
            exact=None if case.exact else False,
        )
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x):
        return self.net(x)


class Sharded(Net):
    def configure_model(self):
        mesh = self.device_mesh["data_parallel"]
        for layer in (self.net[0], self.net[2], self.net):
            fully_shard(layer, mesh=mesh)


class Snapshots(Callback):
    """The parameters at the start and after the steps that are looked at."""

    def __init__(self) -> None:
        self.taken: dict[int, Tensor] = {}

    def on_train_start(self, trainer, pl_module):
        self._take(trainer, pl_module)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step in STEPS:
            self._take(trainer, pl_module)

    def _take(self, trainer, pl_module):
        whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in pl_module.net.parameters()]
        self.taken[trainer.global_step] = torch.cat([p.detach().double().flatten() for p in whole])


def train(case: Case) -> dict[int, Tensor]:
    """Return the parameters by optimizer step; an epoch is a window."""
    strategies = {
        None: dict,
        "ddp": lambda: {"strategy": "ddp", "devices": 2},
        "fsdp2": lambda: {
            "strategy": ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
            "devices": 2,
        },
    }
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    snapshots = Snapshots()
    trainer = Trainer(
        max_epochs=max(STEPS),
        accelerator="cpu",
        precision=case.precision,
        accumulate_grad_batches=case.split.accumulate,
        callbacks=[snapshots],
        **CLIPS[case.clip],
        **strategies[case.split.strategy](),
        **quiet,
    )
    module = (Sharded if case.split.strategy == "fsdp2" else Net)(case)
    data = TensorDataset(*rows(silent_rank=case.split.silent_rank))
    trainer.fit(module, DataLoader(data, batch_size=case.split.batch_size))
    return snapshots.taken


def run_part(part: str, path: Path) -> None:
    """Train all cases of a part, each process alike, and let the first one write what they learned."""
    learned = {}
    for case in cases(PARTS[part]):
        if case.split.strategy == "fsdp2" and case.precision == "64-true":
            continue  # Lightning's strategy has it not
        learned[case] = train(case)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        torch.save([(tuple(case[1:]), case.split.name, case.split.silent_rank, w) for case, w in learned.items()], path)


def measure() -> list[dict[str, Any]]:
    """Return for each case how far it is from the whole batch, as a share of the largest update."""
    learned = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {part: Path(folder) / f"{part}.pt" for part in PARTS}
        command = [sys.executable, "-W", "ignore", __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen([*command, "--part", part, "--path", path], env=environment)
            for part, path in paths.items()
        ]
        if any(process.wait() for process in running):
            raise RuntimeError("a part has failed")
        for path in paths.values():
            for how, name, silent, weights in torch.load(path, weights_only=True):
                learned[how, name, silent] = weights
    results = []
    for (how, name, silent), weights in learned.items():
        if name == "whole":
            continue
        precision, optimizer, clip, exact = how
        whole = learned[(precision, optimizer, clip, True), "whole", silent]
        for step in STEPS:
            difference, update = (weights[step] - whole[step]).abs(), (whole[step] - whole[0]).abs()
            results.append(
                {
                    "split": name,
                    "precision": precision,
                    "optimizer": optimizer,
                    "clip": clip,
                    "steps": step,
                    "exact": exact,
                    "largest difference": difference.max().item(),
                    "share of the largest update": (difference.max() / update.max()).item(),
                }
            )
    return results


def page(result: Mapping[str, Any]) -> str:
    """Return docs/exactness.md."""
    results = result["results"]
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    summary = "\n".join(_summary(precision, results) for precision in PRECISIONS)
    tables = [
        _table(f"## {precision}, clipping by {clip}" if clip != "none" else f"## {precision}", results, precision, clip)
        for precision in PRECISIONS
        for clip in CLIPS
        if any((row["precision"], row["clip"]) == (precision, clip) for row in results)
    ]
    return "\n\n".join([HEAD.format(summary=summary), *tables, f"`make evidence`: {facts}"]) + "\n"


HEAD = """# Exactness

However a batch is cut into micro-batches and over processes, a module with `LossMixin` learns the same: the gradient of
a step is that of the mean over all rows that the step sees. A trainer's own mean of means is another one as soon as
labels are ignored or rows are weighted unevenly.

How much it matters is measured on 64 rows with ignored labels (in one micro-batch of 16 all of them), class weights,
sample weights, a focal loss, L1 and L2, and 68 parameters: the largest difference of any parameter from what the whole
batch teaches one process. Over all splits, optimizers and ways to clip, after 1 and 20 steps:

| precision | largest difference | as a share of the largest update | the same with `exact=False` |
|---|---|---|---|
{summary}

The tables below have the share of the largest update for each split, and in brackets that of `exact=False`, which is
what Lightning does. AdamW's first step is as long whatever the gradient, only its direction can be wrong: a share of 2
is a step to the other side. Half precision rounds the gradient of each micro-batch; what is left there is that
rounding. Lightning's strategy for sharded parameters has no 64-true. `ll.testing.check_split(module, batch)` measures a
module of your own."""


def _summary(precision: str, results: list[dict[str, Any]]) -> str:
    of_it = [row for row in results if row["precision"] == precision]
    exact, plain = ([row for row in of_it if row["exact"] == kind] for kind in (True, False))
    share = "share of the largest update"
    figures = (
        max(row["largest difference"] for row in exact),
        max(row[share] for row in exact),
        max(row[share] for row in plain),
    )
    return f"| {precision} | " + " | ".join(f"{figure:.2g}" for figure in figures) + " |"


def _table(title: str, results: list[dict[str, Any]], precision: str, clip: str) -> str:
    columns = [(optimizer, steps) for optimizer in OPTIMIZERS for steps in STEPS]
    names = [f"{optimizer}, {steps} step{'s' * (steps > 1)}" for optimizer, steps in columns]
    lines = ["| " + " | ".join(["split", *names]) + " |", "|---" * (len(columns) + 1) + "|"]
    keys = ("split", "precision", "clip", "optimizer", "steps", "exact")
    shares = {tuple(row[key] for key in keys): row["share of the largest update"] for row in results}
    for split in SPLITS:
        cells = [(split.name, precision, clip, *column) for column in columns]
        if (*cells[0], True) in shares:
            shown = [f"{shares[(*cell, True)]:.2g} ({shares[(*cell, False)]:.2g})" for cell in cells]
            lines.append("| " + " | ".join([split.name, *shown]) + " |")
    return "\n".join([title, "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="train these in this process, for the script itself")
    parser.add_argument("--path", type=Path)
    given = parser.parse_args()
    if given.part:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        run_part(given.part, given.path)
        return
    result = {"question": __doc__.splitlines()[0], "machine": machine(1), "results": measure()}
    (RESULTS / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n")
    PAGE.write_text(page(result))


if __name__ == "__main__":
    main()
