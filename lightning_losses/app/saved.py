"""What a checkpoint of a run holds besides weights, and the module that is built from it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from lightning_losses._instantiate import CODE, targets
from lightning_losses._mapping import plain
from lightning_losses.app.data import Dataset, Task
from lightning_losses.app.data.encoder import Encoder
from lightning_losses.app.metrics import Metrics
from lightning_losses.app.models import build_model
from lightning_losses.checkpoints import read_checkpoint
from lightning_losses.mixins.base import STATE_KEY
from lightning_losses.module import ObjectiveModule


@dataclass(frozen=True)
class SavedRun:
    """A run as its checkpoint tells it.

    Attributes:
        checkpoint: All of it.
        config: Of the run, with everything filled in.
        task: What the target is.
        targets: The classes, the labels or the target columns.
        encoder: What turns a table into features; None where the data were no table.
        target_scale: Mean and standard deviation of a standardised regression target.
        checksums: Of the parts of the data; None in checkpoints of before they were kept.
    """

    checkpoint: Mapping[str, Any]
    config: Mapping[str, Any]
    task: Task
    targets: Sequence[str]
    encoder: Encoder | None
    target_scale: tuple[Tensor, Tensor] | None
    checksums: Mapping[str, int] | None

    @classmethod
    def read(cls, path: str | None) -> SavedRun:
        """Read a checkpoint that the command wrote.

        Args:
            path: The file.

        Returns:
            What it tells.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: There is no path, or the file holds no run of the command.
        """
        if path is None:
            raise ValueError("ckpt_path is not given: add ckpt_path=FOLDER/checkpoints/best.ckpt")
        checkpoint = read_checkpoint(str(path))
        run = checkpoint.get(STATE_KEY, {}).get("run")
        if run is None:
            raise ValueError(f"ckpt_path: {path!r} holds no run of this command: the config and the data are missing")
        encoder, scale = run["encoder"], run["target_scale"]
        return cls(
            checkpoint,
            run["config"],
            run["task"],
            run["targets"],
            None if encoder is None else Encoder.from_state(encoder),
            None if scale is None else (scale[0], scale[1]),
            run.get("checksums"),
        )

    def configure(self, cfg: DictConfig) -> dict[str, Any]:
        """Return the command's config as plain data, with what the run was trained with in place of its own.

        A class of the user's own is taken from the command alone: a checkpoint must not decide what is imported.

        Args:
            cfg: The command's.

        Returns:
            Settings for `build_module`.

        Raises:
            ValueError: The run has a class of the user's own, and the command does not name it.
        """
        cfg = cfg.copy()
        cfg.task, cfg.sizes = self.task, self.config["sizes"]
        given = {part: OmegaConf.to_container(cfg[part], resolve=True) for part in ("model", "loss", "metrics")}
        trained = {"model": self.config["model"], "loss": self.checkpoint["hyper_parameters"]["loss"]}
        parts = {part: _trusted(part, mapping, given[part]) for part, mapping in trained.items()}
        return {**self.config, **parts, "metrics": given["metrics"]}

    def build_module(self, settings: Mapping[str, Any], metrics: Metrics | None = None) -> ObjectiveModule:
        """Build the module with the run's weights, loss and way to decide."""
        net = build_model(settings["model"])
        module = ObjectiveModule(net, settings["loss"], settings["regularizer"], metrics=metrics)
        load_weights(module, self.checkpoint)
        return module


class KeepsRun(L.Callback):
    """Puts the run into its checkpoints, as plain data.

    Args:
        settings: The config, resolved.
        dataset: The data.
    """

    def __init__(self, settings: Mapping[str, Any], dataset: Dataset) -> None:
        encoder, scale = dataset.encoder, dataset.target_scale
        self.run = {
            "config": plain(settings),
            "task": dataset.task,
            "targets": list(dataset.targets),
            "encoder": None if encoder is None else encoder.state(),
            "target_scale": None if scale is None else list(scale),
            "checksums": checksums(dataset),
        }

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add it to what the module's mixin keeps."""
        checkpoint.setdefault(STATE_KEY, {})["run"] = self.run


def checksums(dataset: Dataset) -> dict[str, int]:
    """Return a number for each part by which it is known again."""
    return {name: part.checksum() for name, part in dataset.parts.items()}


def load_weights(module: ObjectiveModule, checkpoint: Mapping[str, Any]) -> None:
    """Take over a checkpoint's weights, what its loss has learned, which has its own place, and its way to decide."""
    checkpoint = dict(checkpoint)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def _trusted(part: str, trained: Any, given: Any) -> Any:
    """Return what the run was trained with, or what is given where that names a class to import."""
    names = targets(trained)
    if not names:
        return trained
    if targets(given) != names:
        shown = " ".join(f"{part}.{CODE}={name}" for name in names)
        raise ValueError(f"the run has a {part} of your own, which a checkpoint may not import: give {shown} again")
    return given
