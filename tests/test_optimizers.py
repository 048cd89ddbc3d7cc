"""Optimizers and schedulers from names and mappings; learning rates against their closed forms."""

import functools
import inspect
import math
from pathlib import Path

import lightning_losses.conf
import pytest
import torch
import yaml
from torch import nn
from torch.optim import lr_scheduler

from lightning_losses.optimizers import build_optimizer, build_scheduler, check_resumable, learning_rate_of

CONF = Path(lightning_losses.conf.__path__[0])


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def torch_optimizers():
    classes = (getattr(torch.optim, name) for name in dir(torch.optim))
    return [cls for cls in classes if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)]


MATRICES_ONLY = {torch.optim.Muon} if hasattr(torch.optim, "Muon") else set()
GROUPED = [c for c in torch_optimizers() if c not in MATRICES_ONLY | {torch.optim.Optimizer, torch.optim.LBFGS}]


class TestOptimizer:
    @pytest.mark.parametrize("cls", GROUPED, ids=lambda cls: cls.__name__)
    @pytest.mark.parametrize("spelling", [str.lower, str, "torch.optim.{}".format])
    def test_any_of_torch_by_name_with_torchs_defaults(self, cls, spelling):
        module = net()
        optimizer = build_optimizer(module, spelling(cls.__name__))
        assert type(optimizer) is cls
        assert [group["name"] for group in optimizer.param_groups] == ["decay", "no_decay"]
        expected = cls(module.parameters()).defaults
        assert optimizer.defaults == expected
        decay = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
        assert decay == {"decay": expected.get("weight_decay", 0.0), "no_decay": 0.0}

    def test_lbfgs_takes_one_group(self):
        module = net()
        (group,) = build_optimizer(module, {"name": "lbfgs", "max_iter": 3}).param_groups
        assert len(group["params"]) == len(list(module.parameters()))
        assert group["max_iter"] == 3

    def test_arguments(self):
        spec = {
            "name": "adamw",
            "lr": 0.5,
            "weight_decay": 0.1,
            "exempt": ["bias"],
            "rules": {"2.*": {"lr": 0.2}},
            "betas": [0.8, 0.9],
            "fused": None,
        }
        module = net()
        optimizer = build_optimizer(module, spec)
        assert optimizer.defaults["betas"] == (0.8, 0.9)
        assert {g["name"]: (g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups} == {
            "decay": (0.5, 0.1, 2),
            "no_decay": (0.5, 0.0, 2),
            "2.*/decay": (0.2, 0.1, 1),
            "2.*/no_decay": (0.2, 0.0, 1),
        }
        assert spec["rules"] == {"2.*": {"lr": 0.2}}  # what was passed is left as it was

    def test_layer_decay_starts_from_the_learning_rate(self):
        optimizer = build_optimizer(net(), {"name": "sgd", "lr": 0.5, "layer_decay": 0.1})
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates["layer_2/decay"] == pytest.approx(0.5)
        assert rates["layer_0/decay"] == pytest.approx(0.005)

    def test_a_callable(self):
        module = net()
        optimizer = build_optimizer(module, lambda groups: torch.optim.SGD(groups, lr=0.5))
        assert [group["name"] for group in optimizer.param_groups] == ["decay", "no_decay"]
        with pytest.raises(ValueError, match=r"in no optimizer group: 0\.bias"):
            build_optimizer(module, lambda groups: torch.optim.SGD(groups[:1], lr=0.5))

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            ("adamx", ValueError, "optimizer must be one of .*, got 'adamx', did you mean .adam"),
            ({"lr": 0.1}, ValueError, "optimizer must have a name"),
            (3, TypeError, "optimizer must be a name or a mapping with a name, got 3"),
            ({"name": "sgd", "momentun": 0.9}, TypeError, "'sgd' has no argument 'momentun', did you mean 'momentum'"),
            ({"name": "rprop", "weight_decay": 0.1}, TypeError, "'rprop' has no argument 'weight_decay'"),
            ({"name": "sgd", "lr": -0.1}, ValueError, "lr must be a finite number >= 0, got -0.1"),
            ({"name": "sgd", "lr": math.inf}, ValueError, "lr must be a finite number >= 0, got inf"),
            ({"name": "adam", "weight_decay": math.nan}, ValueError, "weight_decay must be .* >= 0, got nan"),
            ({"name": "lbfgs", "rules": {"2.*": {"lr": 0.1}}}, ValueError, "'lbfgs' treats all parameters alike"),
        ],
    )
    def test_wrong_input(self, spec, error, message):
        with pytest.raises(error, match=message):
            build_optimizer(net(), spec)

    def test_learning_rate_of(self):
        module = net()
        optimizer = build_optimizer(module, {"name": "sgd", "lr": 0.5, "rules": {"2.*": {"lr": 0.2}}})
        rate = learning_rate_of(optimizer)
        assert [rate(module[0].weight), rate(module[2].bias), rate(nn.Parameter(torch.ones(1)))] == [0.5, 0.2, 0.0]

    def test_resuming_with_other_groups_is_explained(self):
        module = net()
        saved = build_optimizer(module, {"name": "adam", "rules": {"2.*": {"lr": 0.1}}}).state_dict()
        optimizer = build_optimizer(module, "adam")
        check_resumable(optimizer, optimizer.state_dict())
        with pytest.raises(
            ValueError, match=r"\['decay': 1 tensors.*'2.\*/no_decay': 1 tensors\], this run's are .* 4 "
        ):
            check_resumable(optimizer, saved)


def rates_of(spec, steps, length=None, momentum=0.9):
    """Learning rates of a run, from 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0, momentum=momentum)
    config = build_scheduler(optimizer, spec, length)
    scheduler = config["scheduler"]
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == pytest.approx(rates[-1:])
        optimizer.step()
        scheduler.step(*[float(step)] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else [])
    return rates


class TestScheduler:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("constant", [1, 1, 1, 1, 1]),
            ("cosine", [0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(5)]),
            ({"name": "cosine", "T_max": 2, "eta_min": 0.2}, [1, 0.6, 0.2, 0.6, 1]),
            ({"name": "exponential", "gamma": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625]),
            ("linear", [1, 0.75, 0.5, 0.25, 0]),
            ({"name": "polynomial", "power": 2.0}, [1, 0.75**2, 0.5**2, 0.25**2, 0]),
            ({"name": "step", "step_size": 2, "gamma": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
            ({"name": "multistep", "milestones": [1, 4], "gamma": 0.5}, [1, 0.5, 0.5, 0.5, 0.25]),
            ({"name": "StepLR", "step_size": 1, "gamma": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625]),
            ({"name": "lambdalr", "lr_lambda": lambda step: 1 / (1 + step)}, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
            # The metric, 0, 1, 2, ..., never improves after the first: half the rate after each second step.
            ({"name": "plateau", "patience": 1, "factor": 0.5}, [1, 1, 1, 0.5, 0.5]),
        ],
    )
    def test_rates(self, spec, expected):
        assert rates_of(spec, len(expected), length=4) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("constant", [0.25, 0.5, 0.75, 1, 1, 1]),
            ("linear", [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]),
            ({"name": "step", "step_size": 2, "gamma": 0.1}, [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1]),
            ({"name": "plateau", "patience": 1, "factor": 0.5}, [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5, 0.25]),
        ],
    )
    def test_warmup(self, spec, expected):
        spec = {"name": spec} if isinstance(spec, str) else spec
        assert rates_of({**spec, "warmup": 3}, len(expected), length=7) == pytest.approx(expected)

    def test_one_cycle_peaks_at_the_optimizers_own_rate(self):
        rates = rates_of({"name": "one_cycle", "pct_start": 0.5}, steps=10, length=10)
        assert max(rates) == pytest.approx(1.0, abs=0.02)
        assert rates[0] == pytest.approx(1 / 25)  # div_factor

    def test_a_length_counts_intervals_not_scheduler_steps(self):
        assert rates_of({"name": "linear", "frequency": 2}, 3, length=4) == pytest.approx([1, 0.5, 0])

    def test_warmup_of_a_plateau_survives_a_checkpoint(self):
        def build():
            optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
            return optimizer, build_scheduler(optimizer, {"name": "plateau", "warmup": 3})["scheduler"]

        optimizer, scheduler = build()
        scheduler.step(0.0)
        restored_optimizer, restored = build()
        restored_optimizer.load_state_dict(optimizer.state_dict())
        restored.load_state_dict(scheduler.state_dict())
        rates = []
        for _ in range(3):
            restored.step(0.0)
            rates.append(restored_optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx([0.75, 1, 1])

    @pytest.mark.parametrize("spec", [None, {}, {"name": None}])
    def test_none(self, spec):
        assert build_scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))]), spec) is None

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("plateau", {"interval": "epoch", "frequency": 1, "monitor": "val/loss"}),
            (
                {"name": "plateau", "monitor": "val/auroc", "mode": "max"},
                {"interval": "epoch", "frequency": 1, "monitor": "val/auroc"},
            ),
            ({"name": "constant", "interval": "step", "frequency": 5}, {"interval": "step", "frequency": 5}),
        ],
    )
    def test_what_lightning_is_told(self, spec, expected):
        config = build_scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))]), spec)
        assert isinstance(config.pop("scheduler"), lr_scheduler.LRScheduler)
        assert config == expected

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            ("cosin", ValueError, "scheduler must be one of .*, got 'cosin', did you mean 'cosine'"),
            ("cosine", ValueError, "'cosine' needs T_max: the length of the run is not known here"),
            ("exponentiallr", ValueError, "'exponentiallr' needs gamma"),
            ({"name": "cosine", "tmax": 3}, TypeError, "'cosine' has no argument 'tmax', did you mean 'T_max'"),
            ({"name": "step", "interval": "batch"}, ValueError, "interval must be one of 'epoch', 'step', got 'batch'"),
            ({"name": "step", "frequency": 0}, ValueError, "frequency must be an integer >= 1, got 0"),
            ({"name": "step", "warmup": -1}, ValueError, "warmup must be an integer >= 0, got -1"),
            ({"name": "step", "warmup": 0.5}, ValueError, "warmup must be an integer >= 0, got 0.5"),
            ({"name": "one_cycle", "total_steps": 9, "warmup": 1}, ValueError, "'one_cycle' warms up by itself"),
            ({"name": "plateau", "monitor": None}, ValueError, "'plateau' needs monitor, such as 'val/loss'"),
        ],
    )
    def test_wrong_input(self, spec, error, message):
        with pytest.raises(error, match=message):
            build_scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))], momentum=0.9), spec)

    def test_a_warmup_as_long_as_the_run_is_refused(self):
        with pytest.raises(ValueError, match="warmup must be shorter than the run of 4 scheduler steps, got 4"):
            rates_of({"name": "cosine", "warmup": 4}, 1, length=4)


def files(group):
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / group).glob("*.yaml"))}


@pytest.mark.parametrize("name", files("optimizer"))
def test_the_optimizers_files_hold_all_arguments_with_their_defaults(name):
    config = files("optimizer")[name]
    cls = type(build_optimizer(net(), name))
    defaults = {key: value.default for key, value in inspect.signature(cls).parameters.items() if key != "params"}
    ours = {"exempt": ["bias", "norm", "scale"], "rules": {}, "layer_decay": None}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    assert {key: value for key, value in given.items() if key in defaults} == defaults
    assert {key: value for key, value in config.items() if key in ours}.items() <= ours.items()
    assert config.keys() - defaults.keys() - ours.keys() == {"name"}
    built = build_optimizer(net(), config)
    assert built.defaults == build_optimizer(net(), name).defaults


@pytest.mark.parametrize("name", sorted(files("scheduler").keys() - {"none"}))
def test_the_schedulers_files_hold_all_arguments(name):
    config = files("scheduler")[name]
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], momentum=0.9)
    scheduler = build_scheduler(optimizer, config, length=20)["scheduler"]
    arguments = inspect.signature(type(scheduler)).parameters.keys() - {"optimizer", "last_epoch"}
    assert config.keys() == {"name", "interval", "frequency", "monitor", "warmup", *arguments}


def test_a_callables_own_weight_decay_holds() -> None:
    build = functools.partial(torch.optim.AdamW, weight_decay=0.1)
    groups = build_optimizer(nn.Linear(2, 3), build).param_groups
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("decay", 0.1), ("no_decay", 0.0)]


def test_resuming_with_another_optimizer_is_explained() -> None:
    net = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="made with another optimizer than SGD"):
        check_resumable(build_optimizer(net, "sgd"), build_optimizer(net, "adam").state_dict())
