"""The idx format of the MNIST family: a magic number, the sizes and the raw bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

UNSIGNED_BYTES = 8  # the third byte of the magic number; the fourth is the number of dimensions


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, compressed by gzip or not.

    Args:
        path: The file; `.gz` at the end says that it is compressed.

    Returns:
        The array, of as many dimensions as the file says.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or of another format.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file: {error}") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise ValueError(f"{path} is no idx file of bytes: it begins with {content[:4].hex(' ') or 'nothing'}")
    dimensions = content[3]
    begin = 4 + 4 * dimensions
    shape = [int(size) for size in np.frombuffer(content[4:begin], ">u4")] if len(content) >= begin else []
    if len(shape) != dimensions or len(content) - begin != math.prod(shape):
        sizes = " x ".join(map(str, shape)) or "unknown sizes"
        raise ValueError(
            f"{path} is cut or damaged: its head says {sizes}, {max(len(content) - begin, 0):,} bytes follow"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
