import os

import hypothesis
import pytest
import torch

# Kernels for GPUs run everywhere in Triton's interpreter; Triton reads this when it is imported.
os.environ["TRITON_INTERPRET"] = "1"

# The same examples on every run and no deadline: a test fails because of the code, not because of the machine.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
