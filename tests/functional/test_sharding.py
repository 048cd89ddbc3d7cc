"""Penalties and constraints on two ranks whose parameters FSDP2 has sharded equal those of one process."""

import copy
import subprocess
import sys

import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from lightning_losses import constraints as C
from lightning_losses import regularizers as R
from lightning_losses.param_groups import param_groups
from lightning_losses.parameters import parameter_roles

REGULARIZERS = [
    R.L1(0.1),
    R.L2(0.1),
    R.ElasticNet(0.1, 0.2),
    R.GroupLasso(0.1),
    R.Orthogonal(0.1),
    R.Spectral(0.1),
    R.L2SP(0.1),
    R.Custom(torch.linalg.vector_norm, 0.1),
]
CONSTRAINTS = [C.MaxNorm(0.5), C.MaxNorm(0.4, dim=0), C.MinMaxNorm(0.2, 0.3, 0.5), C.UnitNorm(), C.NonNeg()]


def network():
    """Sizes that two ranks do not share evenly, and one that leaves a rank with nothing."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Conv1d(7, 3, 2), nn.Linear(2, 1), nn.Embedding(5, 3))


def shift(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
            parameter.grad = None


def check_regularizer(regularizer, sharded, plain):
    twin = copy.deepcopy(regularizer)
    regularizer(sharded), twin(plain)  # L2SP starts here
    for step in (lambda term, module: term.add_gradient_(module), backward):
        shift(sharded), shift(plain)
        torch.testing.assert_close(step(regularizer, sharded), step(twin, plain), rtol=1e-5, atol=1e-6)
        for (name, own), other in zip(sharded.named_parameters(), plain.parameters(), strict=True):
            assert (own.grad is None) == (other.grad is None), name
            if own.grad is not None:
                torch.testing.assert_close(own.grad.full_tensor(), other.grad, rtol=0, atol=1e-6, msg=name)


def backward(term, module):
    value = term(module)
    value.backward()
    return value.detach()


def check_weights(sharded, plain):
    for (name, own), other in zip(sharded.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.full_tensor(), other.detach(), rtol=0, atol=1e-6, msg=name)


def on_each_rank(rank, file):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    sharded, plain = network(), network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (sharded[0], sharded[2], sharded):
        fully_shard(layer, mesh=mesh)

    assert parameter_roles(sharded) == parameter_roles(plain)
    sizes = [[(g["name"], len(g["params"])) for g in param_groups(module)] for module in (sharded, plain)]
    assert sizes[0] == sizes[1]
    for regularizer in REGULARIZERS:
        check_regularizer(regularizer, sharded, plain)
    for module in (sharded, plain):
        R.ProximalL1(1.0).prox_(module, lambda _: 1.7)
    check_weights(sharded, plain)
    assert R.ProximalL1(1.0).sparsity(sharded) == R.ProximalL1(1.0).sparsity(plain) > 0
    for constraint in CONSTRAINTS:
        constraint(sharded), copy.deepcopy(constraint)(plain)
        check_weights(sharded, plain)
    dist.destroy_process_group()


def test_two_ranks(tmp_path):
    command = [sys.executable, __file__, str(tmp_path / "rendezvous")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":  # a script of its own, whose processes can find it again
    multiprocessing.spawn(on_each_rank, args=(sys.argv[1],), nprocs=2)
