"""Penalties from what users write: names, numbers, mappings, objects, functions; and what is refused."""

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R
from lightning_losses.regularizers import build_regularizers, list_regularizers


def cubes(weight):
    return weight.abs().pow(3).sum()


class TestBuild:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            (None, {}),
            ({}, {}),
            ("l2", {"l2": {"name": "l2", "factor": 1e-4, "where": None}}),
            ({"l2": 0.5}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            ({"l2": 1}, {"l2": {"name": "l2", "factor": 1.0, "where": None}}),
            ({"l2": {"factor": 0.5}}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            ({"mine": "l1"}, {"mine": {"name": "l1", "factor": 1e-4, "where": None}}),
            ({"l1": None, "l2": 0.5}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            (
                ["l1", R.L2(0.5)],
                {
                    "l1": {"name": "l1", "factor": 1e-4, "where": None},
                    "l2": {"name": "l2", "factor": 0.5, "where": None},
                },
            ),
            (
                {
                    "encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"},
                    "biases": {"name": "l2", "factor": 0.001, "where": ["bias"]},
                },
                {
                    "encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"},
                    "biases": {"name": "l2", "factor": 0.001, "where": ["bias"]},
                },
            ),
            (
                {"elastic_net": {"l1": 0.1}},
                {"elastic_net": {"name": "elastic_net", "l1": 0.1, "l2": 1e-4, "factor": 1.0, "where": None}},
            ),
            (
                {"mine": cubes},
                {"mine": {"name": "custom", "function": "cubes", "factor": 1.0, "where": None}},
            ),
        ],
    )
    def test_forms(self, spec, expected):
        built = build_regularizers(spec)
        assert {term: regularizer.spec for term, regularizer in built.items()} == expected
        assert list(built) == list(expected)

    @pytest.mark.parametrize("name", sorted({*list_regularizers()} - {"custom"}))
    def test_what_spec_returns_builds_the_same(self, name):
        (term,) = build_regularizers(name).values()
        (again,) = build_regularizers({"again": term.spec}).values()
        assert type(again) is type(term)
        assert again.spec == term.spec
        assert repr(again) == repr(term)

    def test_a_submodule_appears_by_its_class(self):
        assert R.L2(0.1, where=[nn.Linear(2, 3), "bias"]).spec["where"] == ["Linear", "bias"]

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            ("l3", ValueError, "regularizer must be one of .*, got 'l3', did you mean 'l"),
            ({"l3": 0.1}, ValueError, "regularizer must be one of .*, got 'l3'"),
            ({"l2": -0.1}, ValueError, "regularizer.l2: factor must be a finite number >= 0, got -0.1"),
            ({"all": {"name": "l2", "factor": -1}}, ValueError, "regularizer.all: factor must be a finite number >= 0"),
            ({"l2": {"factr": 0.1}}, TypeError, "regularizer 'l2' has no argument 'factr', did you mean 'factor'"),
            ({"elastic_net": 0.1}, TypeError, "'elastic_net' needs a mapping of its arguments, got 0.1"),
            (["l2", R.L2(0.1)], ValueError, "two regularizers of one kind need names"),
            ({"encoder": {"factor": 0.1}}, ValueError, "regularizer must be one of .*, got 'encoder'"),
            ({"custom": {"function": 3}}, TypeError, "function must be a function of one parameter, got 3"),
            ({"spectral": {"iterations": 0}}, ValueError, "iterations must be an integer >= 1, got 0"),
        ],
    )
    def test_wrong_input(self, spec, error, message):
        with pytest.raises(error, match=message):
            build_regularizers(spec)

    def test_a_penalty_of_ones_own(self):
        class Cubes(R.ParameterRegularizer):
            name = "cubes"

            def penalty(self, name, weight):
                return cubes(weight)

        (term,) = build_regularizers(Cubes(2.0)).values()
        net = nn.Linear(1, 1)
        with torch.no_grad():
            net.weight.fill_(-2.0)
        assert term.add_gradient_(net).item() == pytest.approx(16.0)
        assert net.weight.grad.item() == pytest.approx(-24.0)
