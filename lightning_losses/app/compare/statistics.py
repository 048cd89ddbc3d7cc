"""Means over seeds, differences to a baseline, and whether they are more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10, nan, sqrt

import numpy as np
from scipy import stats

LEVEL = 0.95
DIGITS = 6  # of a metric that are sure: most are computed in float32


@dataclass(frozen=True)
class Mean:
    """A mean of `n` values, with its interval.

    Attributes:
        n: Number of values.
        mean: Their mean; NaN of none.
        half: Half the width of the interval of Student's t that holds the true mean with probability `LEVEL`; NaN of
            fewer than two.
    """

    n: int
    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float], shared: float = 0.0) -> Mean:
        """Return the mean of values and its interval.

            mean -+ t(0.975, n - 1) * sd * sqrt(1 / n + shared)

        Args:
            values: One for each repetition.
            shared: Where each repetition divides the same rows anew, how many rows judge for each row of training;
                repetitions that share rows tell less of chance than their spread would have it. 0: they share none.

        Returns:
            The mean.

        Example:
            >>> Mean.of([1.0, 2.0, 3.0])
            Mean(n=3, mean=2.0, half=2.484...)

        Source:
            Nadeau, Bengio: Inference for the Generalization Error, 2003.
        """
        if len(values) < 2:
            return cls(len(values), values[0] if values else nan, nan)
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * _error(values, shared)
        return cls(len(values), float(np.mean(values)), half)


def paired_p(differences: Sequence[float], shared: float = 0.0) -> float:
    """Return the p-value of Student's paired t-test: how often chance alone gives a mean so far from 0.

    Args:
        differences: One for each repetition.
        shared: As of `Mean.of`; above 0 it is the corrected resampled t-test.

    Returns:
        The p-value, two-sided; NaN of fewer than two differences, or where all are the same number that is not 0.

    Source:
        Nadeau, Bengio: Inference for the Generalization Error, 2003.
    """
    if len(differences) < 2:
        return nan
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else nan
    return float(2 * stats.t.sf(abs(np.mean(differences)) / _error(differences, shared), len(differences) - 1))


def _error(values: Sequence[float], shared: float) -> float:
    """Return the standard error of a mean."""
    return float(np.std(values, ddof=1)) * sqrt(1 / len(values) + shared)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that one below 0.05 by chance is as rare as with a single test.

        p_holm(i) = max over j <= i of min(1, (m - j + 1) * p(j)), sorted p(1) <= ... <= p(m)

    Args:
        p: One for each test; NaN is no test.

    Returns:
        The corrected p-values, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source:
        Holm: A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    tested = sorted((value, i) for i, value in enumerate(p) if not isnan(value))
    corrected, largest = [nan] * len(p), 0.0
    for rank, (value, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * value))
        corrected[i] = largest
    return corrected


def differences(values: Mapping[str, float], baseline: Mapping[str, float]) -> list[float]:
    """Return value minus baseline for each repetition that both have."""
    return [minus(value, baseline[repeat]) for repeat, value in values.items() if repeat in baseline]


def minus(value: float, other: float) -> float:
    """Return the difference, rounded to the digits that are sure.

    Shares that differ by one and the same number of rows must not seem to differ by a hair, of which a test would make
    the highest significance.
    """
    largest = max(abs(value), abs(other))
    return round(value - other, DIGITS - 1 - floor(log10(largest))) if largest else 0.0
