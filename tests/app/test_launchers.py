"""Jobs of a sweep in other processes."""

import pytest
from joblib.externals.loky import get_reusable_executor

QUICK = ("model=linear", "trainer.accelerator=cpu", "trainer.max_epochs=1", "callbacks=none", "logger=none")
SWEEP = ("--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep", *QUICK)


@pytest.fixture(autouse=True)
def workers_end():
    yield
    get_reusable_executor().shutdown()


def test_joblib_runs_jobs_side_by_side(command, tmp_path):
    assert command(*SWEEP, "data=digits", "loss=ce,focal").status == 0
    assert all((tmp_path / "sweep" / job / "result.json").is_file() for job in "01")
