"""Files that hold either what they held before or all of what is new, also after a crash or a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write beside `path`, then put the file in its place at once.

    The part lies in the same folder and thus on the same file system, where a move is one step; it is on the disk
    before it is moved, and the move is before this returns.

    Args:
        path: The file; its folder exists.
        save: Writes to the path that it gets.

    Raises:
        OSError: It cannot be written; what was there before is left.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        save(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> OSError:
    reason = error.strerror or str(error) if path.parent.is_dir() else "its folder has been removed"
    before = ", what it held before is left" if path.exists() else ""
    return OSError(error.errno or errno.EIO, f"cannot be written ({reason}){before}", str(path))
