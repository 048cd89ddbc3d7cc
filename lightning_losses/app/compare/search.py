"""So many trials of settings for each job, chosen on the validation part: every loss gets the same chance."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from dataclasses import replace
from math import exp, inf, isfinite, log, nan
from pathlib import Path
from typing import Any, cast

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightning_losses.app.compare.comparison import FIRST_METRIC
from lightning_losses.app.compare.settings import ranges
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
            part `loss` for the loss at hand alone: by its choice in the group `loss` where the command runs, else, and
            where that has none, by its name. All losses draw the same values for what they share.
        folder: Where `result.json` is left, that of the chosen trial with the list of all; each has a folder of its own
            below, and only the chosen one keeps its checkpoints.

    Returns:
        The chosen run.

    Raises:
        ValueError: `ckpt_path` is given.
        FloatingPointError: Every trial has diverged.
    """
    count = cfg.compare.trials
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
        trials.append({"values": values, "score": _score(run.result, cfg.compare.metric), "error": None})
        interrupted = run.result["status"] == INTERRUPTED
        if best is None or interrupted or _rank(trials[number]) > _rank(trials[chosen]):
            best, chosen = run, number
        del run  # the best one alone stays in memory
        if interrupted:
            break
    if best is None:
        raise FloatingPointError(f"every trial has diverged, the first with: {trials[0]['error']}")
    by = _compared_by(best.result, cfg.compare.metric)
    say(f"chosen: trial {chosen + 1} by {by}, {shown(trials[chosen]['values'])}")
    result = {**best.result, "trials": trials, "chosen_trial": chosen, "chosen_by": by}
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
    space = cast("Values", OmegaConf.to_container(cfg.compare, resolve=True))["space"] or {}
    of_losses = space.get("loss") or {}
    space["loss"] = of_losses.get(_chosen_loss(), of_losses.get(cfg.loss.get("name")))
    return {key: _value(key, given, [cfg.seed, number]) for key, given in ranges(space)} if number else {}


def _chosen_loss() -> str | None:
    """Return which file of the group `loss` the command runs with: several may have one name."""
    return HydraConfig.get().runtime.choices.get("loss") if HydraConfig.initialized() else None


def _value(key: str, given: Any, seed: list[int]) -> Any:
    """Draw a value: one of a list, or a number between `low` and `high`, of which `log: true` draws the logarithm."""
    generator = np.random.default_rng([*seed, zlib.crc32(key.encode())])  # the same for all losses
    if isinstance(given, list):
        return given[int(generator.integers(len(given)))]
    low, high = given["low"], given["high"]
    if given.get("log"):
        return exp(generator.uniform(log(low), log(high)))
    return float(generator.uniform(low, high))


def _with(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    cfg = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def _compared_by(result: Mapping[str, Any], metric: str | None) -> str:
    """Return the metric of the validation part by which trials are compared, another where it needs probabilities."""
    names = [f"val/{name}" for name in (metric or FIRST_METRIC[result["task"]], "accuracy", "loss")]
    return next((name for name in names if name in result["metrics"]), names[0])


def _score(result: Mapping[str, Any], metric: str | None) -> float | None:
    """Return what trials are compared by, the greater the better; None if it has no value."""
    by = _compared_by(result, metric)
    value = result["metrics"].get(by, nan)
    if not isfinite(value):
        return None
    return float(value if result["better"][by.removeprefix("val/")] == "max" else -value)


def _rank(trial: Mapping[str, Any]) -> float:
    """Return what trials are sorted by; a score that has no value goes last."""
    return -inf if trial["score"] is None else float(trial["score"])
