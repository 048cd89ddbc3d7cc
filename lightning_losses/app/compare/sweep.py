"""What the jobs of a sweep have left in their folders: plain data, of which nothing is executed or resolved."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from lightning_losses.app.outputs import OUTPUTS, Outputs, read_outputs
from lightning_losses.app.relaunch import OF_ALL_JOBS

RESULT = "result.json"
TRIALS = "trials"
OVERRIDES = Path(".hydra") / "overrides.yaml"
HYDRA = Path(".hydra") / "hydra.yaml"
PLAN = "multirun.yaml"  # what Hydra writes before the first job starts
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # of all combinations
REPEATS = ("seed", "data.seed", "data.fold")
DIVIDING = ("seed", "fold")  # of the block `data`: the same rows, divided or drawn anew
LEARNING = ("batch_size", "eval_batch_size", "sampler")  # of the block `data`, but no other rows
NEEDED = {"config", "metrics", "peak_memory_mb", "rows", "seconds", "seed", "targets", "task"}  # of a finished job
FINISHED, INTERRUPTED, FAILED, UNFINISHED = "finished", "interrupted", "failed", "unfinished"
NOT_STARTED = "not started"


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        name: Its folder below that of the sweep: Hydra numbers the jobs.
        folder: Its own.
        overrides: What it was started with, key by key.
        result: The content of its `result.json`; empty if there is none.
    """

    name: str
    folder: Path
    overrides: Mapping[str, str]
    result: Mapping[str, Any]

    @property
    def is_alone(self) -> bool:
        """Whether the folder that was read is its own, and no sweep's."""
        return self.name == "."

    @property
    def status(self) -> str:
        """`finished`, `interrupted`, `failed`, `not started`, or `unfinished` where there is no result."""
        return str(self.result.get("status", UNFINISHED))

    @property
    def error(self) -> str:
        """Why it failed, in a line."""
        return str(self.result.get("error") or "")

    @property
    def repeat(self) -> str:
        """Its seeds and the rows that they choose: jobs that share it differ in how they learn alone."""
        return json.dumps([self.result["seed"], self.division], sort_keys=True)

    @property
    def division(self) -> str:
        """Its task and data, and how they are divided: jobs that share it learn from the same rows."""
        return self._data_without(LEARNING)

    @property
    def source(self) -> str:
        """Its task and data, however they are divided: jobs that share it belong into one table."""
        return self._data_without((*LEARNING, *DIVIDING))

    def _data_without(self, keys: Collection[str]) -> str:
        data = {key: value for key, value in self.result["config"]["data"].items() if key not in keys}
        return json.dumps([self.result["task"], data], sort_keys=True)

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that have a value."""
        metrics = self.result.get("metrics", {})
        return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}

    @property
    def kept_folder(self) -> Path:
        """Where its files lie: its own folder, or that of the chosen trial."""
        chosen = self.result.get("chosen_trial")
        return self.folder if chosen is None else self.folder / TRIALS / str(int(chosen))

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch; empty if the file is missing or damaged."""
        try:
            return pd.read_csv(self.kept_folder / "history.csv")
        except (OSError, ValueError):
            return pd.DataFrame()

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """What its model says about the rows of each part; empty if the file is missing or damaged."""
        try:
            return read_outputs(self.kept_folder / OUTPUTS)
        except (OSError, ValueError, TypeError, BadZipFile):
            return {}

    @cached_property
    def flags(self) -> list[str]:
        """What the command had before the overrides of jobs: where its configs lay, besides the package's own."""
        of_job = self.folder / HYDRA  # one that has not started is like the whole sweep
        return _read_flags(of_job if of_job.is_file() else self.folder.parent / PLAN)

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return command(self.flags, self.overrides)


def read_sweep(folder: Path) -> list[Job]:
    """Read the jobs below a folder in the order in which they were started.

    Args:
        folder: Of a sweep, or of a run.

    Returns:
        The jobs, also those that have not finished; then those that the sweep was to have and that have not started.
        What an earlier sweep has left in the same folder is left out, see `left_out`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no job of this command.
    """
    if not folder.is_dir():
        is_file = ", it is a file: give the folder of a sweep" if folder.exists() else ""
        raise FileNotFoundError(f"path: there is no folder {str(folder)!r}{is_file}")
    jobs = [_read_job(name, of_job) for name, of_job in _job_folders(folder).items()]
    if not jobs:
        raise ValueError(f"path: {str(folder)!r} holds no job of a sweep, which would have a file {OVERRIDES}")
    if not any(job.result for job in jobs):
        raise ValueError(f"path: {str(folder)!r} holds {len(jobs)} jobs, but no {RESULT} of this command")
    planned = _read_plan(folder / PLAN)
    own = [job for job in jobs if job.overrides in planned]
    return [*own, *_not_started(folder, planned, own)] if own else jobs  # the plan is unknown, or not of these jobs


def left_out(folder: Path, jobs: Sequence[Job]) -> list[str]:
    """Return the names of the jobs that an earlier sweep has left in a folder, of which these are the jobs."""
    own = {job.name for job in jobs if job.status != NOT_STARTED}
    return [name for name in _job_folders(folder) if name not in own]


def _job_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of jobs by name, in the order in which they were started."""
    folders = [path.parents[1] for path in sorted(folder.rglob(str(OVERRIDES)), key=_in_order)]
    return {of_job.relative_to(folder).as_posix(): of_job for of_job in folders}


def _not_started(folder: Path, planned: Sequence[Mapping[str, str]], jobs: Sequence[Job]) -> list[Job]:
    started = [job.overrides for job in jobs]
    missing = ((str(i), overrides) for i, overrides in enumerate(planned) if overrides not in started)
    return [Job(name, folder / name, overrides, {"status": NOT_STARTED}) for name, overrides in missing]


def _read_plan(path: Path) -> list[dict[str, str]]:
    """Return the overrides of each job, all combinations of what was swept.

    Empty if the file is missing or damaged, or if the sweeper chooses among the combinations.
    """
    try:
        plan: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        sweeper, task = plan["hydra"]["sweeper"], plan["hydra"]["overrides"]["task"]
        if sweeper["_target_"] != BASIC_SWEEPER:
            return []
        swept = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
        given = OverridesParser.create().parse_overrides([*swept, *task])
        values = {override.get_key_element(): _values(override) for override in given}
    except Exception:  # YAML, Hydra's grammar and what is no mapping each have errors of their own
        return []
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def command(flags: Sequence[str], overrides: Mapping[str, str], *, sweep: bool = False) -> str:
    """Return the command line that has these overrides."""
    words = ["lightning-losses", *(["--multirun"] if sweep else []), *flags]
    return shlex.join([*words, *(f"{key}={value}" for key, value in overrides.items())])


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in a path as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _read_job(name: str, folder: Path) -> Job:
    return Job(name, folder, dict(_read_overrides(folder / OVERRIDES)), _read_result(folder / RESULT))


def _read_overrides(path: Path) -> Iterator[tuple[str, str]]:
    given: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    for override in given:
        key, _, value = str(override).partition("=")
        yield key, value


def _read_flags(path: Path) -> list[str]:
    """Return them from Hydra's own config; none if the file is missing or damaged."""
    try:
        given: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        sources, overrides = given["hydra"]["runtime"]["config_sources"], given["hydra"]["overrides"]["hydra"]
        folders = [str(source["path"]) for source in sources if source["provider"] == "command-line"]
        of_all_jobs = [str(override) for override in overrides if str(override).startswith(OF_ALL_JOBS)]
        return [*(word for folder in folders for word in ("--config-dir", folder)), *of_all_jobs]
    except Exception:  # YAML and what is no mapping each have errors of their own
        return []


def _read_result(path: Path) -> dict[str, Any]:
    """Return the result; empty if it is missing, damaged, or of something else."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        known = result["status"] in (INTERRUPTED, FAILED) or (result["status"] == FINISHED and result.keys() >= NEEDED)
        return dict(result) if known else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
