"""The peak of a job is its own, not that of the one before it in the same process."""

import sys
import weakref

import pytest
import torch

from lightning_losses.app.memory import forget_peak, peak_memory

HUNDRED_MB = 25 * 2**20  # numbers of 4 bytes


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is known on Linux")
def test_a_peak_is_forgotten():
    forget_peak()
    before = peak_memory()["process"]
    large = torch.ones(HUNDRED_MB)
    assert before + 90 < peak_memory()["process"] < before + 130
    del large
    assert peak_memory()["process"] > before + 90
    forget_peak()
    assert peak_memory()["process"] < before + 30


def test_the_job_before_is_given_back():
    module, trainer = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    module.trainer, trainer.module = [trainer], [module]
    before = weakref.ref(module)
    del module, trainer
    assert before() is not None
    forget_peak()
    assert before() is None
