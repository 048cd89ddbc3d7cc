"""Checkpoints are whole or not there, and what is read from a file is never executed."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_losses.checkpoints import AtomicCheckpointIO, read_checkpoint
from lightning_losses.mixins.base import FORMAT
from tests.test_mixins import Net, fit, loader

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

CONTENT = {"state_dict": {"w": torch.arange(400.0)}, "pytorch-lightning_version": "2.6.6", "epoch": 3}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def test_what_is_written_is_read(saved: Path) -> None:
    read = AtomicCheckpointIO().load_checkpoint(saved)
    assert read["state_dict"]["w"].equal(CONTENT["state_dict"]["w"])
    assert read["epoch"] == 3
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_last_good_checkpoint(step: str, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    monkeypatch.setattr(step, no_space)
    message = r"cannot be written \(No space left on device\), what it held before is left: '.*last.ckpt'"
    with pytest.raises(OSError, match=message):
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "epoch": 4}, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_ends_the_training_with_that_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_in_the_second_epoch(path: Path, content: Any) -> int:
        return no_space() if module.current_epoch else write(path, content)

    write, module = Path.write_bytes, Net()
    monkeypatch.setattr(Path, "write_bytes", full_in_the_second_epoch)
    options = {"callbacks": [ModelCheckpoint(tmp_path, filename="run")], "plugins": [AtomicCheckpointIO()]}
    with pytest.raises(OSError, match="No space left on device"):
        fit(module, loader(16), max_epochs=3, enable_checkpointing=True, **options)
    assert read_checkpoint(tmp_path / "run.ckpt")["epoch"] == 0


@pytest.mark.parametrize("step", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_process_that_is_killed_leaves_the_last_good_checkpoint(step: str, saved: Path) -> None:
    child = os.fork()
    if not child:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            AtomicCheckpointIO().save_checkpoint({**CONTENT, "epoch": 4}, saved)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_checkpoint(saved)["epoch"] == 3
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "epoch": 5}, saved)  # over what is left of the other
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(saved)["epoch"] == 5


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_checkpoint_is_refused(share: float, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(ValueError, match=r"last.ckpt' is no checkpoint, or is cut: "):
        read_checkpoint(saved)


def test_a_changed_byte_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    place = content.index(torch.arange(400.0).numpy().tobytes()[:64])
    content[place + 32] ^= 1
    saved.write_bytes(content)
    assert not torch.load(saved, weights_only=True)["state_dict"]["w"].equal(CONTENT["state_dict"]["w"])
    for read in (read_checkpoint, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(ValueError, match=r"is damaged: .* does not have the check sum"):
            read(saved)


@pytest.mark.parametrize("read", [read_checkpoint, AtomicCheckpointIO().load_checkpoint])
def test_nothing_is_executed(read: Any, tmp_path: Path) -> None:
    torch.save({**CONTENT, "callbacks": Payload(tmp_path / "marker")}, tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of plain data and tensors; nothing in it was executed"):
        read(tmp_path / "run.ckpt")
    assert not (tmp_path / "marker").exists()


FOREIGN: dict[str, tuple[Any, str]] = {
    "text": (b"epoch,loss\n0,0.5\n", "is no checkpoint, or is cut"),
    "weights alone": ({"w": torch.zeros(2)}, "a file of torch's but no checkpoint of Lightning's"),
    "a tensor": (torch.zeros(2), "a file of torch's but no checkpoint of Lightning's"),
    "a later version": (
        {**CONTENT, "lightning_losses": {"format": FORMAT + 1}},
        f"format {FORMAT + 1} of a later version of lightning_losses, this one reads up to {FORMAT}",
    ),
    "another format": (
        {**CONTENT, "lightning_losses": {"format": "2"}},
        "is not of lightning_losses: it has no format",
    ),
    "another thing under our key": (
        {**CONTENT, "lightning_losses": [1]},
        "is not of lightning_losses: it has no format",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(kind: str, tmp_path: Path) -> None:
    content, message = FOREIGN[kind]
    path = tmp_path / "run.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_a_later_version_is_refused_by_a_trainer_too(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    runner = fit(Net(), loader(16))
    runner.save_checkpoint(path, weights_only=False)
    saved = torch.load(path, weights_only=True)
    saved["lightning_losses"]["format"] = FORMAT + 1
    torch.save(saved, path)
    with pytest.raises(ValueError, match="of a later version"):
        fit(Net(), loader(16), max_epochs=2, ckpt_path=path)
