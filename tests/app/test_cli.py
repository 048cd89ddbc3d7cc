"""The command itself: its help page, and what it removes."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace


def test_help_lists_the_groups_with_their_choices_and_three_examples(command):
    text = command("--help").out
    groups = "callbacks constraint data experiment logger loss metrics model optimizer regularizer scheduler trainer"
    for group in groups.split():
        assert f"\n  {group} " in text
    for choice in ("focal*", "rings_focal", "keras_regularized", "csv*", "elastic_net", "adamw"):
        assert choice in text
    assert text.count("\n  lightning-losses ") == 3
    assert max(map(len, text.splitlines())) <= 100


def test_help_imports_nothing_slow():
    code = """
import sys
from lightning_losses.app.cli import main
sys.argv = ["lightning-losses", "--help"]
main()
slow = {"lightning", "torchmetrics", "sklearn", "pandas", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_that_begins_removes_the_result_of_an_earlier_one(command, tmp_path, monkeypatch):
    def train(_, folder):
        found.extend(path.name for path in Path(folder).glob("*.json"))
        return SimpleNamespace(result={"status": "finished", "checkpoint": {"score": None}})

    found = []
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "result.json").write_text("{}")
    monkeypatch.setattr("lightning_losses.app.run", train)
    assert command("hydra.run.dir=here").status == 0
    assert found == []
