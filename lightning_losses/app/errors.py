"""What went wrong, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import MissingMandatoryValue
from omegaconf.errors import OmegaConfBaseException

from lightning_losses._validation import nearest

# what the package and its dependencies raise for a user's mistake; anything else is shown with its type
USERS_MISTAKES = (
    FloatingPointError,
    ValueError,
    TypeError,
    LookupError,
    OSError,
    ImportError,
    HydraException,
    OmegaConfBaseException,
)


def one_line(error: BaseException) -> str:
    """Return one line that says what to change.

    Args:
        error: Any exception of a run.

    Returns:
        The message without line breaks; Hydra's own name the nearest known choice or key.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _unknown_choice(error.missing_cfg_file, error.options)
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} is not given: add {cause.full_key}=VALUE"
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.key is not None:
        return _unknown_key(cause)
    if isinstance(error, ModuleNotFoundError):
        return f'{error}: the command needs the extra app, pip install "lightning-losses[app]"'
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {'a file of the run' if error.filename is None else repr(error.filename)}"
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    return text if isinstance(error, USERS_MISTAKES) and text else f"{type(error).__name__}: {text}"


def _unknown_choice(config: str, options: Sequence[str]) -> str:
    group, _, choice = config.rpartition("/")
    return f"{group}={choice} is unknown{nearest(choice, options)} ({group}: {', '.join(options)})"


def _unknown_key(error: OmegaConfBaseException) -> str:
    text = str(error.msg or error).splitlines()[0]
    parent = error.parent_node
    if not hasattr(parent, "keys") or error.key in parent:
        return f"{error.full_key}: {text}"
    known = [str(key) for key in parent.keys()]  # noqa: SIM118  a DictConfig iterates differently when it is None
    return f"{error.full_key} is unknown{nearest(error.key, known)} (known here: {', '.join(known)})"
