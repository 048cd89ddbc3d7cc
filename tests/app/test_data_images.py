"""Images from idx files: read as they were written, and refused in one line where they are damaged."""

import copy
import gzip
import hashlib
import importlib

import numpy as np
import pytest
import torch

from lightning_losses.app.models import build_model
from tests.app.loading import FASHION_ROWS, data, idx, write_fashion

fashion_mnist = importlib.import_module("lightning_losses.app.data.fashion_mnist")  # the package names its function so

TRAIN, TEST = FASHION_ROWS.values()


@pytest.fixture
def fashion(tmp_path):
    """The folder of the files, and what they hold."""
    return tmp_path, write_fashion(tmp_path)


def test_the_publishers_parts_and_every_row_where_it_belongs(fashion):
    folder, arrays = fashion
    dataset = data("fashion_mnist", root=str(folder), download=False, val_fraction=0.5).dataset
    parts = dataset.parts
    assert {name: len(part.y) for name, part in parts.items()} == {"train": 30, "val": 30, "test": TEST}
    assert sorted([*parts["train"].rows.tolist(), *parts["val"].rows.tolist()]) == list(range(TRAIN))
    assert parts["test"].rows.tolist() == list(range(TRAIN, TRAIN + TEST))
    assert (dataset.inputs, dataset.outputs, len(dataset.features)) == ([1, 28, 28], 10, 784)
    images, labels = (np.concatenate(pair) for pair in zip(arrays["train"], arrays["t10k"], strict=True))
    train = images[parts["train"].rows] / 255
    for part in parts.values():
        expected = (images[part.rows] / 255 - train.mean()) / train.std()
        np.testing.assert_allclose(part.x[:, 0], expected, atol=1e-5)
        assert part.y.tolist() == labels[part.rows].tolist()


def test_fewer_rows_are_drawn_by_class(fashion):
    folder, _ = fashion
    parts = data("fashion_mnist", root=str(folder), download=False, rows=20, val_fraction=0.5).dataset.parts
    assert parts["train"].y.bincount().tolist() == [1] * len(fashion_mnist.CLASSES)
    assert not {*parts["train"].rows.tolist()} & {*parts["val"].rows.tolist()}
    assert len(parts["test"].y) == TEST


# file, its new content (None: it is removed), what the line must say
DAMAGED = {
    "cut": (
        "train-images-idx3-ubyte.gz",
        lambda whole: gzip.compress(gzip.decompress(whole)[:-1]),
        "is cut or damaged",
    ),
    "cut while compressed": ("train-images-idx3-ubyte.gz", lambda whole: whole[:-20], "is no whole gzip file"),
    "not compressed": ("train-labels-idx1-ubyte.gz", gzip.decompress, "is no whole gzip file"),
    "a web page": ("t10k-labels-idx1-ubyte", lambda _: b"<html></html>", "begins with 3c 68 74 6d"),
    "empty": ("t10k-labels-idx1-ubyte", lambda _: b"", "begins with nothing"),
    "only its head": ("t10k-labels-idx1-ubyte", lambda whole: whole[:6], "is cut or damaged"),
    "a label too few": (
        "t10k-labels-idx1-ubyte",
        lambda _: idx(np.zeros(TEST - 1, np.uint8)),
        "there must be one label for each image",
    ),
    "labels in place of images": (
        "t10k-images-idx3-ubyte",
        lambda _: idx(np.zeros(TEST, np.uint8)),
        "there must be one label for each image",
    ),
    "unknown label": ("t10k-labels-idx1-ubyte", lambda _: idx(np.full(TEST, 10, np.uint8)), "holds the label 10"),
    "missing": ("t10k-labels-idx1-ubyte", None, "there is no t10k-labels-idx1-ubyte.gz in"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_one_line(name, fashion, command):
    folder, _ = fashion
    file, damage, expected = DAMAGED[name]
    path = folder / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    outcome = command("data=fashion_mnist", f"data.root={folder}", "data.download=false")
    assert outcome.status == 1
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("model", ["cnn", "mlp", "linear"])
def test_networks_take_images(model, fashion, command):
    folder, _ = fashion
    arguments = ["data.download=false", "data.val_fraction=0.5", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    outcome = command("data=fashion_mnist", f"data.root={folder}", f"model={model}", "loss=ce", *arguments)
    assert (outcome.status, outcome.err) == (0, "")


def test_the_small_cnn_is_that_of_the_paper():
    # Ma et al., 2020: two blocks of 3 x 3 convolutions with 32 and 64 channels, 3136 -> 128 -> 10
    net = build_model({"name": "cnn", "in_shape": [1, 28, 28], "out_features": 10})
    convolutions = 32 * 9 + 32 + 64 * 32 * 9 + 64
    norms = 2 * (32 + 64 + 128)
    assert sum(p.numel() for p in net.parameters()) == convolutions + norms + 3136 * 128 + 128 + 128 * 10 + 10
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_networks_for_images_say_the_same_in_the_memory_format_that_is_faster():
    torch.manual_seed(0)
    net = build_model({"name": "cnn", "in_shape": [3, 28, 28], "out_features": 10}).double()
    usual = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    assert net.conv_2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not net.conv_2.weight.is_contiguous()
    x, target = torch.randn(16, 3, 28, 28, dtype=torch.float64), torch.arange(16) % 10
    for model in (net, usual):
        torch.nn.functional.cross_entropy(model(x), target).backward()
    torch.testing.assert_close(net.eval()(x), usual.eval()(x))
    for parameter, other in zip(net.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"in_shape": 30}, "model=cnn is for images, these data have 30 features"),
        ({"in_shape": [1, 3, 3]}, "too small for 2 blocks"),
        ({"in_shape": [1, 28, 28], "channels": [0]}, "model.channels must be"),
    ],
)
def test_the_cnn_refuses(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        build_model({"name": "cnn", "out_features": 10, **arguments})


def test_download_takes_the_publishers_files_alone(tmp_path, monkeypatch, command):
    source = tmp_path / "source"
    source.mkdir()
    for name in fashion_mnist.MD5:
        (source / name).write_bytes(b"something else")
    monkeypatch.setattr(fashion_mnist, "SOURCE", source.as_uri())
    outcome = command("data=fashion_mnist", f"data.root={tmp_path / 'root'}")
    assert "is not the publisher's file" in outcome.err
    assert not (tmp_path / "root").exists()
    monkeypatch.setattr(fashion_mnist, "SOURCE", (tmp_path / "nowhere").as_uri())
    assert "cannot be fetched" in command("data=fashion_mnist", f"data.root={tmp_path / 'root'}").err


def test_what_is_downloaded_is_read(fashion, tmp_path, monkeypatch):
    folder, _ = fashion
    content = {name: (folder / name).read_bytes() for name in fashion_mnist.MD5 if (folder / name).exists()}
    for name in fashion_mnist.MD5.keys() - content.keys():
        content[name] = gzip.compress((folder / name).with_suffix("").read_bytes())
        (folder / name).write_bytes(content[name])
    monkeypatch.setattr(fashion_mnist, "SOURCE", folder.as_uri())
    monkeypatch.setattr(fashion_mnist, "MD5", {name: hashlib.md5(whole).hexdigest() for name, whole in content.items()})
    root = tmp_path / "new" / "folder"
    assert len(data("fashion_mnist", root=str(root), val_fraction=0.5).dataset.parts["test"].y) == TEST
    assert {path.name: path.read_bytes() for path in root.iterdir()} == content
