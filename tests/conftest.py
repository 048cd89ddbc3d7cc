import gc
import importlib
import os
from types import ModuleType

import hypothesis
import pytest
import torch
from torch import Tensor

# Kernels for GPUs run everywhere in Triton's interpreter; Triton reads this when it is imported.
os.environ["TRITON_INTERPRET"] = "1"

# The same examples on every run and no deadline: a test fails because of the code, not because of the machine.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")

BACKENDS = ("plain", "blocked", "cut", "wide", "by_rows", "on_cuda")


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        help="run eager losses on one version of the operations on logits, whatever fits here; cut: in tiny blocks",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--backend") == "on_cuda":
        for item in items:  # the interpreter's arithmetic outside the matrix
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))


def pytest_collection_finish():
    gc.freeze()  # each run collects garbage, and need not look for it among ten thousand tests


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out what takes a third of the time of a short run."""
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


def _round_as_gpus_do(monkeypatch):
    """Triton's interpreter cuts off the digits that bfloat16 has no room for; a GPU rounds to nearest."""
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(values, kind, wanted, rounding):
        if wanted.is_bf16():
            return torch.from_numpy(values.copy()).bfloat16().view(torch.int16).numpy()
        return convert(values, kind, wanted, rounding)

    monkeypatch.setattr(interpreter, "_convert_float", rounded)


@pytest.fixture(autouse=True)
def _backend(request, monkeypatch):
    name = request.config.getoption("--backend")
    if name is None:
        return
    from lightning_losses import kernels  # after TRITON_INTERPRET is set

    forced = importlib.import_module(f"lightning_losses.kernels.{'blocked' if name in ('cut', 'wide') else name}")
    if name == "on_cuda":
        _round_as_gpus_do(monkeypatch)
    if name == "cut":
        monkeypatch.setattr(kernels.blocked, "BLOCK", 4)
        monkeypatch.setattr(kernels.elements, "BLOCK", 4)
    if name == "wide":
        monkeypatch.setattr(kernels.blocked, "WIDE", 1)
    choose = kernels._backend

    def backend(logits: Tensor, *constants: Tensor | None) -> ModuleType:
        fitting = choose(logits, *constants)
        return forced if fitting is kernels.blocked else fitting

    monkeypatch.setattr(kernels, "_backend", backend)
