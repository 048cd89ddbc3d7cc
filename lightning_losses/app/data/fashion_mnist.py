"""Fashion-MNIST: 70,000 grey images of clothes, 28 x 28, ten classes, from its publisher's files."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from lightning_losses._files import replace
from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.idx import read_idx
from lightning_losses.app.data.images import pixel_names, standardise
from lightning_losses.app.data.split import Rows, Split

SOURCE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
MD5 = {  # as the publisher gives them
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist(
    task: Task | None, split: Split, *, root: str = "data/fashion-mnist", download: bool = True, rows: int | None = None
) -> Dataset:
    """Read the publisher's four files; its test file is the test part.

    Args:
        task: `multiclass` or None.
        split: Which rows of the training file are for validation.
        root: Folder of the files, compressed or not.
        download: Fetch what is missing there.
        rows: Take so many rows of the training file, drawn by class; None: all 60,000.

    Returns:
        A data set of ten classes. The rows of the test file are numbered on from those of the training file.

    Raises:
        FileNotFoundError: A file is missing and is not to be downloaded.
        ConnectionError: It cannot be downloaded.
        ValueError: A file is damaged, or `rows` is out of range.

    Source:
        Xiao, Rasul, Vollgraf: Fashion-MNIST, a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017.
    """
    folder = Path(root).expanduser()
    paths = {name: _find(folder, name, download) for name in MD5}
    images, labels = _read(paths, "train")
    test_images, test_labels = _read(paths, "t10k")
    chosen = _choose(labels, rows, split.seed)
    parts = split.rows(len(chosen), classes=labels[chosen])
    parts["test"] = np.arange(len(chosen), len(chosen) + len(test_labels))
    x, note = standardise(np.concatenate([images[chosen], test_images])[:, None], parts["train"])
    y = as_target("multiclass", np.concatenate([labels[chosen], test_labels]))
    numbers = np.concatenate([chosen, np.arange(len(labels), len(labels) + len(test_labels))])
    return Dataset(
        task=check_task(task, "multiclass"),
        parts=make_parts(x, y, parts, numbers),
        features=pixel_names(x.shape[1:]),
        targets=CLASSES,
        notes=[note],
    )


def _choose(labels: npt.NDArray[np.uint8], count: int | None, seed: int) -> Rows:
    """Return `count` row numbers, drawn by class."""
    everything: Rows = np.arange(len(labels))
    if count is None or count == len(labels):
        return everything
    if not len(CLASSES) <= count < len(labels):
        raise ValueError(f"data.rows must be in [{len(CLASSES)}, {len(labels)}], got {count}")
    chosen, _ = train_test_split(everything, train_size=count, stratify=labels, random_state=seed)
    return chosen


def _read(paths: dict[str, Path], part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return images (N, H, W) and labels (N,) that fit each other."""
    images_path, labels_path = paths[f"{part}-images-idx3-ubyte.gz"], paths[f"{part}-labels-idx1-ubyte.gz"]
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{images_path} holds an array of {images.shape}, {labels_path.name} of {labels.shape}: "
            "there must be one label for each image"
        )
    if labels.max(initial=0) >= len(CLASSES):
        raise ValueError(f"{labels_path} holds the label {labels.max()}, the classes are 0 to {len(CLASSES) - 1}")
    return images, labels


def _find(folder: Path, name: str, download: bool) -> Path:
    """Return the file, compressed or not, after fetching it where that is wanted."""
    path = folder / name
    for found in (path, path.with_suffix("")):
        if found.is_file():
            return found
    if not download:
        raise FileNotFoundError(
            f"data.root: there is no {name} in {str(folder.absolute())!r}; data.download=true fetches it, "
            "and Debian's package dataset-fashion-mnist has it in /usr/share/datasets/fashion-mnist"
        )
    _download(path)
    return path


def _download(path: Path) -> None:
    """Fetch one of the publisher's files; the file is there whole or not at all."""
    try:
        with urllib.request.urlopen(f"{SOURCE}/{path.name}", timeout=60) as response:
            content: bytes = response.read()
    except (urllib.error.URLError, OSError) as error:
        raise ConnectionError(
            f"data.download: {SOURCE}/{path.name} cannot be fetched ({error}); put the file into "
            f"{str(path.parent.absolute())!r} or let data.root name the folder that holds it"
        ) from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[path.name]:
        raise ConnectionError(f"data.download: what {SOURCE}/{path.name} sent is not the publisher's file")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda part: part.write_bytes(content))
