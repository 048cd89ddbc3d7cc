"""Does a run that was killed end, once it is resumed, like one that was not?

A run of the command's trains two noisy rings with dropout, early stopping and the best and the last checkpoint, which
is written within epochs too. It gets SIGKILL: at a random moment, or while a checkpoint is being written. Then its
last.ckpt is read and a run is resumed from it to the end; weights, optimizer, random numbers and history are compared
with those of a run that nobody has killed. The folder for temporary files may lie on another file system, where the
writer that Lightning brings loses checkpoints: as a control the same kills are tried on it. Writes
`../results/kill.json`.

    python benchmarks/faults/kill.py --folder A_DISK --temporary ANOTHER_FILE_SYSTEM
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

import lightning_losses as ll
from lightning_losses.app import report, training
from lightning_losses.app.report import versions
from lightning_losses.checkpoints import read_checkpoint

RESULTS = Path(__file__).parents[1] / "results" / "kill.json"
OPTIMIZERS = ("sgd", "adam", "adamw")
MOMENTS = ("random", "writing")
RUN = [
    "data.positives=100",
    "data.negatives=220",
    "data.batch_size=32",
    "model.hidden=[512,512]",
    "model.dropout=0.2",
    "regularizer=l2",
    "trainer.max_epochs=5",
    "trainer.accelerator=cpu",
    "logger=none",
    "callbacks.checkpoint.last_every_n_steps=2",
    "callbacks.lr_monitor=null",
]


def start(folder: Path, optimizer: str, temporary: Path, writer: type, ckpt_path: Path | None = None) -> int:
    """Begin a run in a process of its own, a copy of this one, which has imported everything; return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        silence = os.open(folder.parent / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silence, 1), os.dup2(silence, 2)
        tempfile.tempdir = str(temporary)
        report.write_figure = lambda *_: None  # plots take longer than the training
        training.AtomicCheckpointIO = writer
        resume = [] if ckpt_path is None else [f"ckpt_path={ckpt_path}"]
        training.train(ll.compose(*RUN, f"optimizer={optimizer}", *resume), folder)
        status = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def finish(child: int) -> int:
    """Wait for a process and return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_when(child: int, is_time: Callable[[], bool]) -> bool:
    """Kill a process when it is time, and return whether it was still there."""
    while not is_time():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if os.waitstatus_to_exitcode(status):
                raise RuntimeError("a run has failed by itself: see the .log beside its folder")
            return False
    os.kill(child, signal.SIGKILL)
    return finish(child) == -signal.SIGKILL


def last_of(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def moment_in(folder: Path, kind: str, seconds: float, writer: type) -> Callable[[], bool]:
    """Return what says that the time has come, counted from the first checkpoint."""
    last, delay = last_of(folder), random.uniform(0, seconds)
    begin: list[float] = []
    whole: list[int] = []

    def is_time() -> bool:
        if not begin:
            time.sleep(0.001)
            if last.exists():
                begin.append(time.perf_counter())
                whole.append(last.stat().st_size)
            return False
        if time.perf_counter() - begin[0] < delay:
            return False
        return kind == "random" or is_written(last, whole[0], writer)

    return is_time


def is_written(last: Path, whole: int, writer: type) -> bool:
    """Whether the file is being written: ours beside it, Lightning's in its place."""
    if writer is TorchCheckpointIO:
        return last.exists() and last.stat().st_size < 0.9 * whole
    return last.with_name(".last.part.ckpt").exists()


def end_of(folder: Path) -> dict[str, Any]:
    """Return what a run has come to, without the times and places that no two runs share."""
    saved = read_checkpoint(last_of(folder))
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    progress = saved["lightning_losses"]["progress"][0]
    return {
        "weights": saved["state_dict"],
        "optimizer": saved["optimizer_states"],
        "random": progress["random"],
        "history": history.to_csv(),
    }


def same(one: Any, other: Any) -> bool:
    """Whether two trees of plain data and tensors are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def attempt(folder: Path, kind: str, optimizer: str, seconds: float, temporary: Path, whole: Path) -> dict[str, Any]:
    """Kill a run, resume it and compare its end."""
    writer = training.AtomicCheckpointIO
    killed, resumed = folder / "killed", folder / "resumed"
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        child = start(killed, optimizer, temporary, writer)
        if kill_when(child, moment_in(killed, kind, seconds, writer)):
            break
    part = last_of(killed).with_name(".last.part.ckpt").exists()
    row: dict[str, Any] = {"moment": kind, "optimizer": optimizer, "a part was left": part, "loads": False}
    try:
        saved = read_checkpoint(last_of(killed))
    except ValueError as error:
        return {**row, "error": str(error).replace(str(folder), "")}
    row |= {"loads": True, "step": saved["global_step"]}
    if finish(start(resumed, optimizer, temporary, writer, last_of(killed))):
        return {**row, "error": "the resumed run failed"}
    nothing_left = saved["global_step"] == read_checkpoint(last_of(whole))["global_step"]  # so nothing new is written
    expected, found = end_of(whole), end_of(killed if nothing_left else resumed)
    return row | {f"same {name}": same(expected[name], found[name]) for name in expected}


def control(folder: Path, kind: str, seconds: float, temporary: Path) -> dict[str, Any]:
    """Kill a run that writes with what Lightning brings, and look whether its checkpoint loads."""
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        killed = folder / "killed"
        child = start(killed, "adam", temporary, TorchCheckpointIO)
        if kill_when(child, moment_in(killed, kind, seconds, TorchCheckpointIO)):
            break
    try:
        read_checkpoint(last_of(killed))
    except ValueError:
        return {"moment": kind, "loads": False}
    return {"moment": kind, "loads": True}


def file_system(folder: Path) -> str:
    return subprocess.run(
        ["stat", "--file-system", "--format=%T", str(folder)], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--controls", type=int, default=10, help="kills of runs that write with Lightning's own writer")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the runs lie")
    parser.add_argument(
        "--temporary", type=Path, default=Path(tempfile.gettempdir()), help="folder for temporary files"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    torch.set_num_threads(1)
    rows, controls = [], []
    with (
        tempfile.TemporaryDirectory(dir=given.folder) as name,
        tempfile.TemporaryDirectory(dir=given.temporary) as temp,
    ):
        folder, temporary = Path(name), Path(temp)
        seconds = {}
        for optimizer in OPTIMIZERS:
            whole, begin = folder / f"whole_{optimizer}", time.perf_counter()
            if finish(start(whole, optimizer, temporary, training.AtomicCheckpointIO)):
                raise RuntimeError((folder / f"{whole.name}.log").read_text())
            seconds[optimizer] = (time.perf_counter() - begin) / 2  # from the first checkpoint to the end, about
        for i in range(given.kills):
            optimizer = OPTIMIZERS[i % len(OPTIMIZERS)]
            kind = MOMENTS[i // len(OPTIMIZERS) % len(MOMENTS)]
            whole = folder / f"whole_{optimizer}"
            rows.append(attempt(folder / "run", kind, optimizer, seconds[optimizer], temporary, whole))
            print(i, rows[-1], flush=True)
        for i in range(given.controls):
            controls.append(control(folder / "run", MOMENTS[i % len(MOMENTS)], seconds["adam"], temporary))
            print("control", controls[-1], flush=True)
        systems = {"runs": file_system(folder), "temporary files": file_system(temporary)}
        another = folder.stat().st_dev != temporary.stat().st_dev
    result = {
        "question": __doc__.splitlines()[0],
        "run": RUN,
        "versions": versions(),
        "file systems": systems,
        "temporary files on another file system": another,
        "kills": rows,
        "kills with Lightning's own writer": controls,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
