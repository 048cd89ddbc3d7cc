"""Data as their config files describe them, and files to read."""

import gzip
import struct

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

import lightning_losses as ll
from lightning_losses.app.data import build_data

FASHION_ROWS = {"train": 60, "t10k": 20}


def data(name, **arguments):
    """The data of a config file, with some of its values replaced."""
    mapping = OmegaConf.to_container(ll.compose(f"data={name}").data)
    return build_data({**mapping, "seed": 0, **arguments})


def idx(array):
    """The format as its author describes it: 0, 0, 8 for bytes, number of dimensions, big-endian sizes, data."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_fashion(folder):
    """Write four small files as the publisher names them, those of the test part not compressed; return the arrays."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in FASHION_ROWS.items():
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[part] = images, np.arange(count, dtype=np.uint8) % 10
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[part], strict=True):
            if part == "train":
                (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / f"{part}-{kind}-ubyte").write_bytes(idx(array))
    return arrays


def write_image_folder(folder, classes=("cat", "dog"), count=30):
    """Write grey images of 6 x 4, each of one brightness, and a file that is none; return the brightness of each."""
    brightness = {}
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            brightness[f"{name}/{i:02}.png"] = value = 8 * i + c
            Image.new("L", (6, 4), value).save(folder / name / f"{i:02}.png")
    (folder / classes[0] / "notes.txt").write_text("not an image")
    return brightness
