"""Checkpoints that are whole or not there, and one way to read them that executes nothing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from lightning.fabric.plugins.io import TorchCheckpointIO

from lightning_losses._files import replace
from lightning_losses.mixins.base import check_format


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, to the disk, and then puts it there at once.

    Lightning writes it in the folder for temporary files; where that is on another file system, its move is a copy, and
    a process that is killed meanwhile leaves half a checkpoint in the place of a good one. When one is read, its check
    sums are compared, and nothing in it is executed unless `weights_only=False` asks for that. Paths that are not local
    are Lightning's.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(plugins=[AtomicCheckpointIO()], logger=False, barebones=True)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What Lightning collects.
            path: Where to.
            storage_options: Not supported.

        Raises:
            OSError: It cannot be written; a checkpoint that was there before is left.
            TypeError: There are `storage_options`.
        """
        system, local = url_to_fs(str(path))
        if storage_options is not None or not isinstance(system, LocalFileSystem):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()  # torch's own writer does not say why a file cannot be written
        torch.save(checkpoint, content)
        target = Path(local)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(target, lambda part: part.write_bytes(content.getbuffer()))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Args:
            path: Where it lies.
            map_location: See `torch.load`.
            weights_only: False lets the file decide what is executed: only where it comes from yourself.

        Returns:
            Its content.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or no checkpoint.
        """
        system, local = url_to_fs(str(path))
        if weights_only is False or not isinstance(system, LocalFileSystem):
            return super().load_checkpoint(path, map_location, weights_only)
        return _read(local, map_location)  # also what launchers pass from process to process, which is no checkpoint


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning's; nothing in it is executed.

    The check sums of all its parts are compared: `torch.load` returns other weights where a byte has changed.

    Args:
        path: The file.

    Returns:
        Its content, plain data and tensors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is cut or damaged, holds what would have to be executed, or is no checkpoint that this version
            can read.

    Example:
        >>> read_checkpoint("nowhere.ckpt")
        Traceback (most recent call last):
        FileNotFoundError: there is no checkpoint 'nowhere.ckpt'
    """
    content = _read(path, "cpu")
    if not isinstance(content, dict) or not {"state_dict", "pytorch-lightning_version"} <= content.keys():
        raise ValueError(f"{str(path)!r} is a file of torch's but no checkpoint of Lightning's")
    check_format(content)
    return content


def _read(path: str | Path, map_location: Any) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{str(path)!r} is no checkpoint, or is cut: {error}") from error
    if damaged is not None:
        raise ValueError(f"{str(path)!r} is damaged: {damaged} does not have the check sum that was written with it")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # whatever a foreign file makes of torch's reader
        raise ValueError(
            f"{str(path)!r} is no checkpoint of plain data and tensors; nothing in it was executed"
        ) from error
