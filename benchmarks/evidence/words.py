"""Who stands above a baseline, by how much, and what did not help: computed and paired by key, never typed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import NamedTuple

from lightning_losses.app.compare.comparison import ALPHA
from lightning_losses.app.compare.statistics import Mean, differences, holm, paired_p

Values = Mapping[str, Mapping[str, float]]  # method -> repetition -> what was measured
CORRECTED = f"p < {ALPHA} by a paired t-test, corrected by Holm for the number of tests"


class Gain(NamedTuple):
    """A paired difference and its p-value, corrected for the number of tests."""

    mean: Mean
    p: float

    @property
    def kind(self) -> str:
        """`up`, `down`, `chance`, or `once` where one repetition tells nothing of chance."""
        if self.mean.n < 2:
            return "once"
        if not self.p < ALPHA:
            return "chance"
        return "up" if self.mean.mean > 0 else "down"


def gains(values: Values, baseline: str, shared: float = 0.0) -> dict[str, Gain]:
    """Return by how much each method stands above the baseline, where both have the same repetition.

    Args:
        values: Of each method.
        baseline: One of them; where it was not measured there is nothing to compare.
        shared: See `Mean.of`.
    """
    of_baseline = values.get(baseline, {})
    found = {method: differences(own, of_baseline) for method, own in values.items() if method != baseline}
    return judged(found, shared)


def judged(found: Mapping[str, Sequence[float]], shared: float = 0.0) -> dict[str, Gain]:
    """Return the means of differences, those of a family of tests, without those that have none."""
    found = {name: of_name for name, of_name in found.items() if of_name}
    p = holm([paired_p(of_name, shared) for of_name in found.values()])
    return {name: Gain(Mean.of(of_name, shared), own) for (name, of_name), own in zip(found.items(), p, strict=True)}


def shown(mean: Mean, digits: int, scale: float = 1.0, sign: str = "") -> str:
    """Return a mean with its interval, empty where nothing was measured."""
    if not mean.n:
        return ""
    half = "" if isnan(mean.half) else f" ± {scale * mean.half:.{digits}f}"
    return f"{scale * mean.mean:{sign}.{digits}f}{half}"


def verdict(found: Mapping[str, Gain], up: str, down: str, digits: int, scale: float = 1.0) -> str:
    """Return in a sentence which gains are beyond chance, which are not, and which cannot be told.

    Args:
        found: Gains by name.
        up: What a difference above 0 is called.
        down: What one below 0 is called.
        digits: Behind the point.
        scale: By which differences are multiplied.
    """
    names = {"up": up, "down": down, "chance": "within chance", "once": "measured once, which tells nothing of chance"}
    order = sorted(found, key=lambda name: -found[name].mean.mean)
    said = []
    for kind, name in names.items():
        of_kind = [f"{one} {shown(found[one].mean, digits, scale, '+')}" for one in order if found[one].kind == kind]
        if of_kind:
            said.append(f"{name}: {', '.join(of_kind)}")
    return "; ".join(said) if said else "nothing to compare yet"


def without_help(families: Mapping[str, Mapping[str, Gain]], where: str = "") -> str:
    """Return in a sentence what was tested and never stands above the baseline beyond chance."""
    known = dict.fromkeys(name for family in families.values() for name, gain in family.items() if gain.kind != "once")
    if not known:
        return "Nothing was measured twice yet, so that nothing can be told from chance."
    in_vain = [name for name in known if all(of[name].kind != "up" for of in families.values() if name in of)]
    return f"Did not help{where}, never above cross entropy beyond chance: {', '.join(in_vain) or 'none'}."
