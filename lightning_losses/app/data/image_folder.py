"""Images from a folder that holds a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, UnidentifiedImageError

from lightning_losses._validation import choice
from lightning_losses._validation import positive as above_zero
from lightning_losses.app.data.base import Dataset, Task
from lightning_losses.app.data.images import image_dataset
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.target import read_target

SHOWN = 20  # classes whose images are counted on the screen
MODES = {"grey": "L", "rgb": "RGB"}  # ours -> Pillow's


def image_folder(
    task: Task | None,
    split: Split,
    *,
    root: str,
    size: int | Sequence[int] = 32,
    mode: str = "rgb",
    positive: str | float | bool | None = None,
) -> Dataset:
    """Read all images below `root/<class>/`, resized to one size.

    They are kept in memory as numbers: 10,000 colour images of 64 x 64 take 0.5 GB.

    Args:
        task: `multiclass` or `binary`; None takes `binary` for two classes.
        split: Which images are for what.
        root: The folder; the names of the folders in it are the classes.
        size: Height and width, or one number for both.
        mode: `rgb` or `grey`.
        positive: The class that counts as 1 in a binary task; None takes the last one in sorted order.

    Returns:
        The data set; its rows are the images in the order of their paths.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file is no image, there are no folders in the folder, or an argument is out of range.
    """
    choice("data.mode", mode, MODES)
    sides = [size, size] if isinstance(size, int) else size
    if len(sides) != 2:
        raise ValueError(f"data.size must be one number, or height and width, got {size!r}")
    height, width = (int(above_zero("data.size", side)) for side in sides)
    shape = height, width
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"data.root: there is no folder {str(folder.absolute())!r}")
    known = Image.registered_extensions()
    paths = [path for path in sorted(folder.glob("*/**/*")) if path.is_file() and path.suffix.lower() in known]
    if not paths:
        raise ValueError(f"data.root: {str(folder)!r} holds no folder with images: a folder for each class is needed")
    classes = pd.DataFrame({"class": [path.relative_to(folder).parts[0] for path in paths]})
    target = read_target(classes, task, positive=positive)
    counts = classes["class"].value_counts(sort=False)
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.head(SHOWN).items())
    found = f"images of each folder in {folder}: {shown}{', ...' if len(counts) > SHOWN else ''}"
    target = target._replace(notes=[found, *target.notes])
    return image_dataset(split, np.stack([_read(path, shape, MODES[mode]) for path in paths]), target)


def _read(path: Path, shape: tuple[int, int], mode: str) -> npt.NDArray[np.uint8]:
    """Return an image as (C, H, W)."""
    try:
        with Image.open(path) as image:
            resized = image.convert(mode).resize(shape[::-1], Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"data.root: {path} cannot be read as an image: {error}") from error
    return np.atleast_3d(np.asarray(resized)).transpose(2, 0, 1)
