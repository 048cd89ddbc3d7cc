"""A table to train on and the command, run in this process."""

import sys
from typing import NamedTuple

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from lightning_losses.app import cli


class Outcome(NamedTuple):
    """What the command printed, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run `lightning-losses` with arguments, in a folder of its own."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["lightning-losses", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setenv("COLUMNS", "100")
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as exit_:
            status = exit_.code
            if isinstance(status, str):  # as the interpreter does with sys.exit("text")
                sys.stderr.write(f"{status}\n")
                status = 1
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def write_table(tmp_path):
    """Write columns to a CSV file and return its path."""

    def write(name="table.csv", **columns):
        path = tmp_path / name
        pd.DataFrame(columns).to_csv(path, index=False)
        return str(path)

    return write


@pytest.fixture(scope="session")
def breast_cancer(tmp_path_factory):
    """Breast cancer (569 x 30, scikit-learn) as a CSV file with text labels."""
    frame = load_breast_cancer(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "malignant", 1: "benign"})
    path = tmp_path_factory.mktemp("data") / "breast_cancer.csv"
    frame.to_csv(path, index=False)
    return str(path)
