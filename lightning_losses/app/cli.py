"""The command `lightning-losses`, a Hydra app. Nothing slow is imported before a run begins."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lightning_losses._validation import choice
from lightning_losses.app.errors import one_line
from lightning_losses.app.help import help_text
from lightning_losses.app.relaunch import relaunchable
from lightning_losses.config import CONFIG_MODULE, CONFIG_NAME

FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130  # what a shell reports after Ctrl-C


def main() -> None:
    """Run the command; an error is one line on stderr and exit status 1, with `HYDRA_FULL_ERROR=1` a traceback."""
    if {"--help", "-h"}.intersection(sys.argv):
        print(help_text())
    elif os.environ.get(FULL_ERROR) == "1":
        _run_hydra(_job)
    else:
        _run_with_short_errors()


def _run_with_short_errors() -> None:
    os.environ[FULL_ERROR] = "1"  # Hydra then raises its own errors instead of printing their traceback
    try:
        with _one_line_errors():
            _run_hydra(_job_with_short_errors)
    finally:
        del os.environ[FULL_ERROR]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        sys.exit(f"lightning-losses: {one_line(error)} [{FULL_ERROR}=1 shows more]")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run_hydra(job: Callable[[DictConfig], float | None]) -> None:
    hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")(job)()


def _job(cfg: DictConfig) -> float | None:
    """Do what `mode` says, in the job's own folder."""
    with relaunchable():
        return MODES[choice("mode", cfg.mode, MODES)](cfg, HydraConfig.get().runtime.output_dir)


def _job_with_short_errors(cfg: DictConfig) -> float | None:
    """Do the job; before Hydra passes an error on, it would print all overrides.

    A function of the module, since launchers send it to other processes by its name.
    """
    with _one_line_errors():
        return _job(cfg)


def _train(cfg: DictConfig, folder: str) -> float | None:
    """Train; the monitored metric is what a Hydra sweeper optimises."""
    from lightning_losses.app import run

    (Path(folder) / "result.json").unlink(missing_ok=True)  # that of an earlier run
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _train_in_sweep(cfg, Path(folder))
    trained = run(cfg, folder)
    if trained.result["status"] == "interrupted":
        sys.exit(INTERRUPTED)
    return trained.result["checkpoint"]["score"]


def _train_in_sweep(cfg: DictConfig, folder: Path) -> float | None:
    """Train; a failure is written down and the sweep goes on, after Ctrl-C what has finished is reported."""
    from lightning_losses.app import run
    from lightning_losses.app.compare.callback import report_sweep
    from lightning_losses.app.files import write_json

    try:
        trained = run(cfg, folder)
        if trained.result["status"] != "interrupted":
            return trained.result["checkpoint"]["score"]
    except Exception as error:
        line = one_line(error)
        print(f"lightning-losses: {line}", file=sys.stderr)
        write_json(folder / "result.json", {"status": "failed", "error": line})
        return math.nan
    except KeyboardInterrupt:
        pass
    with _one_line_errors():
        report_sweep(Path(HydraConfig.get().sweep.dir), cfg, fit=False)
    sys.exit(INTERRUPTED)


def _evaluate(cfg: DictConfig, folder: str) -> None:
    from lightning_losses.app.predicting import evaluate

    evaluate(cfg, folder)


def _predict(cfg: DictConfig, folder: str) -> None:
    from lightning_losses.app.predicting import predict

    predict(cfg, folder)


def _report(cfg: DictConfig, _: str) -> None:
    from lightning_losses.app.compare.callback import report_sweep

    if cfg.path is None:
        raise ValueError("path is not given: add path=FOLDER, that of a sweep")
    report_sweep(Path(str(cfg.path)), cfg, fit=False)


MODES: dict[str, Callable[[DictConfig, str], float | None]] = {
    "train": _train,
    "validate": _evaluate,
    "test": _evaluate,
    "predict": _predict,
    "report": _report,
}
