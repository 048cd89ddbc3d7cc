"""Tables of a run are whole, however narrow the terminal is."""

import pytest
import torch

from lightning_losses.app.models import build_model
from lightning_losses.app.tables import layer_table, say


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_no_number_is_cut(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    net = build_model({"name": "mlp", "in_features": 2000, "out_features": 3, "hidden": [1000]})
    say(layer_table(net, torch.zeros(2, 2000)))
    out = capsys.readouterr().out
    # 2000 x 1000 weights and 1000 biases, 4 bytes each
    line = next(line for line in out.splitlines() if "hidden_1" in line)
    assert line.split() == ["hidden_1", "Linear", "(N,", "1000)", "2,001,000", "7.633209"]
    assert "…" not in out
