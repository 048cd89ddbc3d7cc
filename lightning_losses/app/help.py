"""What `lightning-losses --help` prints. Hydra's own page leaves out the groups of a search path in the config."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from textwrap import fill
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from lightning_losses.config import CONFIG_MODULE, CONFIG_NAME

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TEMPLATE = """\
lightning-losses trains a network with Objective = Loss + Regularization.

Groups and their choices, GROUP=CHOICE (* = default):
{groups}

Every value has a path, GROUP.KEY=VALUE; --cfg job prints them all with what they are.

Examples:
  lightning-losses experiment=rings_focal
  lightning-losses data=csv data.path=patients.csv data.target=outcome loss=focal loss.gamma=3
  lightning-losses --multirun data=digits loss=ce,focal,sce seed=0,1,2 trainer.max_epochs=10

A run leaves its files under outputs/, a sweep under multirun/, with report.html, which compares its
jobs. --hydra-help shows Hydra's flags."""


def help_text() -> str:
    """Return the page: groups with choices, and examples."""
    own, library = files(CONFIG_MODULE), files(CONFIG_MODULE.rpartition(".")[0])
    groups: dict[str, list[str]] = {}
    for group, choices in (*_groups(own), *_groups(library)):
        groups[group] = sorted(groups.get(group, []) + choices)
    default = _defaults(own / f"{CONFIG_NAME}.yaml")
    lines = [_line(group, groups[group], default.get(group)) for group in sorted(groups)]
    return TEMPLATE.format(groups="\n".join(lines))


def _groups(package: Traversable) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of a config package that hold YAML files and no further configs of the command's own."""
    for folder in package.iterdir():
        if folder.is_dir() and not (folder / f"{CONFIG_NAME}.yaml").is_file():
            names = [file.name for file in folder.iterdir()]
            if choices := [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]:
                yield folder.name, choices


def _defaults(primary: Traversable) -> dict[str, str]:
    """Return the choice that the primary config makes in each group."""
    entries = OmegaConf.create(primary.read_text()).defaults
    return {group: choice for entry in entries if entry != "_self_" for group, choice in entry.items()}


def _line(group: str, choices: list[str], default: str | None) -> str:
    marked = (f"{choice}*" if choice == default else choice for choice in choices)
    return fill(", ".join(marked), 100, initial_indent=f"  {group:<13}", subsequent_indent=" " * 15)
