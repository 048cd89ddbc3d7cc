"""So many trials of settings for each job, chosen on the validation part: every loss gets the same chance."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import exp, inf, isfinite, log
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lightning_losses.app.compare.comparison import FIRST_METRIC
from lightning_losses.app.compare.sweep import INTERRUPTED, RESULT, TRIALS
from lightning_losses.app.errors import one_line
from lightning_losses.app.files import write_json
from lightning_losses.app.tables import say
from lightning_losses.app.training import Run, train

Values = dict[str, Any]


def search(cfg: DictConfig, folder: Path) -> Run:
    """Train with the values as given and with random ones, and keep the run that is best on the validation part.

    Args:
        cfg: The config. `compare.trials` is how often to train, `compare.space` between what values are drawn, of its
            part `loss` for the loss at hand alone. All losses draw the same values for what they share.
        folder: Where `result.json` is left, that of the chosen trial with the list of all; each has a folder of its own
            below, and only the chosen one keeps its checkpoints.

    Returns:
        The chosen run.

    Raises:
        ValueError: `compare.trials` is no whole number of at least 1, `ckpt_path` is given, or a range in
            `compare.space` is none.
        FloatingPointError: Every trial has diverged.
    """
    count = cfg.compare.trials
    if type(count) is not int or count < 1:
        raise ValueError(f"compare.trials must be a whole number of at least 1, or null, got {count!r}")
    if cfg.ckpt_path is not None:
        raise ValueError(f"compare.trials={count} starts anew: leave ckpt_path out")
    best: Run | None = None
    chosen = 0
    trials: list[dict[str, Any]] = []
    for number in range(count):
        values = _draw(cfg, number)
        say(f"trial {number + 1} of {count}: {shown(values)}")
        try:
            run = train(_with(cfg, values), folder / TRIALS / str(number))
        except FloatingPointError as error:  # too high a rate is a bad value, not the end
            say(one_line(error))
            trials.append({"values": values, "score": None, "error": one_line(error)})
            continue
        if run.module.trainer.world_size > 1:
            raise ValueError(f"compare.trials={count}: one process tries, choose trainer.devices=1")
        trials.append({"values": values, "score": _score(run, cfg.compare.metric), "error": None})
        interrupted = run.result["status"] == INTERRUPTED
        if best is None or interrupted or _rank(trials[number]) > _rank(trials[chosen]):
            best, chosen = run, number
        del run  # the best one alone stays in memory
        if interrupted:
            break
    if best is None:
        raise FloatingPointError(f"every trial has diverged, the first with: {trials[0]['error']}")
    say(f"chosen: trial {chosen + 1}, {shown(trials[chosen]['values'])}")
    result = {**best.result, "trials": trials, "chosen_trial": chosen}
    write_json(folder / RESULT, result)
    for number in set(range(len(trials))) - {chosen}:
        shutil.rmtree(folder / TRIALS / str(number) / "checkpoints", ignore_errors=True)
    return replace(best, result=result, folder=folder)


def shown(values: Values) -> str:
    """Return drawn values in a line."""
    numbers = (f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
    return " ".join(numbers) or "the values as given"


def _draw(cfg: DictConfig, number: int) -> Values:
    """Return the values of a trial; the first one is the config as it is."""
    space = cast("Values", OmegaConf.to_container(cfg.compare.space, resolve=True))
    space["loss"] = space["loss"].get(cfg.loss.get("name"), {})
    return {key: _value(key, given, [cfg.seed, number]) for key, given in _ranges(space)} if number else {}


def _ranges(space: Values, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield the key of each value that is drawn, and between what."""
    for key, value in space.items():
        if isinstance(value, Mapping) and "low" not in value:
            yield from _ranges(dict(value), *path, key)
        else:
            yield ".".join([*path, key]), value


def _value(key: str, given: Any, seed: list[int]) -> Any:
    """Draw a value: one of a list, or a number between `low` and `high`, of which `log: true` draws the logarithm."""
    generator = np.random.default_rng([*seed, zlib.crc32(key.encode())])  # the same for all losses
    if isinstance(given, list):
        return given[int(generator.integers(len(given)))]
    low, high, in_log = given["low"], given["high"], given.get("log", False)
    if not low < high or (in_log and low <= 0):
        raise ValueError(f"compare.space: {key} must have low < high, and low > 0 with log, got {given}")
    if in_log:
        return exp(generator.uniform(log(low), log(high)))
    return float(generator.uniform(low, high))


def _with(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    cfg = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def _score(run: Run, metric: str | None) -> float | None:
    """Return the metric by which trials are compared, the greater the better; None if it has no value."""
    metrics = run.result["metrics"]
    names = (metric or FIRST_METRIC[run.result["task"]], "accuracy", "loss")
    name = next((name for name in names if f"val/{name}" in metrics), None)
    if name is None or not isfinite(value := metrics[f"val/{name}"]):
        return None
    return float(value if run.result["better"][name] == "max" else -value)


def _rank(trial: Mapping[str, Any]) -> float:
    """Return what trials are sorted by; a score that has no value goes last."""
    return -inf if trial["score"] is None else float(trial["score"])
