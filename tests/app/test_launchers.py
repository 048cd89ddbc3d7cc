"""Jobs of a sweep in other processes."""

import pytest
from joblib.externals.loky import get_reusable_executor

QUICK = ("model=linear", "trainer.accelerator=cpu", "trainer.max_epochs=1", "callbacks=none", "logger=none")
SWEEP = (
    "--multirun",
    "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
    "hydra.sweep.dir=sweep",
    "compare.references=[]",
)


@pytest.fixture(autouse=True)
def workers_end():
    yield
    get_reusable_executor().shutdown()


def test_joblib_runs_jobs_side_by_side(command, tmp_path):
    assert command(*SWEEP, *QUICK, "data=digits", "loss=ce,focal").status == 0
    assert all((tmp_path / "sweep" / name).is_file() for name in ("0/result.json", "1/result.json", "report.html"))
