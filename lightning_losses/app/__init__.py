"""The command `lightning-losses`: from a config to a trained model, its history, its plots and its numbers.

It needs the extra `app` (`pip install "lightning-losses[app]"`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
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
    from lightning_losses._mapping import plain
    from lightning_losses.app.compare.settings import check_settings
    from lightning_losses.app.training import new_folder, train

    check_settings(plain(cfg.compare))
    if cfg.compare.trials is None:
        return train(cfg, folder)
    from lightning_losses.app.compare.search import search

    return search(cfg, Path(folder or new_folder()))


def predict(cfg: DictConfig, folder: str | Path) -> pd.DataFrame:
    """Let a trained model say what it makes of each row of a table: what `mode=predict` does.

    Columns are matched by name; one that the model does not know is left out, text that the training part did not hold
    is no category, and both are said. The table needs no target.

    Args:
        cfg: The config; `ckpt_path` is a checkpoint of a run, `data` says which table and how to read it.
        folder: Where `predictions.csv` is left.

    Returns:
        A row for each row: its number (1 is the row below the header), the decision in the words of the training file,
        numbers in its units, and the probability of each class where the model has any.

    Raises:
        ValueError: A column is missing, or the checkpoint is of another kind.
        FileNotFoundError: A file is missing.

    Example:
        >>> import lightning_losses as ll
        >>> cfg = ll.compose("ckpt_path=best.ckpt", "data=csv", "data.path=new.csv")
        >>> predict(cfg, "predictions")  # doctest: +SKIP
    """
    from lightning_losses.app import predicting

    return predicting.predict(cfg, folder)


def evaluate(cfg: DictConfig, folder: str | Path) -> dict[str, float]:
    """Compute the metrics of a trained model: what `mode=test` and `mode=validate` do.

    Args:
        cfg: The config; `ckpt_path` is a checkpoint of a run. A table that `data` names is evaluated as a whole;
            without one it is the test or validation part of the run's own data.
        folder: Where `evaluation.json` is left.

    Returns:
        Each metric by its name.

    Raises:
        ValueError: There is no such part, the data have changed, or the checkpoint is of another kind.
        FileNotFoundError: A file is missing.

    Example:
        >>> import lightning_losses as ll
        >>> cfg = ll.compose("mode=test", "ckpt_path=best.ckpt")
        >>> evaluate(cfg, "test")["test/accuracy"]  # doctest: +SKIP
    """
    from lightning_losses.app import predicting

    return predicting.evaluate(cfg, folder)
