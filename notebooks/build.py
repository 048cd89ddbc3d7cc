"""Runs the notebooks and keeps their outputs in them: `python notebooks/build.py [NOTEBOOK ...]`."""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def execute(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with fresh outputs; a cell that fails raises.

    Args:
        path: The notebook.
        folder: Where it runs and leaves its files.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, record_timing=False)
    executed: NotebookNode = client.execute()
    return executed


def main() -> None:
    """Run the notebooks that are named, or all."""
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(Path(__file__).parent.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(path, Path(folder)), path)


if __name__ == "__main__":
    main()
