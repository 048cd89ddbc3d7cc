"""The command `lightning-losses`: from a config to a trained model, its history, its plots and its numbers.

It needs the extra `app` (`pip install "lightning-losses[app]"`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lightning_losses.app.training import Run


def run(cfg: DictConfig, folder: str | Path | None = None) -> Run:
    """Train what a config describes: what the command does, for notebooks.

    Args:
        cfg: The config, from `ll.compose(...)`.
        folder: Where the run leaves its files; None takes `outputs/` and the time.

    Returns:
        The trained module, the history as a table with one row an epoch, the content of `result.json` and the folder.

    Raises:
        ValueError: The config or the data are refused; the message names the argument.

    Example:
        >>> import lightning_losses as ll
        >>> trained = run(ll.compose("experiment=rings_focal"))  # doctest: +SKIP
        >>> trained.history[["epoch", "loss", "val_auroc"]]  # doctest: +SKIP
    """
    # lightning and scikit-learn take seconds to import; `--help` needs neither
    from lightning_losses.app.training import train

    return train(cfg, folder)
