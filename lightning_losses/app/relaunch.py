"""One job of a sweep for several processes: Lightning starts the others by running the command again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import read_write

_SWEEP = ("--multirun", "-m")
OF_ALL_JOBS = ("hydra.searchpath=", "hydra.job.chdir=")  # the task's overrides do not have them
_OF_A_RANK = ("LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")


@contextmanager
def relaunchable() -> Iterator[None]:
    """Let the command, run again, do the present job in its folder, and not the sweep that the job belongs to.

    Afterwards the next job finds no ranks and no process group, and starts some of its own.
    """
    config: Any = HydraConfig.get()
    argv = sys.argv
    started_alone = "LOCAL_RANK" not in os.environ
    if config.mode == RunMode.MULTIRUN:
        sys.argv = [argv[0], *_flags(argv[1:]), *config.overrides.task, "hydra.mode=RUN"]
        with read_write(config):
            config.run.dir = config.runtime.output_dir
    try:
        yield
    finally:
        sys.argv = argv
        if started_alone and "LOCAL_RANK" in os.environ:
            _forget_ranks()


def _flags(words: Sequence[str]) -> list[str]:
    """Return what is no override of a job, such as `--config-dir FOLDER`."""
    return [word for word in words if word not in _SWEEP and (word.startswith(("-", *OF_ALL_JOBS)) or _is_value(word))]


def _is_value(word: str) -> bool:
    return "=" not in word and not word.startswith("~")


def _forget_ranks() -> None:
    import torch

    for name in _OF_A_RANK:
        os.environ.pop(name, None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
