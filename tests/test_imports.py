"""An import points down or to its own level, in no circle; the lower levels load neither Lightning nor Hydra."""

import ast
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lightning_losses"

# What stands directly in the package, and its level. A new file or folder belongs in here.
LEVELS = {
    "_files": 0,
    "_instantiate": 0,
    "_mapping": 0,
    "_target_checks": 0,
    "_terms": 0,
    "_validation": 0,
    "kernels": 0,
    "functional": 1,
    "parameters": 1,
    "constraints": 2,
    "losses": 2,
    "optimizers": 2,
    "param_groups": 2,
    "regularizers": 2,
    "after_step": 3,
    "decide": 3,
    "epoch_means": 3,
    "gradient_window": 3,
    "margins": 3,
    "label_counts": 3,
    "schedules": 3,
    "non_finite": 3,
    "objective": 3,
    "random_states": 3,
    "ranks": 3,
    "_cutting": 4,
    "callbacks": 4,
    "checkpoints": 4,
    "mixins": 4,
    "module": 4,
    "plot": 4,
    "testing": 4,
    "__init__": 5,
    "config": 5,
    "__main__": 6,
    "app": 6,
}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def level(module):
    return LEVELS[module.split(".")[0]]


def as_module(dotted):
    """The module that `lightning_losses.dotted` names, as a key of MODULES; None where it names no module."""
    return next((name for name in (dotted, f"{dotted}.__init__".lstrip(".")) if name in MODULES), None)


def imported_modules(tree, module):
    """The package's own modules that `tree` imports, wherever the import stands: in functions and for types as well."""
    package = ["lightning_losses", *module.split(".")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, _, dotted = name.partition(".")
            # `from a.b import c` names the module a.b.c if there is one, and otherwise something in a.b.
            found = as_module(dotted) or as_module(dotted.rpartition(".")[0])
            if root == "lightning_losses" and found:
                yield found


def imports_of(module):
    return set(imported_modules(ast.parse(MODULES[module].read_text(encoding="utf-8")), module))


def test_every_module_has_a_level():
    assert {module.split(".")[0] for module in MODULES} <= set(LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    upward = sorted(other for other in imports_of(module) if level(other) > level(module))
    assert not upward, f"{module} (level {level(module)}) imports from above: {upward}"


def test_imports_form_no_circle():
    graphlib.TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("mixins", "import lightning_losses.kernels.plain", {"kernels.plain"}),
        ("mixins", "def f():\n    from lightning_losses.config import compose", {"config"}),
        ("mixins", "from lightning_losses import functional, FocalLoss", {"functional.__init__", "__init__"}),
        ("losses.base", "from . import registry", {"losses.registry"}),
        ("losses.base", "from ..kernels import row_expectation", {"kernels.__init__"}),
        ("losses.__init__", "from .base import Loss", {"losses.base"}),
        ("mixins", "import lightning, torch.nn", set()),
    ],
)
def test_imports_are_read(module, source, expected):
    assert set(imported_modules(ast.parse(source), module)) == expected


def test_lower_levels_load_neither_lightning_nor_hydra():
    low = [f"lightning_losses.{name}".removesuffix(".__init__") for name in MODULES if level(name) <= 3]
    if importlib.util.find_spec("triton") is None:
        low = [name for name in low if "on_cuda" not in name]
    code = f"import sys, {', '.join(['lightning_losses', *low])}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "lightning_losses.functional" in loaded
    assert not {"lightning", "pytorch_lightning", "hydra", "omegaconf"}.intersection(loaded)


UNTOUCHED = """
import importlib, os, pkgutil, random, sys, warnings
import torch
import lightning_losses

def modules():
    names = [found.name for found in pkgutil.walk_packages(lightning_losses.__path__, "lightning_losses.")]
    return [name for name in names if "__main__" not in name and "on_cuda" not in name]

for name in modules():
    importlib.import_module(name)  # once, so that what others do when they are imported is done
for name in [name for name in sys.modules if name.split(".")[0] == "lightning_losses"]:
    del sys.modules[name]

class Arguments(list):
    def __getattribute__(self, name):
        raise AssertionError("the arguments of the command are read")
    __getitem__ = __iter__ = __len__ = __contains__ = lambda *_: Arguments().x

def forbidden(*_):
    raise AssertionError("the working folder is read")

def state():
    return [
        torch.get_rng_state().tolist(), random.getstate(), dict(os.environ), list(warnings.filters), list(sys.path),
        torch.get_default_dtype(), torch.get_num_threads(), os.listdir("."),
    ]

before, sys.argv, os.getcwd, os.chdir = state(), Arguments(), forbidden, forbidden
for name in modules():
    importlib.import_module(name)
assert state() == before
print(len(modules()))
"""


def test_an_import_reads_no_arguments_and_no_folder_and_leaves_everything_as_it_is(tmp_path):
    done = subprocess.run([sys.executable, "-c", UNTOUCHED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
