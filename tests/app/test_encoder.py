"""An encoder fitted to one table encodes another one alike, and survives a checkpoint."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lightning_losses.app.data.encoder import NO_TEXT, Encoder

ROWS = 200


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    cities = np.repeat(["Aachen", "Bern", "Cork", "Delft", "Evora", "Faro"], [60, 50, 40, 30, 15, 5])
    frame = pd.DataFrame(
        {
            "dose": generator.normal(50, 10, ROWS),
            "city": generator.permutation(cities),
            "age": generator.integers(0, 99, ROWS).astype(float),
            "constant": 3.0,
            "empty": np.nan,
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "city"] = np.nan
    return frame


def encode_with_scikit_learn(train, other, max_categories):
    """The same by its transformers."""
    numbers, text = ["dose", "age", "constant", "empty"], ["city"]
    transformer = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
                ),
                numbers,
            ),
            ("text", OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=max_categories), text),
        ],
        sparse_threshold=0.0,
    )
    clean = [part.assign(city=part["city"].fillna(NO_TEXT)) for part in (train, other)]
    return transformer.fit(clean[0]).transform(clean[1])


@pytest.mark.parametrize("max_categories", [None, 6, 4, 1])
def test_features_are_those_of_scikit_learn(table, max_categories):
    train, other = table[:150], table[150:].assign(city=["Gent", *table["city"][151:]])
    encoder = Encoder.fit(train, max_categories)
    expected = encode_with_scikit_learn(train, other, max_categories)
    assert len(encoder.features) == expected.shape[1]
    np.testing.assert_allclose(encoder.encode(other), expected, atol=1e-12)


def test_a_checkpoint_keeps_it(table, tmp_path):
    encoder = Encoder.fit(table, 4)
    torch.save(encoder.state(), tmp_path / "state.pt")
    again = Encoder.from_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again == encoder
    np.testing.assert_array_equal(again.encode(table), encoder.encode(table))


def test_the_order_of_columns_does_not_matter(table):
    encoder = Encoder.fit(table)
    np.testing.assert_array_equal(encoder.encode(table[table.columns[::-1]]), encoder.encode(table))


# changes to the table that was fitted -> what is said
BORNE = {
    "nothing": ({}, []),
    "a new column": ({"y": 1}, ["columns that the model does not know, left out: y"]),
    "an unknown category": (
        {"city": ["Gent", "Gent", *["Bern"] * (ROWS - 2)]},
        ["column 'city': 2 rows with unknown categories, 'Gent': no category is set"],
    ),
    "a hole": ({"dose": [None, *[1.0] * (ROWS - 1)]}, ["holes filled with the training part's median: dose (1)"]),
}


@pytest.mark.parametrize("name", BORNE)
def test_a_difference_that_is_borne_is_said(name, table):
    changes, notes = BORNE[name]
    fitted = table.drop(columns=["empty", "age"])
    assert Encoder.fit(fitted).check(fitted.assign(**changes), "new.csv") == notes


def test_a_rare_category_takes_the_unknown_ones(table):
    (note,) = Encoder.fit(table[["city"]], 4).check(pd.DataFrame({"city": ["Gent", "Faro"]}), "new.csv")
    assert note == "column 'city': 1 rows with unknown categories, 'Gent': taken as rare ones"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dosis": "dose"},
            r"new\.csv lacks the column .*: 'dose', did you mean 'dosis'\? \(columns: dosis, city, age",
        ),
        ({"a": "dose", "b": "age"}, r"new\.csv lacks 2 columns that the model was trained on: 'dose', 'age'"),
    ],
)
def test_missing_columns_are_refused(table, changes, message):
    renamed = table.rename(columns={old: new for new, old in changes.items()})
    with pytest.raises(ValueError, match=message):
        Encoder.fit(table).check(renamed, "new.csv")


def test_text_in_place_of_numbers_is_refused(table):
    with pytest.raises(ValueError, match=r"column 'dose' held numbers in training, here it holds 'high'"):
        Encoder.fit(table).check(table.assign(dose="high"), "new.csv")
