"""Is every malformed checkpoint and data file refused in one line, and is nothing lost by it?

The command is run on files that are cut at many places, have changed bytes or zeros in them, or are something else, and
on folders that cannot be written. Each try must either end with exit status 1 and one line, or, where what is left
still is a whole file of its kind (a shorter CSV), read it. The files themselves must stay as they are, and what is
planted in them must not be executed. Writes `../results/malformed.json`.

    python benchmarks/faults/malformed.py
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pickle
import random
import resource
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import kill
import numpy as np
import pandas as pd
import torch
from PIL import Image

from lightning_losses.app import callbacks, cli, report
from lightning_losses.app.report import versions
from lightning_losses.checkpoints import read_checkpoint
from lightning_losses.mixins.base import FORMAT

RESULTS = Path(__file__).parents[1] / "results" / "malformed.json"
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none"]
RINGS = ["data.positives=40", "data.negatives=60", "model.hidden=[8]"]
SHARES = [0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999]
JUNK = {
    "empty": b"",
    "one zero": b"\0",
    "zeros": bytes(5000),
    "noise": random.Random(0).randbytes(5000),
    "text": b"a line\nanother line\n" * 50,
    "JSON": b'{"epoch": 3}',
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a pickle": pickle.dumps([1, 2, 3]),
    "gzip": gzip.compress(b"content" * 100),
}
READER = "checkpoint, a changed byte, read in Python"
File = tuple[str, bytes]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command in this process; return its exit status and what it wrote to stderr."""
    out, error, status = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["lightning-losses", *QUICK, f"hydra.run.dir={folder}", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            cli.main()
    except SystemExit as end:
        status, text = (1, end.code) if isinstance(end.code, str) else (int(end.code or 0), "")
        error.write(text)
    except BaseException as unexpected:
        status = -1
        error.write(repr(unexpected))
    finally:
        sys.argv = before
    return status, error.getvalue()


def verdict(status: int, error: str) -> str:
    lines = error.strip().splitlines()
    if status == 1 and len(lines) == 1 and len(lines[0]) > len("lightning-losses: "):
        return "refused in one line"
    return "read" if status == 0 else "neither"


def cut(content: bytes) -> Iterator[File]:
    for share in SHARES:
        yield f"cut at {share:.1%}", content[: int(share * len(content))]


def changed(content: bytes, count: int = 16) -> Iterator[File]:
    generator = random.Random(0)
    for place in sorted(generator.sample(range(len(content)), count)):
        yield (
            f"byte {place / len(content):.1%} changed",
            content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :],
        )


def zeroed(content: bytes, length: int = 512) -> Iterator[File]:
    for share in SHARES[3:14]:
        place = int(share * len(content))
        end = min(place + length, len(content))
        yield f"zeros at {share:.1%}", content[:place] + bytes(end - place) + content[end:]


def others() -> Iterator[File]:
    yield from JUNK.items()


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def foreign_checkpoints(content: bytes, folder: Path) -> Iterator[File]:
    """Yield what torch can write, too, but no run can be resumed from."""
    run = torch.load(io.BytesIO(content), weights_only=True)
    own = run["lightning_losses"]
    weights = run["state_dict"]
    yield "weights alone", saved(weights)
    yield "a tensor", saved(torch.zeros(3))
    yield "a module", saved(torch.nn.Linear(2, 1))
    yield "a payload", saved({**run, "callbacks": Payload(folder / "executed")})
    yield "a payload in a plain pickle", pickle.dumps(Payload(folder / "executed"))
    yield "a later version", saved({**run, "lightning_losses": {**own, "format": FORMAT + 1}})
    yield "another network", saved({**run, "state_dict": {name: value[:1] for name, value in weights.items()}})
    yield "no optimizer", saved({name: value for name, value in run.items() if name != "optimizer_states"})
    yield "no weights", saved({name: value for name, value in run.items() if name != "state_dict"})


class Tries:
    """Counts what became of the tries of each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}

    def run(self, kind: str, name: str, *arguments: str) -> None:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.count(kind, name, *command(out, *arguments))

    def count(self, kind: str, name: str, status: int, error: str) -> None:
        result = verdict(status, error)
        empty = {"tries": 0, "refused in one line": 0, "read": 0, "neither": 0, "example": "", "not refused": {}}
        row = self.rows.setdefault(kind, empty)
        row["tries"] += 1
        row[result] += 1
        text = error.strip().replace(str(self.folder), "FOLDER").removesuffix(" [HYDRA_FULL_ERROR=1 shows more]")
        if result == "refused in one line":
            row["example"] = row["example"] or text
        else:
            row["not refused"][name] = text if result == "neither" else "read"

    def files(self, kind: str, path: Path, files: Iterator[File], *arguments: str) -> None:
        """Put each content in the place of a file, run, and look that it is still there."""
        before = path.read_bytes() if path.is_file() else None
        for name, content in files:
            path.write_bytes(content)
            self.run(kind, name, *arguments)
            if not path.is_file() or path.read_bytes() != content:
                self.count(kind, name, -1, "the file has been changed")
        if before is not None:
            path.write_bytes(before)


def try_checkpoints(tries: Tries) -> None:
    base = tries.folder / "base"
    status, error = command(base, *RINGS)
    if status:
        raise RuntimeError(error)
    content = (base / "checkpoints" / "last.ckpt").read_bytes()
    path = tries.folder / "tried.ckpt"
    arguments = [*RINGS, "callbacks=none", f"ckpt_path={path}"]
    tries.files("checkpoint, whole", path, iter([("whole", content)]), *arguments)
    for kind, files in {
        "cut": cut(content),
        "a changed byte": changed(content),
        "zeros in it": zeroed(content),
        "other files": others(),
        "torch's files": foreign_checkpoints(content, tries.folder),
    }.items():
        tries.files(f"checkpoint, {kind}", path, files, *arguments)
    try_bytes(tries, path, content)
    path.unlink()
    tries.run("checkpoint, other files", "missing", *arguments)
    path.mkdir()
    tries.run("checkpoint, other files", "a folder", *arguments)


def try_bytes(tries: Tries, path: Path, content: bytes, count: int = 500) -> None:
    """Change single bytes; what is still read must be what was written: a byte of the file's own dates, for example."""
    path.write_bytes(content)
    original = read_checkpoint(path)
    for name, damaged in changed(content, count):
        path.write_bytes(damaged)
        try:
            read = read_checkpoint(path)
        except ValueError as error:
            tries.count(READER, name, 1, f"lightning-losses: {error}")
        else:
            equal = kill.same(read, original)
            tries.count(READER, name, 0 if equal else -1, "" if equal else "read as something else")


def idx(array: Any) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tables(folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Write a file of each kind; yield the kind, the path and the arguments that read it."""
    generator = np.random.default_rng(0)
    count = 60
    frame = pd.DataFrame({"number": generator.normal(size=count), "color": ["red", "blue", "red"] * 20})
    frame["label"] = ["yes", "no"] * (count // 2)
    linear = ["model=linear", "callbacks=none"]
    frame.to_csv(folder / "table.csv", index=False)
    yield "CSV", folder / "table.csv", ["data=csv", f"data.path={folder / 'table.csv'}", "data.target=label", *linear]
    frame.to_parquet(folder / "table.parquet")
    path = folder / "table.parquet"
    yield "Parquet", path, ["data=parquet", f"data.path={path}", "data.target=label", *linear]
    path = folder / "arrays.npz"
    np.savez(path, x=frame[["number"]].to_numpy(), y=np.arange(count) % 2)
    yield "npz", path, ["data=npz", f"data.path={path}", *linear]
    images = folder / "images"
    for i in range(40):
        (images / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(images / "ab"[i % 2] / f"{i}.png")
    picture = ["data=image_folder", f"data.root={images}", "data.size=8", "model=cnn", "loss=focal", "callbacks=none"]
    yield "image", images / "a" / "0.png", picture
    fashion = folder / "fashion"
    fashion.mkdir()
    for part, rows in {"train": 200, "t10k": 20}.items():
        pixels = generator.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        (fashion / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (fashion / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(rows, dtype=np.uint8) % 10))
    mnist = [
        "data=fashion_mnist",
        f"data.root={fashion}",
        "data.download=false",
        "model=cnn",
        "loss=ce",
        "callbacks=none",
    ]
    yield "idx, compressed", fashion / "train-images-idx3-ubyte.gz", mnist
    yield "idx", fashion / "t10k-labels-idx1-ubyte", mnist


def try_data(tries: Tries) -> None:
    for kind, path, arguments in tables(tries.folder):
        content = path.read_bytes()
        tries.files(f"{kind}, whole", path, iter([("whole", content)]), *arguments)
        tries.files(f"{kind}, cut", path, cut(content), *arguments)
        tries.files(f"{kind}, other files", path, others(), *arguments)
        path.unlink()
        path.mkdir()
        tries.run(f"{kind}, other files", "a folder", *arguments)
        path.rmdir()
        path.write_bytes(content)


def during(hook: Callable[[], object]) -> Callable[..., None]:
    """Return a start of an epoch that does something before the second one."""
    begin = callbacks.History.on_train_epoch_start

    def start(self: Any, trainer: Any, module: Any) -> None:
        begin(self, trainer, module)
        if trainer.current_epoch == 1:
            hook()

    return start


def try_folders(tries: Tries) -> None:
    """Let the run's folder be no folder, vanish, or be on a disk that takes no more."""
    kind, out = "run folder", tries.folder / "out"
    (tries.folder / "file").write_text("")
    status_and_error = command(tries.folder / "file" / "out", *RINGS, "callbacks=none")
    tries.count(f"{kind}, in the place of a file", "a file", *status_and_error)
    begin = callbacks.History.on_train_epoch_start
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))

    for name, hook in {"removed in the run": lambda: shutil.rmtree(out), "takes no more": fill}.items():
        for set_of_callbacks, logger in product(("default", "none", "last"), ("none", "csv")):
            shutil.rmtree(out, ignore_errors=True)
            callbacks.History.on_train_epoch_start = during(hook)
            chosen = [f"callbacks={set_of_callbacks}", f"logger={logger}", "trainer.max_epochs=3", "model.hidden=[64]"]
            try:
                status_and_error = command(out, *RINGS, *chosen)
            finally:
                callbacks.History.on_train_epoch_start = begin
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            tries.count(f"{kind}, {name}", set_of_callbacks, *status_and_error)
            last = out / "checkpoints" / "last.ckpt"
            if name == "takes no more" and last.exists() and torch.load(last, weights_only=True)["epoch"] != 0:
                tries.count(f"{kind}, {name}", set_of_callbacks, -1, "the last good checkpoint is gone")


def main() -> None:
    report.write_figure = lambda *_: None
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        tries = Tries(Path(name))
        for part in (try_checkpoints, try_data, try_folders):
            part(tries)
        executed = (tries.folder / "executed").exists()
    result = {
        "question": __doc__.splitlines()[0],
        "versions": versions(),
        "executed": executed,
        "tries": tries.rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for kind, row in tries.rows.items():
        print(kind, {key: value for key, value in row.items() if key != "example"}, row["example"][:150], sep=" | ")


if __name__ == "__main__":
    main()
