"""Every notebook runs with short settings; committed ones ran in order, without an error or a path of a machine."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w/.:$])(/(home|root|tmp|usr|var|opt|Users|work|mnt)/|[A-Z]:\\)")

execute = runpy.run_path(str(FOLDER / "build.py"))["execute"]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """All that a cell's outputs say, pictures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield from (str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def errors_and_warnings(notebook):
    return [
        output
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_short_settings(path, tmp_path, monkeypatch):
    monkeypatch.setenv("LL_NOTEBOOK_FAST", "1")
    notebook = execute(path, tmp_path)
    assert errors_and_warnings(notebook) == []
    assert all(cell.execution_count for cell in code_cells(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    assert errors_and_warnings(notebook) == []
    assert [text for cell in cells for text in texts(cell) if ABSOLUTE_PATH.search(text)] == []
    assert notebook.metadata.kernelspec.name == "python3"
