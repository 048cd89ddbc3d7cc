"""Folders of sweeps as the command leaves them, made without training."""

import json

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf

from lightning_losses.app.outputs import OUTPUTS, Outputs, write_outputs

CLASSES = ("bad", "good")
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def write_overrides(folder, overrides):
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(overrides, folder / ".hydra" / "overrides.yaml")


def write_plan(folder, params, task, sweeper=BASIC):
    """Write what Hydra does when a sweep begins."""
    plan = {"hydra": {"sweeper": {"_target_": sweeper, "params": params}, "overrides": {"task": task}}}
    OmegaConf.save(plan, folder / "multirun.yaml")


def write_job(
    folder, overrides, metrics=None, *, seed=0, data=None, status="finished", first_row=0, config=None, **more
):
    """Write what a finished job of a binary task leaves; `metrics` are those of the test part, of 40 rows."""
    write_overrides(folder, overrides)
    data = {"name": "csv", "path": "here/table.csv", "seed": seed, **(data or {})}
    result = {
        "status": status,
        "metrics": {f"test/{name}": value for name, value in (metrics or {}).items()},
        "task": "binary",
        "targets": list(CLASSES),
        "rows": {"train": 60, "val": 20, "test": 40},
        "seed": seed,
        "seconds": 1.5,
        "peak_memory_mb": {"process": 500.0, "gpu": None},
        "config": {"data": data, "loss": {"name": "bce"}, **(config or {})},
        **more,
    }
    (folder / "result.json").write_text(json.dumps(result))
    values = np.linspace(0.5, 0.8, 3)
    history = {"epoch": range(3), "average_precision": values, "val_average_precision": values - 0.05}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    generator = torch.Generator().manual_seed(seed)
    target = (torch.arange(40) % 4 == 0).long()[:, None]
    output = torch.randn(40, 1, generator=generator) + target
    outputs = Outputs(torch.arange(40) + first_row, target, output, (output > 0).long(), output.sigmoid())
    write_outputs(folder / OUTPUTS, {"test": outputs})


def write_sweep(folder, values, *, divides=False, **more):
    """Write jobs of `{loss: [metric for each seed]}`, judged by the same rows unless a seed `divides` them anew."""
    number = 0
    for loss, of_loss in values.items():
        for seed, value in enumerate(of_loss):
            overrides = ["data=csv", f"loss={loss}", f"seed={seed}"]
            write_job(
                folder / str(number),
                overrides,
                {"average_precision": value},
                seed=seed,
                first_row=seed * divides,
                **more,
            )
            number += 1
