"""The losses know nothing of the options: these are applied once, around them."""

import inspect
import tokenize
from pathlib import Path

from lightning_losses.functional import classification
from lightning_losses.functional._options import Options

SOURCE = Path(inspect.getsourcefile(classification))


def test_no_core_loss_mentions_an_option() -> None:
    with SOURCE.open("rb") as file:
        names = {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}
    assert {"Focal", "log_slope"} <= names
    assert not names & {*Options.__annotations__, "sample_weight", "pos_weight", "shift"}
