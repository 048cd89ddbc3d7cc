"""How jobs are grouped, paired and tested."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lightning_losses.app.compare.comparison import compare, verdict
from lightning_losses.app.compare.sweep import read_sweep
from lightning_losses.app.compare.tables import job_table, metric_table, recall_table
from tests.app.compare.making import write_job, write_overrides, write_sweep

CE = [0.60, 0.70, 0.65, 0.62]
FOCAL = [0.66, 0.75, 0.72, 0.67]
SCE = [0.61, 0.69, 0.66, 0.60]


@pytest.fixture
def sweep(tmp_path):
    write_sweep(tmp_path, {"ce": CE, "focal": FOCAL, "sce": SCE})
    return read_sweep(tmp_path)


def names(comparison):
    return [entry.name for entry in comparison.entries]


def test_differences_are_paired_and_their_p_is_corrected(sweep):
    (comparison,) = compare(sweep, [])
    assert (comparison.part, comparison.baseline, names(comparison)) == ("test", "ce", ["ce", "focal", "sce"])
    base, focal, sce = (entry.statistics["average_precision"] for entry in comparison.entries)
    assert focal.mean.mean == pytest.approx(np.mean(FOCAL))
    assert focal.difference.mean == pytest.approx(np.mean(FOCAL) - np.mean(CE))
    small, large = stats.ttest_rel(FOCAL, CE).pvalue, stats.ttest_rel(SCE, CE).pvalue
    assert focal.p == pytest.approx(2 * small)
    assert sce.p == pytest.approx(max(large, 2 * small))
    assert (base.difference.n, math.isnan(base.p)) == (0, True)
    assert verdict(comparison) == (
        "Best mean average precision: focal, 0.7000 (+0.0575 to ce). Different from ce beyond chance (p < 0.05): focal."
    )


def test_runs_that_divide_the_same_rows_anew_are_tested_with_a_larger_variance(tmp_path):
    write_sweep(tmp_path, {"ce": CE, "focal": FOCAL}, divides=True)
    (comparison,) = compare(read_sweep(tmp_path), [])
    focal = comparison.entries[1].statistics["average_precision"]
    assert comparison.shared == pytest.approx(40 / 60)
    # by hand: differences .06 .05 .07 .05, mean .0575, sd sqrt(2.75e-4 / 3)
    error = math.sqrt(2.75e-4 / 3 * (1 / 4 + 40 / 60))
    assert focal.difference.half == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert focal.p == pytest.approx(2 * stats.t.sf(0.0575 / error, 3))
    assert focal.mean.half > stats.sem(FOCAL) * stats.t.ppf(0.975, 3)


@pytest.mark.parametrize(
    ("divides", "data"), [(False, {}), (True, {"name": "rings"})], ids=["the same rows judge", "other rows are drawn"]
)
def test_runs_that_share_no_division_have_students_variance(tmp_path, divides, data):
    write_sweep(tmp_path, {"ce": CE, "focal": FOCAL}, divides=divides, data=data)
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert comparison.shared == 0.0
    assert comparison.entries[1].statistics["average_precision"].p == pytest.approx(stats.ttest_rel(FOCAL, CE).pvalue)


def test_the_terms_of_a_loss_are_no_metrics(tmp_path):
    for i, loss in enumerate(("ce", "nce_rce")):
        metrics = {"loss": 0.3, "objective": 0.4, "loss/nce": 0.1, "auxiliary/own": 0.1, "ignored_batches": 1.0}
        write_job(tmp_path / str(i), [f"loss={loss}"], {"average_precision": 0.5, **metrics})
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert comparison.metrics == ["average_precision"]


def test_of_a_metric_that_falls_the_smallest_is_best(tmp_path):
    for i, (loss, seed) in enumerate(itertools.product(("l1", "mse"), range(4))):
        mape = FOCAL[seed] if loss == "mse" else CE[seed]
        overrides = [f"loss={loss}", f"seed={seed}"]
        write_job(tmp_path / str(i), overrides, {"mape": mape}, seed=seed, better={"mape": "min"})
    (comparison,) = compare(read_sweep(tmp_path), [])
    small, large = metric_table(comparison).rows
    assert verdict(comparison).startswith("Best mean mape: l1, ")
    assert [small[1].mark, large[1].mark, large[2].mark] == ["best", "", "down"]


def test_another_baseline(sweep):
    (comparison,) = compare(sweep, [], baseline="sce")
    assert comparison.entries[0].statistics["average_precision"].difference.mean == pytest.approx(
        np.mean(CE) - np.mean(SCE)
    )
    with pytest.raises(ValueError, match=r"compare\.baseline.*'focl'.*did you mean 'focal'"):
        compare(sweep, [], baseline="focl")
    with pytest.raises(ValueError, match=r"compare\.metric"):
        compare(sweep, [], metric="accuracy")


@pytest.mark.parametrize("baseline", [None, "ce"], ids=["the first", "by name"])
def test_where_the_baseline_has_not_finished_the_first_that_has_takes_its_place(baseline, tmp_path):
    for i, (loss, average_precision) in enumerate([("ce", None), ("focal", 0.5), ("sce", 0.6)]):
        if average_precision is None:
            write_overrides(tmp_path / str(i), ["data=csv", f"loss={loss}"])
        else:
            write_job(tmp_path / str(i), ["data=csv", f"loss={loss}"], {"average_precision": average_precision})
    (comparison,) = compare(read_sweep(tmp_path), [], baseline=baseline)
    assert (comparison.baseline, names(comparison)) == ("focal", ["focal", "sce"])
    assert comparison.notes == ["No run of ce has finished here: the differences are to focal."]
    with pytest.raises(ValueError, match=r"compare\.baseline.*'cee'.*did you mean 'ce'"):
        compare(read_sweep(tmp_path), [], baseline="cee")


def test_a_row_has_the_name_that_was_planned_where_it_alone_has_finished(tmp_path):
    write_overrides(tmp_path / "0", ["loss=ce"])
    write_job(tmp_path / "1", ["loss=focal_balanced"], {"f1": 0.5})  # whose config has another name
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert names(comparison) == ["focal_balanced"]


def test_a_baseline_that_failed_in_one_table_leaves_the_other_as_it_is(tmp_path):
    for i, (rate, loss) in enumerate(itertools.product((0.0, 0.4), ("focal", "ce"))):
        overrides, data = [f"data.label_noise.rate={rate}", f"loss={loss}"], {"label_noise": {"rate": rate}}
        write_job(tmp_path / str(i), overrides, {"average_precision": 0.5}, data=data)
    (tmp_path / "3" / "result.json").write_text('{"status": "failed", "error": "no room"}')
    clean, noisy = compare(read_sweep(tmp_path), [], baseline="ce")
    assert (clean.baseline, clean.notes) == ("ce", [])
    assert (noisy.baseline, noisy.notes) == (
        "focal",
        ["No run of ce has finished here: the differences are to focal."],
    )


def test_where_a_metric_was_not_measured_that_of_the_task_counts(tmp_path):
    of_loss = {"ce": {"average_precision": 0.5, "auroc": 0.9}, "hinge": {"average_precision": 0.6}}
    for i, (loss, metrics) in enumerate(of_loss.items()):
        write_job(tmp_path / str(i), [f"data.fraction={i}", f"loss={loss}"], metrics, data={"fraction": i})
    ce, hinge = compare(read_sweep(tmp_path), [], metric="auroc")
    assert (ce.metric, ce.notes) == ("auroc", [])
    assert (hinge.metric, hinge.notes) == (
        "average_precision",
        ["No run here has AUROC: average precision counts in its place."],
    )
    jobs = job_table([ce, hinge])
    assert jobs.columns[1] == "AUROC / average precision"
    assert [(row[1].text, row[1].detail) for row in jobs.rows] == [("0.9000", "AUROC"), ("0.6000", "average precision")]
    with pytest.raises(ValueError, match=r"compare\.metric.*'auroq'.*did you mean 'auroc'"):
        compare(read_sweep(tmp_path), [], metric="auroq")


def test_a_metric_that_was_to_be_measured_is_known(tmp_path):
    metrics = {"binary": {"auroc": {"name": "BinaryAUROC"}}}
    write_job(tmp_path / "0", ["loss=hinge"], {"f1": 0.5}, config={"metrics": metrics})
    (comparison,) = compare(read_sweep(tmp_path), [], metric="auroc")
    assert comparison.metric == "f1"


def test_a_missing_seed_leaves_the_others_paired(tmp_path):
    write_sweep(tmp_path, {"ce": CE, "focal": FOCAL})
    (tmp_path / "1" / "result.json").unlink()
    (comparison,) = compare(read_sweep(tmp_path), [])
    difference = comparison.entries[1].statistics["average_precision"].difference
    assert (difference.n, comparison.entries[0].statistics["average_precision"].mean.n) == (3, 3)
    assert difference.mean == pytest.approx(np.mean(np.delete(np.subtract(FOCAL, CE), 1)))


UNEQUAL = {
    "one of each": (
        {"ce": [0.5], "focal": [0.6]},
        "Best mean average precision: focal, 0.6000 (+0.1000 to ce). "
        "One run of each says nothing about chance: repeat it, as in seed=0,1,2,3,4.",
    ),
    "interrupted in the second": (
        {"ce": [0.6857, 0.47, 0.507], "balanced": [0.5569]},
        "The losses have not finished the same runs (ce 3, balanced 1): none is called the best. "
        "No loss shares two runs with ce, which a test of chance needs.",
    ),
    "interrupted in the third": (
        {"ce": CE, "focal": FOCAL, "sce": [0.99]},
        "Best mean average precision: focal, 0.7000 (+0.0575 to ce). Left out, with fewer runs: sce (1 of 4). "
        "Different from ce beyond chance (p < 0.05): focal.",
    ),
    "as good": (
        {"ce": [0.5, 0.4], "focal": [0.4, 0.5], "sce": [0.3, 0.3]},
        "Best mean average precision: ce, focal, 0.4500. No difference to ce is beyond chance (p < 0.05).",
    ),
}


@pytest.mark.parametrize("case", UNEQUAL)
def test_the_best_is_chosen_where_the_same_runs_have_finished(case, tmp_path):
    values, said = UNEQUAL[case]
    write_sweep(tmp_path, values)
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert verdict(comparison) == said


def test_equal_means_share_the_star_and_fewer_runs_have_none(tmp_path):
    write_sweep(tmp_path, {"ce": [0.1, 0.2, 0.3], "focal": [0.3, 0.1, 0.2], "sce": [0.9]})
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert [row[1].mark for row in metric_table(comparison).rows] == ["best", "best", ""]
    bad, good = recall_table(comparison).rows
    assert [bad[3].mark, good[3].mark] == ["", ""]
    write_sweep(tmp_path / "alone", {"ce": [0.1, 0.2], "focal": [0.9]})
    (alone,) = compare(read_sweep(tmp_path / "alone"), [])
    cells = [cell for table in (metric_table(alone), recall_table(alone)) for row in table.rows for cell in row]
    assert "best" not in {cell.mark for cell in cells}


def test_means_of_other_runs_have_no_star(tmp_path):
    for loss, seed in (("ce", 1), ("focal", 0)):
        write_job(tmp_path / loss, [f"loss={loss}", f"seed={seed}"], {"average_precision": 0.5}, seed=seed)
    (comparison,) = compare(read_sweep(tmp_path), [])
    cells = [
        cell for table in (metric_table(comparison), recall_table(comparison)) for row in table.rows for cell in row
    ]
    assert "best" not in {cell.mark for cell in cells}


def test_a_lost_file_of_outputs_changes_no_test(tmp_path):
    write_sweep(tmp_path, {"ce": CE, "focal": FOCAL})
    whole = compare(read_sweep(tmp_path), [])[0].entries[1].statistics
    (tmp_path / "2" / "outputs.npz").unlink()
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert (comparison.shared, comparison.entries[1].statistics) == (0.0, whole)
    assert len(comparison.entries[0].recall) == 3


@pytest.mark.parametrize(("data_seed", "shared"), [([0, 0, 0, 0], 0.0), ([0, 1, 2, 3], 40 / 60)])
def test_without_any_outputs_the_settings_say_whether_rows_are_shared(data_seed, shared, tmp_path):
    for seed in range(4):
        write_job(tmp_path / str(seed), [f"seed={seed}"], {"f1": 0.5}, seed=seed, data={"seed": data_seed[seed]})
        (tmp_path / str(seed) / "outputs.npz").unlink()
    assert compare(read_sweep(tmp_path), [])[0].shared == pytest.approx(shared)


def test_jobs_on_other_rows_are_not_paired(tmp_path):
    for i, loss in enumerate(("ce", "focal")):
        overrides = [f"loss={loss}", f"data.seed={i}"]
        write_job(tmp_path / str(i), overrides, {"average_precision": 0.5}, data={"seed": i})
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert comparison.entries[1].statistics["average_precision"].difference.n == 0


def test_other_data_are_compared_apart_and_how_they_are_learned_is_not(tmp_path):
    number = 0
    for rate in (0.0, 0.4):
        for sampler in ("null", "balanced"):
            overrides = ["data=csv", f"data.label_noise.rate={rate}", f"data.sampler={sampler}", "seed=0"]
            data = {"label_noise": {"rate": rate}, "sampler": sampler}
            write_job(tmp_path / str(number), overrides, {"average_precision": 0.5}, data=data)
            number += 1
    clean, noisy = compare(read_sweep(tmp_path), [])
    assert (clean.title, noisy.title) == ("data.label_noise.rate=0.0", "data.label_noise.rate=0.4")
    assert names(clean) == names(noisy) == ["null", "balanced"]
    assert clean.entries[1].statistics["average_precision"].difference.n == 1


RINGS, BALANCED = {"name": "rings", "positives": 200}, {"name": "rings", "positives": 1000}
EXPERIMENTS = {
    "other data": ({"a": RINGS, "b": BALANCED}, ["experiment=a", "experiment=b"], [["ce", "focal"], ["ce", "focal"]]),
    "the same data": ({"a": RINGS, "b": RINGS}, [""], [["experiment=a, loss=ce", "experiment=a, loss=focal"]]),
    "learned in another way": (
        {"a": {**RINGS, "batch_size": 9}, "b": {**RINGS, "batch_size": 1}},
        [""],
        [["experiment=a, loss=ce", "experiment=a, loss=focal"]],
    ),
}


@pytest.mark.parametrize("case", EXPERIMENTS)
def test_experiments_with_other_data_are_compared_apart(case, tmp_path):
    data, titles, first_names = EXPERIMENTS[case]
    jobs = itertools.product(data, ("ce", "focal"), range(2))
    for i, (experiment, loss, seed) in enumerate(jobs):
        overrides = [f"experiment={experiment}", f"loss={loss}", f"seed={seed}"]
        of_seed = {**data[experiment], "seed": seed}
        write_job(tmp_path / str(i), overrides, {"average_precision": 0.5}, seed=seed, data=of_seed)
    comparisons = compare(read_sweep(tmp_path), [])
    assert [comparison.title for comparison in comparisons] == titles
    assert [names(comparison)[:2] for comparison in comparisons] == first_names


def test_of_an_interrupted_sweep_over_experiments_the_experiment_chooses_the_data(tmp_path):
    targets = {"a": ["no", "yes"], "b": ["inner", "outer"]}
    for i, (experiment, loss, seed) in enumerate([("a", "ce", 0), ("b", "focal", 1)]):
        overrides = [f"experiment={experiment}", f"loss={loss}", f"seed={seed}"]
        data = {"name": experiment, "seed": seed}
        write_job(tmp_path / str(i), overrides, {"f1": 0.5}, seed=seed, data=data, targets=targets[experiment])
    comparisons = compare(read_sweep(tmp_path), [])
    assert [(c.title, names(c), c.targets) for c in comparisons] == [
        ("experiment=a", ["ce"], targets["a"]),
        ("experiment=b", ["focal"], targets["b"]),
    ]


def test_several_things_that_vary_are_named(tmp_path):
    for i, (loss, rate) in enumerate([("ce", 1), ("ce", 2), ("focal", 1), ("focal", 2)]):
        write_job(tmp_path / str(i), [f"loss={loss}", f"optimizer.lr={rate}"], {"average_precision": 0.5})
    (comparison,) = compare(read_sweep(tmp_path), [])
    assert names(comparison)[0] == "loss=ce, optimizer.lr=1"
    assert len(names(comparison)) == 4


def test_a_row_has_the_command_that_repeats_it(sweep):
    (comparison,) = compare(sweep, [])
    assert comparison.entries[1].command == "lightning-losses --multirun data=csv loss=focal seed=0,1,2,3"


def test_reference_models_stand_first_and_are_not_tested(sweep):
    record = {"name": "boosted trees", "status": "finished", "error": None, "seconds": 2.0, "recall": {"test": [1, 0]}}
    records = [
        {**record, "jobs": [str(seed), str(seed + 4), str(seed + 8)], "metrics": {"test/average_precision": 0.7 + seed}}
        for seed in range(4)
    ]
    records.append({"name": "logistic regression", "status": "skipped", "error": "too large", "jobs": ["0"]})
    (comparison,) = compare(sweep, records)
    assert names(comparison)[0] == "boosted trees"
    of_trees = comparison.entries[0].statistics["average_precision"]
    assert of_trees.difference.mean == pytest.approx(0.7 + 1.5 - np.mean(CE))
    assert math.isnan(of_trees.p)
    assert comparison.notes == ["logistic regression: too large"]
    assert "Best reference model: boosted trees, 2.2000." in verdict(comparison)
    assert comparison.entries[0].command == "lightning-losses --multirun data=csv loss=ce seed=0,1,2,3"


def test_a_reference_model_that_decides_on_its_own_is_named_where_the_losses_have_chosen(tmp_path):
    write_sweep(tmp_path, {"ce": [0.5], "focal": [0.6]}, decide={"threshold": [0.3]})
    record = {"status": "finished", "error": None, "seconds": 2.0, "recall": {"test": None}, "metrics": {}}
    own, chosen = {"name": "trees", "jobs": ["0"]}, {"name": "linear", "jobs": ["0"], "decide": {"threshold": [0.4]}}
    (comparison,) = compare(read_sweep(tmp_path), [{**record, **own}, {**record, **chosen}])
    assert comparison.notes == ["trees: its decisions are its own, chosen on no validation row"]


def test_recall_of_each_class_is_counted_from_the_rows(sweep):
    (comparison,) = compare(sweep, [])
    outputs = sweep[0].outputs["test"]
    target, decision = outputs.target.flatten() == 1, outputs.decision.flatten() == 1
    expected = [float((~decision[~target]).float().mean()), float(decision[target].float().mean())]
    assert comparison.entries[0].recall[sweep[0].repeat] == pytest.approx(expected)


def test_a_class_without_rows_in_a_run_counts_in_the_others_alone(sweep):
    record = {"name": "boosted trees", "status": "finished", "error": None, "seconds": 2.0, "metrics": {}}
    recalls = [[0.5, None], [0.7, 0.2], [None, None], [0.3, None]]  # as JSON has them
    records = [{**record, "jobs": [str(seed)], "recall": {"test": recall}} for seed, recall in enumerate(recalls)]
    (comparison,) = compare(sweep, records)
    bad, good = (row[1].text for row in recall_table(comparison).rows)
    assert (bad, good) == ("0.500", "0.200")
    never = [{**of_run, "recall": {"test": [0.5, None]}} for of_run in records]
    (comparison,) = compare(sweep, never)
    assert [row[1].text for row in recall_table(comparison).rows] == ["0.500", ""]


def test_without_a_finished_job_the_first_error_is_said(tmp_path):
    write_overrides(tmp_path / "0", ["loss=ce"])
    (tmp_path / "0" / "result.json").write_text('{"status": "failed", "error": "no such file"}')
    with pytest.raises(ValueError, match="none of 1 jobs has finished, the first with: no such file"):
        compare(read_sweep(tmp_path), [])
