"""What a run keeps of each row it is judged by, as its metrics and its module see it."""

import numpy as np
import pytest
import torch

import lightning_losses as ll
from lightning_losses.app import run
from lightning_losses.app.outputs import OUTPUTS, read_outputs

QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none", "logger=none"]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [(["data.positives=50", "data.negatives=90"], (42, 1)), (["data=digits", "loss=sce"], (360, 10))],
    ids=["binary", "multiclass"],
)
def test_they_are_the_rows_by_which_the_run_was_judged(arguments, shape, tmp_path):
    trained = run(ll.compose(*arguments, *QUICK), tmp_path)
    outputs = read_outputs(tmp_path / OUTPUTS)
    assert outputs.keys() == trained.result["rows"].keys() - {"train"}
    val = outputs["val"]
    assert val.output.shape == shape
    accuracy = (val.decision == val.target).float().mean()
    assert float(accuracy) == pytest.approx(trained.result["metrics"]["val/accuracy"])
    posterior = trained.module.objective.loss.posterior(val.output)
    torch.testing.assert_close(val.probabilities, posterior)
    assert len(val.rows.unique()) == len(val.rows)


def test_a_loss_without_probabilities_has_none(tmp_path):
    run(ll.compose("loss=prob_mae", *QUICK), tmp_path)
    assert read_outputs(tmp_path / OUTPUTS)["val"].probabilities is None


def test_nothing_in_the_file_is_executed(tmp_path):
    np.savez(tmp_path / OUTPUTS, val_rows=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_outputs(tmp_path / OUTPUTS)
