"""What a user gets: a wheel built through an sdist, in an environment of its own, used by a Hydra app elsewhere."""

import json
import math
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]

APP = """
import json

import hydra
import lightning_losses as ll
import torch


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    loss = ll.get_loss(cfg.loss)(torch.zeros(1, 2), torch.tensor([0]))
    print(json.dumps({"package": ll.__file__, "loss": loss.item()}))


main()
"""

CONFIG = """
defaults: [{loss: mine}, _self_]
hydra: {searchpath: [pkg://lightning_losses.conf], output_subdir: null, run: {dir: .}}
"""


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the sdist of a copy: an earlier build's list of files must not help."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("conf", "lightning_losses"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, cwd=source)
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of the commands of an environment that holds the wheel and reads this one's other packages."""
    home = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder()
    builder.create(home)
    context = builder.ensure_directories(home)
    run(sys.executable, "-m", "pip", "--python", context.env_exe, "install", "--no-deps", "--no-index", wheel, cwd=home)
    # A folder that stands in a .pth file does not have its own .pth files read: an editable install stays out.
    (installed,) = home.rglob("lightning_losses-*.dist-info")
    (installed.parent / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return Path(context.bin_path)


@pytest.fixture
def foreign_app(tmp_path):
    conf = tmp_path / "conf"
    (conf / "loss").mkdir(parents=True)
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (conf / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (conf / "loss" / "mine.yaml").write_text("{name: focal, gamma: 5.0}", encoding="utf-8")
    return tmp_path / "app.py"


def test_wheel_holds_the_package_and_every_yaml(wheel):
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lightning_losses").rglob("*.py")}
    conf = [path for pattern in ("*.py", "*.yaml") for path in (ROOT / "conf").rglob(pattern)]
    expected |= {f"lightning_losses/{path.relative_to(ROOT).as_posix()}" for path in conf}
    page = (ROOT / "lightning_losses" / "app" / "compare" / "page").iterdir()
    expected |= {"lightning_losses/py.typed", *(path.relative_to(ROOT).as_posix() for path in page)}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.parametrize(
    ("overrides", "gamma"),
    [
        pytest.param([], 5, id="its own choice"),
        pytest.param(["loss=focal"], 2, id="ours"),
        pytest.param(["loss=focal", "loss.gamma=3"], 3, id="ours, changed"),
    ],
)
def test_another_hydra_app_gets_the_groups(environment, foreign_app, overrides, gamma):
    printed = json.loads(run(environment / "python", foreign_app, *overrides, cwd=foreign_app.parent))
    assert printed["loss"] == pytest.approx(0.5**gamma * math.log(2), rel=1e-6)  # (1 - p)^gamma * -log p at p = 1/2
    assert Path(printed["package"]).is_relative_to(environment.parent)


def test_command_runs_from_the_wheel(environment, tmp_path):
    assert "rings_focal" in run(environment / "lightning-losses", "--help", cwd=tmp_path)


def test_lowest_constraints_are_the_declared_floors():
    declared = [Requirement(line) for line in requires("lightning-losses")]
    floors = {
        requirement.name: next(Version(bound.version) for bound in requirement.specifier if bound.operator == ">=")
        for requirement in declared
        if requirement.name not in {"lightning-losses", "triton"}  # torch brings the triton that it was built with
    }
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.partition(" ")[0].split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(pins[name]) for name in floors} == floors


def test_what_ci_asks_of_a_mirror_has_a_time_limit():
    calls = re.findall(r"^.*apt-get (?:update|install).*$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert len(calls) == 2
    assert all(re.search(r"timeout .* \d+ apt-get", call) for call in calls)
