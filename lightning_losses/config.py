"""The command's config, composed in a notebook or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG_MODULE = "lightning_losses.conf.app"
CONFIG_NAME = "lightning_losses"


def compose(*overrides: str) -> DictConfig:
    """Compose the config that `lightning-losses` would run with these overrides.

    Works inside a running Hydra app too, and leaves its state as it was.

    Args:
        overrides: As on the command line: `"loss=sce"`, `"loss.alpha=0.1"`, `"experiment=rings_focal"`.

    Returns:
        The config.

    Raises:
        hydra.errors.HydraException: A group, choice or key is unknown.

    Example:
        >>> import lightning_losses as ll
        >>> cfg = ll.compose("loss=focal", "loss.gamma=3")
        >>> cfg.loss.gamma
        3
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            return hydra.compose(CONFIG_NAME, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = running
