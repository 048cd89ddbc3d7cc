"""What ends a sweep: the report, whose path is the last line. Nothing slow is imported before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lightning_losses.app.errors import one_line


class Report(Callback):
    """Reports a sweep of trainings when it has ended."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """End at once, with exit status 1, where the report could not be made as the block `compare` wants it."""
        from lightning_losses._mapping import plain
        from lightning_losses.app.compare.references import REFERENCES
        from lightning_losses.app.compare.settings import check_settings

        if config.mode != "train":
            return
        (Path(config.hydra.sweep.dir) / REFERENCES).unlink(missing_ok=True)  # that of an earlier sweep
        try:
            check_settings(plain(config.compare))
        except Exception as error:  # Hydra would make a warning of it
            sys.exit(f"lightning-losses: {one_line(error)}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report; exit status 1 if a job or a reference model has failed, or there is nothing to report.

        Ctrl-C leaves the reference models out.
        """
        if config.mode != "train":
            return
        folder = Path(config.hydra.sweep.dir)
        try:
            failed = report_sweep(folder, config, fit=True)
        except KeyboardInterrupt:
            report_sweep(folder, config, fit=False)
            raise
        except Exception as error:  # Hydra would make a warning of it
            sys.exit(f"lightning-losses: {one_line(error)}")
        if failed:
            sys.exit(1)


def report_sweep(folder: Path, cfg: DictConfig, *, fit: bool) -> int:
    """Report what the jobs of a sweep have left, and print where.

    Args:
        folder: Of the sweep.
        cfg: The config, of which `compare` and `metrics` count.
        fit: Fit the reference models first.

    Returns:
        How many jobs and reference models have failed.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is nothing to report, or a name is unknown.
        OSError: The folder cannot be written to.
    """
    from lightning_losses.app.compare.references import fit_references, read_references
    from lightning_losses.app.compare.report import write_report
    from lightning_losses.app.compare.sweep import FAILED, FINISHED, NOT_STARTED, left_out, read_sweep
    from lightning_losses.app.tables import say

    jobs = read_sweep(folder)
    unfitted = ""
    if fit:
        try:
            fit_references(folder, jobs, cfg)
        except Exception as error:  # the page of what was trained is worth more
            unfitted = one_line(error)
    page = write_report(folder, cfg.compare)
    for job in jobs:
        if job.status not in (FINISHED, NOT_STARTED):
            say(f"job {job.name} {job.status}{': ' * bool(job.error)}{job.error}")
    if not_started := sum(job.status == NOT_STARTED for job in jobs):
        say(f"{not_started} of {len(jobs)} jobs were not started")
    if others := left_out(folder, jobs):
        say(f"left out, of an earlier sweep in this folder: {', '.join(others)}")
    failed = [record for record in read_references(folder) if record["status"] == FAILED]
    for record in failed:
        say(f"reference model {record['name']} failed: {record['error']}")
    if unfitted:
        say(f"reference models failed: {unfitted}")
    if jobs[0].is_alone:
        say("path is the folder of a single run: there is nothing to compare it to")
    say("report in")
    say(str(page))
    return sum(job.status == FAILED for job in jobs) + len(failed) + bool(unfitted)
