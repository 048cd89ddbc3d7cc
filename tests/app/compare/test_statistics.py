"""Intervals, paired tests and Holm's correction against SciPy's own tests and numbers computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_losses.app.compare.statistics import Mean, differences, holm, paired_p

VALUES = {
    "three": [0.1, 0.4, 0.3],
    "five": [0.91, 0.88, 0.93, 0.9, 0.87],
    "the same": [0.5, 0.5, 0.5],
    "negative": [-3.0, 2.0],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_interval_is_that_of_students_t(values):
    mean = Mean.of(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), max(stats.sem(values), 1e-300))
    assert (mean.n, mean.mean) == (len(values), pytest.approx(np.mean(values)))
    assert (mean.mean - mean.half, mean.mean + mean.half) == (pytest.approx(low), pytest.approx(high))


def test_by_hand():
    # sd 1, t(0.975, 2) = 4.3027 in any table, divided by the root of 3
    assert Mean.of([1.0, 2.0, 3.0]).half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_runs_that_share_rows_by_hand():
    # sd 1; three runs with a row that judges for each two of training: variance 1/3 + 1/2 = 5/6 in place of 1/3
    assert Mean.of([1.0, 2.0, 3.0], shared=0.5).half == pytest.approx(4.3027 * math.sqrt(5 / 6), abs=1e-4)
    # t = 2 / sqrt(5/6) = 2.1909 with 2 degrees of freedom, whose p is 1 - t / sqrt(2 + t^2) in closed form
    t = 2 / math.sqrt(5 / 6)
    assert paired_p([1.0, 2.0, 3.0], shared=0.5) == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_one_value_has_no_interval_and_none_no_mean():
    assert Mean.of([0.7]).mean == 0.7
    assert math.isnan(Mean.of([0.7]).half)
    assert math.isnan(Mean.of([]).mean)


@pytest.mark.parametrize("seed", range(5))
def test_p_is_that_of_the_paired_test(seed):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(0.8, 0.1, 6), generator.normal(0.7, 0.1, 6)
    assert paired_p(list(a - b)) == pytest.approx(stats.ttest_rel(a, b).pvalue)


@pytest.mark.parametrize(
    ("values", "expected"), [([], math.nan), ([0.1], math.nan), ([0.0, 0.0], 1.0), ([0.1, 0.1], math.nan)]
)
def test_p_where_there_is_no_spread(values, expected):
    assert paired_p(values) == pytest.approx(expected, nan_ok=True)


HOLM = {
    "none": ([], []),
    "one": ([0.03], [0.03]),
    # sorted .005 x 4, .01 x 3, .03 x 2, and .04 x 1 may not be below the one before it
    "four": ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    "at most 1": ([0.6, 0.7], [1.0, 1.0]),
    "no test between them": ([0.02, math.nan, 0.03], [0.04, math.nan, 0.04]),
}


@pytest.mark.parametrize(("p", "expected"), HOLM.values(), ids=HOLM)
def test_holm_by_hand(p, expected):
    assert holm(p) == pytest.approx(expected, nan_ok=True)


def test_only_repetitions_that_both_have_are_subtracted():
    assert differences({"a": 3.0, "b": 5.0, "c": 1.0}, {"b": 2.0, "a": 1.0, "d": 9.0}) == [2.0, 3.0]


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@pytest.mark.parametrize("rows", [10, 1860, 284_807])
def test_shares_that_differ_by_the_same_number_of_rows_differ_by_the_same_number(rows, precision):
    counts = {"a": 7 * rows // 10, "b": 8 * rows // 10, "c": 9 * rows // 10}
    baseline, values = (
        {repeat: float(precision(count + more) / precision(rows)) for repeat, count in counts.items()}
        for more in (0, 1)
    )
    found = differences(values, baseline)
    assert found == pytest.approx([1 / rows] * 3, abs=1e-6)
    assert math.isnan(paired_p(found))
