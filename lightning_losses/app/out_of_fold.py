"""Out-of-fold predictions: what each fold's model says about the rows that it has not seen, and all folds together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import pandas as pd

    from lightning_losses.app.data import Dataset
    from lightning_losses.app.outputs import Outputs

FOLD = "fold.csv"
ALL_FOLDS = "oof.csv"


def fold_table(outputs: Outputs, dataset: Dataset, fold: int) -> pd.DataFrame:
    """Return what a model says about the validation part, in the words and units of the data.

    Args:
        outputs: Of a model that was trained on the other folds, about the fold.
        dataset: The data.
        fold: Its number.

    Returns:
        A row each, with the columns `row` (1 is the first of the data), `fold`, `target`, `decision` and
        `probability_<class>`; with several labels or numbers to predict a column for each.
    """
    import pandas as pd

    from lightning_losses.app.words import decision_columns, probability_columns

    columns: dict[str, Any] = {"row": (outputs.rows + 1).tolist(), "fold": fold}
    for name, values in (("target", outputs.target), ("decision", outputs.decision)):
        columns |= decision_columns(name, values, dataset.task, dataset.targets, dataset.target_scale)
    if outputs.probabilities is not None:
        columns |= probability_columns(outputs.probabilities, dataset.task, dataset.targets)
    return pd.DataFrame(columns)


class OutOfFold(Callback):
    """Joins the predictions of all folds when a sweep over `data.fold` has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write them, if there were folds."""
        folder = Path(config.hydra.sweep.dir)
        if any(folder.rglob(FOLD)):
            print(join_folds(folder))


def join_folds(folder: Path) -> str:
    """Write the predictions of all folds below a folder as one table, sorted by row.

    Args:
        folder: Of a sweep; runs that differ in more than their fold are told apart by the column `overrides`.

    Returns:
        What was written, and which folds are missing.
    """
    import pandas as pd

    from lightning_losses.app.files import write_csv

    runs: dict[str, dict[int, pd.DataFrame]] = {}
    counts = set()
    for path in sorted(folder.rglob(FOLD), key=lambda path: path.stat().st_mtime):  # a repeated fold: the last one
        table = pd.read_csv(path)
        given = [str(override) for override in OmegaConf.load(path.parent / ".hydra" / "overrides.yaml")]
        overrides = " ".join(override for override in given if not override.startswith("data.fold="))
        runs.setdefault(overrides, {})[int(table["fold"].iloc[0])] = table
        counts.add(int(OmegaConf.load(path.parent / ".hydra" / "config.yaml").data.folds))
    tables = [
        pd.concat(folds.values()).sort_values("row").assign(overrides=overrides) for overrides, folds in runs.items()
    ]
    joined = pd.concat(tables, ignore_index=True)
    write_csv(folder / ALL_FOLDS, joined)
    lines = [
        f"{overrides}: fold {', '.join(map(str, missing))} is missing"
        for overrides, folds in runs.items()
        if (missing := sorted(set(range(max(counts))) - folds.keys()))
    ]
    return "\n".join([*lines, f"{len(joined):,} out-of-fold predictions: {(folder / ALL_FOLDS).absolute()}"])
