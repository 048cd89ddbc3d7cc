from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_losses._mapping import name_and_arguments, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (OmegaConf.create({"a": {"b": "${c}"}, "c": [1, 2]}), {"a": {"b": [1, 2]}, "c": [1, 2]}),
        ({"weight": torch.tensor([1.0, 2.0])}, {"weight": [1.0, 2.0]}),
        ((1, "text", None), [1, "text", None]),
    ],
)
def test_plain_data_have_no_foreign_types(value: Any, expected: Any) -> None:
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


def test_a_name_and_a_mapping_mean_the_same() -> None:
    assert name_and_arguments("loss", "focal") == ("focal", {})
    assert name_and_arguments("loss", {"name": "focal", "gamma": 1.0}) == ("focal", {"gamma": 1.0})


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"gamma": 1.0}, ValueError, "loss must have a name"),
        (3, TypeError, "loss must be a name or a mapping with a name, got 3"),
    ],
)
def test_anything_else_is_refused(spec: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        name_and_arguments("loss", spec)
