"""Arrays, folders of images and Parquet files: what is in them is what is trained on."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_losses.app.models import build_model
from tests.app.loading import data, write_image_folder

ROWS = 60


def write_arrays(folder, **arrays):
    path = folder / "arrays.npz"
    np.savez(path, **arrays)
    return str(path)


def test_parquet_is_read_like_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "number": np.random.default_rng(0).normal(size=ROWS),
            "text": ["red", "blue", None] * (ROWS // 3),
            "label": ["yes", "no"] * (ROWS // 2),
        }
    )
    frame.to_csv(tmp_path / "table.csv", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    ours, theirs = (
        data(kind, path=str(tmp_path / f"table.{kind}"), target="label").dataset for kind in ("parquet", "csv")
    )
    assert (ours.task, ours.features, ours.targets, ours.notes) == (
        theirs.task,
        theirs.features,
        theirs.targets,
        theirs.notes,
    )
    for name, part in ours.parts.items():
        torch.testing.assert_close(part, theirs.parts[name])


def test_the_numbers_of_rows_are_those_of_the_file(write_table):
    path = write_table(x=[float(i) for i in range(ROWS)], y=[None if i % 10 == 0 else i % 2 for i in range(ROWS)])
    parts = data("csv", path=path, target="y").dataset.parts
    numbers = torch.cat([part.rows for part in parts.values()])
    assert sorted(numbers.tolist()) == [i for i in range(ROWS) if i % 10]
    for part in parts.values():
        assert part.y.flatten().tolist() == [number % 2 for number in part.rows.tolist()]


@pytest.mark.parametrize(
    ("x", "y", "inputs", "task"),
    [
        (np.zeros((ROWS, 5)), np.arange(ROWS) % 3, 5, "multiclass"),
        (np.zeros((ROWS, 8, 6), np.uint8), np.arange(ROWS) % 2, [1, 8, 6], "binary"),
        (np.zeros((ROWS, 3, 8, 6), np.float32), np.arange(ROWS) % 2, [3, 8, 6], "binary"),
        (np.zeros((ROWS, 5)), np.linspace(0, 1, ROWS), 5, "regression"),
        (np.zeros((ROWS, 8, 6)), np.arange(2 * ROWS).reshape(ROWS, 2) // 2 % 2, [1, 8, 6], "multilabel"),
    ],
    ids=["table", "grey", "colour", "numbers", "labels"],
)
def test_arrays_are_a_table_or_images(x, y, inputs, task, tmp_path):
    dataset = data("npz", path=write_arrays(tmp_path, images=x, labels=y), inputs="images", target="labels").dataset
    assert (dataset.inputs, dataset.task) == (inputs, task)
    assert sum(len(part.y) for part in dataset.parts.values()) == ROWS


def test_channels_are_standardised_by_the_training_part(tmp_path):
    x = np.random.default_rng(0).normal([[[1.0]], [[50.0]]], [[[1.0]], [[9.0]]], (ROWS, 2, 3, 3))
    parts = data("npz", path=write_arrays(tmp_path, x=x, y=np.arange(ROWS) % 2)).dataset.parts
    train = x[parts["train"].rows]
    mean, deviation = (f(train, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    for part in parts.values():
        np.testing.assert_allclose(part.x, (x[part.rows] - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_images_of_a_folder_for_each_class(tmp_path):
    brightness = np.array(list(write_image_folder(tmp_path).values())) / 255
    dataset = data("image_folder", root=str(tmp_path), size=[8, 6], mode="grey").dataset
    assert dataset.notes[0] == f"images of each folder in {tmp_path}: cat 30, dog 30"
    assert (dataset.inputs, dataset.targets) == ([1, 8, 6], ["cat", "dog"])
    mean, deviation = (f(brightness[dataset.parts["train"].rows]) for f in (np.mean, np.std))
    for part in dataset.parts.values():
        assert part.y.flatten().tolist() == (part.rows >= 30).long().tolist()
        expected = (brightness[part.rows] - mean) / deviation
        np.testing.assert_allclose(part.x.amin((1, 2, 3)), expected, atol=1e-4)
        np.testing.assert_allclose(part.x.amax((1, 2, 3)), expected, atol=1e-4)
    assert data("image_folder", root=str(tmp_path), size=8).dataset.inputs == [3, 8, 8]


def broken_image(folder):
    write_image_folder(folder / "images")
    (folder / "images" / "dog" / "broken.png").write_bytes(b"nothing")


def pickled(folder):
    write_arrays(folder, x=np.zeros((4, 2)), y=np.array([object()] * 4))


def cut(folder):
    path = folder / "arrays.npz"
    np.savez(path, x=np.zeros((4, 2)), y=np.zeros(4))
    path.write_bytes(path.read_bytes()[:-30])


# what is written before, arguments, what the line must say
REFUSED = {
    "no folder": (lambda _: None, ["data=image_folder", "data.root=images"], "there is no folder"),
    "no class": (
        lambda f: (f / "images").mkdir(),
        ["data=image_folder", "data.root=images"],
        "a folder for each class",
    ),
    "broken image": (broken_image, ["data=image_folder", "data.root=images"], "broken.png cannot be read as an image"),
    "mode": (lambda _: None, ["data=image_folder", "data.root=images", "data.mode=gray"], "did you mean 'grey'?"),
    "size": (lambda _: None, ["data=image_folder", "data.root=images", "data.size=0"], "data.size must be"),
    "no arrays": (lambda _: None, ["data=npz", "data.path=arrays.npz"], "there is no file"),
    "objects": (pickled, ["data=npz", "data.path=arrays.npz"], "Object arrays cannot be loaded"),
    "cut": (cut, ["data=npz", "data.path=arrays.npz"], "is no whole file of arrays"),
    "text": (
        lambda f: (f / "arrays.npz").write_text("x,y\n1,2"),
        ["data=npz", "data.path=arrays.npz"],
        "'arrays.npz' is no .npz file",
    ),
    "one array": (
        lambda f: np.save(f / "x.npy", np.zeros(3)),
        ["data=npz", "data.path=x.npy"],
        "'x.npy' is no .npz file",
    ),
    "array": (
        lambda f: write_arrays(f, x=np.zeros((4, 2)), label=np.zeros(4)),
        ["data=npz", "data.path=arrays.npz", "data.target=labl"],
        "did you mean 'label'?",
    ),
    "shapes": (
        lambda f: write_arrays(f, x=np.zeros((4, 2)), y=np.zeros(5)),
        ["data=npz", "data.path=arrays.npz"],
        "got (4, 2) and (5,)",
    ),
    "no parquet": (lambda _: None, ["data=parquet", "data.path=t.parquet", "data.target=y"], "there is no file"),
    "not parquet": (
        lambda f: (f / "t.parquet").write_text("x,y\n1,2"),
        ["data=parquet", "data.path=t.parquet", "data.target=y"],
        "cannot be read as Parquet",
    ),
    "no rows": (
        lambda f: pd.DataFrame({"y": []}).to_parquet(f / "t.parquet"),
        ["data=parquet", "data.path=t.parquet", "data.target=y"],
        "has columns but no rows",
    ),
    "missing column": (
        lambda f: pd.DataFrame({"label": [1]}).to_parquet(f / "t.parquet"),
        ["data=parquet", "data.path=t.parquet", "data.target=labl"],
        "did you mean 'label'?",
    ),
    "resnet on a table": (
        lambda _: None,
        ["model=resnet18"],
        "model=resnet18 is for images, these data have 2 features",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, command, tmp_path):
    write, arguments, expected = REFUSED[name]
    write(tmp_path)
    outcome = command(*arguments)
    assert outcome.status == 1
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_resnet18_has_the_parameters_that_are_known_for_small_images():
    # 11,173,962: of the usual implementation for CIFAR-10, images of 3 x 32 x 32, ten classes
    net = build_model({"name": "resnet18", "in_shape": [3, 32, 32], "out_features": 10})
    assert sum(p.numel() for p in net.parameters()) == 11_173_962
    assert net.layer4(net.layer3(net.layer2(net.layer1(net.conv1(torch.zeros(1, 3, 32, 32)))))).shape[2:] == (4, 4)


MISSING = {
    "parquet": ("pyarrow", ["data=parquet", "data.path=t.parquet", "data.target=y"]),
    "resnet": ("monai.networks.nets.resnet", ["data=npz", "data.path=arrays.npz", "model=resnet18"]),
}


@pytest.mark.parametrize("extra", MISSING)
def test_a_missing_extra_is_named(extra, command, tmp_path, monkeypatch):
    pd.DataFrame({"y": [0, 1]}).to_parquet(tmp_path / "t.parquet")
    write_arrays(tmp_path, x=np.zeros((ROWS, 8, 8)), y=np.arange(ROWS) % 2)
    module, arguments = MISSING[extra]
    monkeypatch.setitem(sys.modules, module, None)
    outcome = command(*arguments)
    assert outcome.status == 1
    assert f'pip install "lightning-losses[{extra}]"' in outcome.err
