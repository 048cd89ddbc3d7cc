"""Every loss gets the same trials, and the best on the validation part is kept."""

import gc
import json
import weakref
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hydra.core.hydra_config import HydraConfig

import lightning_losses as ll
from lightning_losses import conf
from lightning_losses._mapping import plain
from lightning_losses.app import run
from lightning_losses.app.compare import search as searching
from lightning_losses.app.training import Run
from lightning_losses.losses.registry import get_loss


@pytest.fixture
def trained(monkeypatch):
    """Replace the training by a score that falls with the distance of the rate from 0.01; return the configs."""
    configs = []

    def train(cfg, folder):
        configs.append(cfg)
        if cfg.optimizer.lr > 0.05:
            raise FloatingPointError("diverged")
        (folder / "checkpoints").mkdir(parents=True)
        metrics = {
            "val/average_precision": 1 - abs(cfg.optimizer.lr - 0.01),
            "test/average_precision": cfg.optimizer.lr,
            "val/mape": cfg.optimizer.lr,
        }
        better = {"average_precision": "max", "accuracy": "max", "mape": "min"}
        module = SimpleNamespace(trainer=SimpleNamespace(world_size=1))
        result = {"status": "finished", "task": "binary", "metrics": metrics, "better": better}
        result["checkpoint"] = {"score": None}
        return Run(module, pd.DataFrame(), result, folder)

    monkeypatch.setattr(searching, "train", train)
    return configs


def test_the_best_on_the_validation_part_is_kept(trained, tmp_path):
    result = run(ll.compose("compare.trials=8"), tmp_path).result
    rates = [cfg.optimizer.lr for cfg in trained]
    assert rates[0] == ll.compose().optimizer.lr
    assert len({*rates}) == 8
    assert all(1e-4 <= rate <= 0.1 for rate in rates)
    nearest = min(range(8), key=lambda i: abs(rates[i] - 0.01) if rates[i] <= 0.05 else 1)
    assert result["chosen_trial"] == nearest
    assert result["metrics"]["test/average_precision"] == rates[nearest]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert [trial["score"] is None for trial in result["trials"]] == [rate > 0.05 for rate in rates]
    kept = {path.parent.name for path in tmp_path.glob("trials/*/checkpoints")}
    assert kept == {str(nearest)}


def test_of_a_metric_that_falls_the_smallest_is_kept(trained, tmp_path):
    result = run(ll.compose("compare.trials=8", "compare.metric=mape"), tmp_path).result
    assert result["metrics"]["val/mape"] == min(cfg.optimizer.lr for cfg in trained)


@pytest.mark.usefixtures("trained")
def test_the_best_alone_stays_in_memory(tmp_path, monkeypatch):
    train, made, alive = searching.train, [], []

    def counting(cfg, folder):
        gc.collect()
        alive.append(sum(reference() is not None for reference in made))
        trained = train(cfg, folder)
        made.append(weakref.ref(trained))
        return trained

    monkeypatch.setattr(searching, "train", counting)
    run(ll.compose("compare.trials=6"), tmp_path)
    assert alive == [0, 1, 1, 1, 1, 1]


def test_losses_draw_the_same_for_what_they_share_and_each_its_own(trained, tmp_path):
    for loss in ("focal", "sce"):
        run(ll.compose(f"loss={loss}", "compare.trials=4"), tmp_path / loss)
    focal, sce = trained[:4], trained[4:]
    for one, other in zip(focal, sce, strict=True):
        assert (one.optimizer.lr, one.regularizer) == (other.optimizer.lr, other.regularizer)
    assert len({cfg.loss.gamma for cfg in focal}) == 4
    assert len({(cfg.loss.alpha, cfg.loss.beta) for cfg in sce}) == 4
    assert 1e-6 <= sce[1].regularizer.l2.factor <= 1e-2


def test_sums_and_variants_draw_by_their_choice_in_the_group(trained, command):
    drawn = {"nce_rce": "terms", "ce_smoothed": "label_smoothing", "nfl": "gamma", "focal_balanced": "alpha"}
    for loss, parameter in drawn.items():
        trained.clear()
        outcome = command(f"loss={loss}", "compare.trials=3", f"hydra.run.dir={loss}")
        assert outcome.status == 0, outcome.err
        assert len({str(cfg.loss[parameter]) for cfg in trained}) == 3
    assert HydraConfig.initialized() is False


CONF = Path(conf.__file__).parent
LOSSES = sorted({path.stem for folder in ("loss", "app/loss") for path in (CONF / folder).glob("*.yaml")})
SHARED = {"name", "task", "weight", "pos_weight", "normalizer", "label_smoothing", "ignore_index", "from_logits"}
SHARED |= {"z_loss", "reduction"}
TASKS = {"bce": "binary", "focal_balanced": "binary", "ghm": "binary", "asymmetric": "multilabel"}
NOT_DRAWN = {
    "adaptive_log_softmax": ["in_features", "n_classes", "cutoffs", "div_value", "head_bias"],  # is a layer
    "asymmetric": ["gamma_positive"],  # 0 in its source
    "balanced_softmax": ["class_counts"],
    "ce_balanced": [],
    "cosine_similarity": ["dim"],
    "focal": ["alpha"],
    "forward_correction": ["transition"],
    "hinge": ["margin"],  # as good as another scale of the outputs
    "ldam": ["class_counts"],
    "logit_adjusted": ["prior"],
    "mape": ["epsilon"],
    "quantile": ["q"],  # what is to be predicted
    "sce": ["label_floor"],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_draws_its_own_parameters_and_takes_what_it_draws(loss, monkeypatch):
    monkeypatch.setattr(searching, "_chosen_loss", lambda: loss)
    given = {"in_features": "8", "n_classes": "6", "cutoffs": "[2]", "transition": "[[1,0],[0,1]]"}
    given |= {"class_counts": "[3,4]", "prior": "[0.4,0.6]", "weight": "null"}  # what the labels say
    cfg = ll.compose(f"loss={loss}", f"task={TASKS.get(loss, 'multiclass')}")
    needed = [f"loss.{name}={value}" for name, value in given.items() if name in cfg.loss.keys()]  # noqa: SIM118  it says no to ???
    cfg = ll.compose(f"loss={loss}", f"task={TASKS.get(loss, 'multiclass')}", *needed)
    names = set()
    for number in range(1, 6):
        values = searching._draw(cfg, number)
        names |= {key.split(".")[1] for key in values if key.startswith("loss.")}
        assert get_loss(plain(searching._with(cfg, values).loss))
    own = set(cfg.loss) - SHARED - {*NOT_DRAWN.get(loss, [])}
    assert names - {"label_smoothing"} == own


def test_other_seeds_draw_others(trained, tmp_path):
    for seed in (0, 1):
        run(ll.compose(f"seed={seed}", "compare.trials=2"), tmp_path / str(seed))
    assert trained[1].optimizer.lr != trained[3].optimizer.lr


def test_what_is_compared_by_where_the_metric_needs_probabilities_is_said(trained, tmp_path, monkeypatch, capsys):
    train = searching.train

    def without_probabilities(cfg, folder):
        trained = train(cfg, folder)
        trained.result["metrics"] = {"val/accuracy": 0.5, "val/loss": 1.0}
        return trained

    monkeypatch.setattr(searching, "train", without_probabilities)
    assert run(ll.compose("compare.trials=2"), tmp_path).result["chosen_by"] == "val/accuracy"
    assert "chosen: trial 1 by val/accuracy" in capsys.readouterr().out


def test_a_choice_of_values(trained, tmp_path):
    run(ll.compose("loss=taylor_ce", "compare.trials=6"), tmp_path)
    assert {cfg.loss.order for cfg in trained} <= {1, 2, 3, 4, 6, 8}
    assert len({cfg.loss.order for cfg in trained}) > 2


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["compare.trials=0"], r"compare\.trials must be a whole number of at least 1"),
        (["ckpt_path=some.ckpt"], "leave ckpt_path out"),
        (["compare.space.optimizer.lr.low=1"], r"^compare\.space\.optimizer\.lr must have low < high"),
        (["compare.space.optimizer.lr.low=0"], "low > 0 with log"),
        (["compare.space.optimizer.lr.high=inf"], "low < high"),
        (["compare.space.optimizer.lr.low=few"], r"^compare\.space\.optimizer\.lr\.low must be a number, got 'few'"),
        (["compare.space.optimizer.lr.log=maybe"], r"^compare\.space\.optimizer\.lr\.log must be true or false"),
        (["~compare.space.optimizer.lr.high"], r"^compare\.space\.optimizer\.lr needs high"),
        (["+compare.space.optimizer.lr.lowest=1"], "has no argument 'lowest'"),
        (["compare.space.optimizer.lr=0.1"], r"lr must be a list of values, or a block of low, high, log, got 0\.1"),
        (["compare.space.loss.taylor_ce.order=[]"], r"order must be a list of values, or a block"),
        (["compare.space=3"], r"^compare\.space must be a block or null, got 3"),
    ],
)
def test_bad_values(overrides, error, trained, tmp_path):
    with pytest.raises((ValueError, TypeError), match=error):
        run(ll.compose("compare.trials=2", *overrides), tmp_path)
    assert not trained


@pytest.mark.parametrize("key", ["compare.space", "compare.space.optimizer", "compare.space.optimizer.lr"])
def test_what_is_null_is_not_drawn(key, trained, tmp_path):
    run(
        ll.compose(
            "compare.trials=3", f"{key}=null", "compare.space.loss=null" if key != "compare.space" else "seed=0"
        ),
        tmp_path,
    )
    assert len({cfg.optimizer.lr for cfg in trained}) == 1
    assert len({cfg.loss.gamma for cfg in trained}) == 1
    assert len({str(cfg.regularizer) for cfg in trained}) == (1 if key == "compare.space" else 3)


@pytest.mark.usefixtures("trained")
def test_where_all_diverge_the_first_error_is_said(tmp_path):
    with pytest.raises(FloatingPointError, match="every trial has diverged, the first with: diverged"):
        run(ll.compose("compare.trials=1", "optimizer.lr=1"), tmp_path)


@pytest.mark.usefixtures("no_figures")
def test_a_search_for_real(tmp_path):
    quick = ["data.positives=50", "data.negatives=90", "trainer.max_epochs=1", "callbacks=none", "logger=none"]
    trained = run(ll.compose("compare.trials=2", *quick), tmp_path)
    chosen = trained.result["trials"][trained.result["chosen_trial"]]
    assert trained.result["metrics"]["val/average_precision"] == chosen["score"]
    assert trained.result["chosen_by"] == "val/average_precision"
    assert trained.folder == tmp_path
