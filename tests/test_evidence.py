"""The page of the experiments says what their results say, whatever these are and however many there are."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "evidence"
WANTED = {"label_noise": 108, "fraud": 35, "shuttle": 135}


@pytest.fixture(scope="module")
def modules():
    """The page's module and that of its words, as their folder's scripts import each other."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("page"), importlib.import_module("words")
    finally:
        sys.path.remove(str(FOLDER))
        for name in {path.stem for path in FOLDER.glob("*.py")} - before:
            sys.modules.pop(name, None)


def results(name):
    return json.loads((FOLDER / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_page_is_made_from_the_results(modules):
    assert (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8") == modules[0].page()


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.02])
@pytest.mark.parametrize("order", [1, -1], ids=["as measured", "turned round"])
def test_incomplete_results_have_a_page_that_says_how_many_runs_there_are(modules, monkeypatch, keep, order):
    def some(name):
        content = results(name)
        content["runs"] = content["runs"][::order][: max(1, round(keep * len(content["runs"])))]
        return content

    monkeypatch.setattr(modules[0], "read", some)
    made = modules[0].page()
    for name, wanted in WANTED.items():
        assert re.search(rf"{name}\.py`, [0-9-]+: {len(some(name)['runs'])} of {wanted} runs", made)
    assert "nan" not in made


def test_the_page_of_other_results_says_otherwise(modules, monkeypatch):
    other = {"ce": "ldam", "ldam": "ce"}

    def exchanged(name):
        content = results(name)
        for run in content["runs"]:
            if "method" in run:
                run["method"] = other.get(run["method"], run["method"])
        return content

    before = modules[0].fraud(results("fraud"))
    after = modules[0].fraud(exchanged("fraud"))
    gain = re.compile(r"average precision: .*?ldam ([+-][0-9.]+)")
    assert float(gain.search(before)[1]) == -float(gain.search(after)[1]) != 0


def test_what_cross_entropy_forgets_is_a_number_for_each_noise(modules):
    content = results("label_noise")
    noises = {run["noise"] for run in content["runs"] if run["loss"] == "ce"}
    line = re.search(r"loses from its best epoch to its last ones: (.*)\.$", modules[0].label_noise(content), re.M)[1]
    assert len(re.findall(r"(?:none|symmetric 0\.\d|pairs 0\.\d) \d+\.\d", line)) == len(noises)


CE = {"0": 0.50, "1": 0.60, "2": 0.70, "3": 0.55}
METHODS = {  # in another order, and not all measured as often
    "ce": CE,
    "better": {"3": 0.66, "2": 0.80, "1": 0.70, "0": 0.61},
    "noisy": {"0": 0.70, "1": 0.41, "2": 0.72, "9": 0.1},
    "worse": {key: value - 0.2 - 0.001 * int(key) for key, value in CE.items()},
    "new": {"2": 0.9},
}


@pytest.mark.parametrize("shared", [0.0, 0.25])
def test_gains_are_paired_by_key_and_corrected(modules, shared):
    found = modules[1].gains(METHODS, "ce", shared)
    # by hand: error of a mean of n differences of deviation sd is sd * sqrt(1/n + shared)
    p = {}
    for name, own in METHODS.items():
        if name != "ce":
            paired = np.array([own[key] - CE[key] for key in CE if key in own])
            assert found[name].mean.mean == pytest.approx(paired.mean())
            if len(paired) > 1:
                error = paired.std(ddof=1) * np.sqrt(1 / len(paired) + shared)
                p[name] = 2 * stats.t.sf(abs(paired.mean()) / error, len(paired) - 1)
    smallest, middle, largest = sorted(p, key=p.get)
    assert found[smallest].p == pytest.approx(3 * p[smallest])
    assert found[middle].p == pytest.approx(max(3 * p[smallest], 2 * p[middle]))
    assert found[largest].p == pytest.approx(max(p[largest], found[middle].p))
    assert np.isnan(found["new"].p)


def test_who_is_ahead_and_what_did_not_help_is_told_from_chance(modules):
    words = modules[1]
    found = words.gains(METHODS, "ce")
    assert words.verdict(found, "above", "below", 1, 100) == (
        "above: better +10.5 ± 0.9; below: worse -20.2 ± 0.2; within chance: noisy +1.0 ± 48.5; "
        "measured once, which tells nothing of chance: new +20.0"
    )
    assert words.without_help({"one": found}) == (
        "Did not help, never above cross entropy beyond chance: noisy, worse."
    )
    noisy_is_better = {"noisy": found["better"]}
    said = words.without_help({"one": found, "two": noisy_is_better}, " here")
    assert said == "Did not help here, never above cross entropy beyond chance: worse."
    assert words.without_help({"one": {"new": found["new"]}}).startswith("Nothing was measured twice yet")


def test_without_the_baseline_nothing_is_compared(modules):
    words = modules[1]
    found = words.gains({"better": CE}, "ce")
    assert words.verdict(found, "above", "below", 1) == "nothing to compare yet"
