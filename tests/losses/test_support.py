"""The table of options agrees with what construction does, and properties with the definitions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_losses as ll
from lightning_losses.functional._options import TASKS
from lightning_losses.losses.support import OPTIONS, support_table
from tests.cases import CLASSIFICATION, batch, function_of, needed

PROBES: dict[str, dict[str, Any]] = {
    "multiclass": {"task": "multiclass"},
    "binary": {"task": "binary"},
    "multilabel": {"task": "multilabel"},
    "weight": {"weight": [0.5, 2.0]},
    "pos_weight": {"task": "binary", "pos_weight": 2.0},
    "normalizer": {"normalizer": "samples"},
    "label_smoothing": {"label_smoothing": 0.1},
    "ignore_index": {"ignore_index": -1},
    "from_logits": {"from_logits": False},
    "z_loss": {"task": "multiclass", "z_loss": 0.1},
    "reduction": {"reduction": "sum"},
    "sample_weight": {},
}


def test_table_is_complete() -> None:
    assert list(ll.SUPPORT) == ll.list_losses()
    assert all(tuple(row) == OPTIONS for row in ll.SUPPORT.values())
    assert set(PROBES) == set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ll.list_losses())
def test_no_is_refused_with_its_reason_and_yes_is_taken(name: str, option: str) -> None:
    probe, row = dict(PROBES[option]), ll.SUPPORT[name]
    if option not in TASKS and "task" in probe and row[probe["task"]] is not True:
        del probe["task"]  # or that would be what is refused
    arguments = {**needed(name, probe.get("task", "multiclass"), classes=2), **probe}
    if row[option] is True:
        ll.get_loss(name, **arguments)
    else:
        with pytest.raises((ValueError, TypeError), match=re.escape(row[option])):
            ll.get_loss(name, **arguments)
        if name in dict(CLASSIFICATION):
            loss = ll.get_loss(name, **needed(name, classes=2))
            with pytest.raises(ValueError, match=re.escape(f"the loss does not take {option}: {row[option]}")):
                function_of(loss)(*batch(loss.task), **arguments)


def test_page_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "loss_support.md").read_text(encoding="utf-8")
    assert support_table() in page


# --- properties -------------------------------------------------------------------------------------------------------

# proper, bounded, symmetric, convex: as the papers say of them
PROPERTIES: dict[str, tuple[dict[str, Any], tuple[bool, bool, bool, bool]]] = {
    "ce": ({}, (True, False, False, True)),
    "focal": ({}, (True, False, False, False)),
    "sce": ({}, (True, False, False, False)),
    "rce": ({}, (False, True, True, False)),
    "gce": ({}, (True, True, False, False)),
    "gce, q=0.99995": ({"q": 0.99995}, (True, True, False, False)),
    "gce, q=1": ({"q": 1.0}, (False, True, True, False)),
    "prob_mae": ({}, (False, True, True, False)),
    "poly1": ({}, (True, False, False, True)),
    "poly1, epsilon=2": ({"epsilon": 2.0}, (True, False, False, False)),
    "taylor_ce": ({}, (False, True, False, False)),
    "focal, gamma=0": ({"gamma": 0.0}, (True, False, False, True)),
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name: str) -> None:
    arguments, expected = PROPERTIES[name]
    assert tuple(ll.properties(ll.get_loss(name.split(",", maxsplit=1)[0], **arguments))) == expected


@pytest.mark.parametrize("name", PROPERTIES)
def test_convexity_is_that_of_the_loss_in_the_logits(name: str) -> None:
    arguments, (_, _, _, convex) = PROPERTIES[name]
    loss = ll.get_loss(name.split(",", maxsplit=1)[0], reduction="none", **arguments)
    generator = torch.Generator().manual_seed(0)
    first, second = 4 * torch.randn(2, 20000, 3, generator=generator, dtype=torch.float64)
    second = first + second * torch.logspace(-2, 0, 20000, dtype=torch.float64)[:, None]
    target = torch.zeros(20000, dtype=torch.long)
    excess = loss((first + second) / 2, target) - (loss(first, target) + loss(second, target)) / 2
    assert bool((excess <= 1e-12).all()) is convex


@pytest.mark.parametrize("name", ["nce", "mse", "bi_tempered"])
def test_no_properties_without_phi(name: str) -> None:
    with pytest.raises(TypeError, match="log-likelihood"):
        ll.properties(name)
