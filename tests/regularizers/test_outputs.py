"""Penalties on the outputs of layers: values of each sample, which layers, hooks."""

import copy

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean(2))


class TestActivity:
    @pytest.mark.parametrize(
        ("term", "formula"),
        [
            (R.ActivityL1(0.3, where="head"), lambda a: 0.3 * a.abs().sum(1)),
            (R.ActivityL2(0.3, where="head"), lambda a: 0.3 * 0.5 * a.square().sum(1)),
        ],
    )
    def test_values_for_each_sample(self, term, formula):
        net, x = Net(), torch.randn(5, 2, 4)
        term.attach(net)
        output = net(x)
        values = term.pop()
        torch.testing.assert_close(values, formula(output))
        assert values.shape == (5,)
        assert values.requires_grad
        assert term.pop() is None

    @pytest.mark.parametrize(
        ("where", "layers"),
        [
            (None, ["conv", "head"]),
            ("*", ["", "conv", "norm", "head"]),
            ("conv", ["conv"]),
            (["conv", "no*"], ["conv", "norm"]),
        ],
    )
    def test_where(self, where, layers):
        net, x = Net(), torch.randn(5, 2, 4)
        outputs = {}
        for path, layer in net.named_modules():
            layer.register_forward_hook(lambda _layer, _input, output, path=path: outputs.update({path: output}))
        term = R.ActivityL1(1.0, where=where)
        term.attach(net)
        net(x)
        torch.testing.assert_close(term.pop(), sum(outputs[layer].abs().flatten(1).sum(1) for layer in layers))

    def test_where_takes_submodules(self):
        net, x = Net(), torch.randn(5, 2, 4)
        term = R.ActivityL1(1.0, where=net.conv)
        term.attach(net)
        net(x)
        torch.testing.assert_close(term.pop(), net.conv(x).abs().flatten(1).sum(1))

    def test_the_first_of_several_outputs_counts(self):
        net, x = nn.LSTM(2, 3, batch_first=True), torch.randn(5, 4, 2)
        term = R.ActivityL1(1.0)
        term.attach(net)
        output, _ = net(x)
        torch.testing.assert_close(term.pop(), output.abs().sum((1, 2)))

    def test_forwards_add_up_until_they_are_taken(self):
        net, x = nn.Linear(2, 3), torch.randn(5, 2)
        term = R.ActivityL1(1.0)
        term.attach(net)
        once = net(x).abs().sum(1)
        net(x)
        torch.testing.assert_close(term.pop(), 2 * once)

    def test_the_factor_is_the_one_when_it_is_taken(self):
        net = nn.Linear(2, 3)
        term = R.ActivityL1(1.0)
        term.attach(net)
        output = net(torch.randn(5, 2))
        term.factor = 0.1
        torch.testing.assert_close(term.pop(), 0.1 * output.abs().sum(1))

    def test_nothing_is_seen_after_detach(self):
        net = nn.Linear(2, 3)
        term = R.ActivityL1(1.0)
        term.attach(net)
        term.attach(net)
        assert len(net._forward_hooks) == 1
        net(torch.randn(5, 2))
        term.detach()
        assert term.pop() is None
        assert not net._forward_hooks

    def test_half_outputs_are_added_in_float32(self):
        net = nn.Linear(4, 3000).to(torch.bfloat16)
        term = R.ActivityL2(1.0)
        term.attach(net)
        output = net(torch.randn(5, 4, dtype=torch.bfloat16))
        torch.testing.assert_close(term.pop(), 0.5 * output.float().square().sum(1))

    def test_double_outputs_are_added_in_float64(self):
        net = nn.Linear(4, 3).double()
        term = R.ActivityL2(1.0)
        term.attach(net)
        output = net(torch.randn(5, 4, dtype=torch.float64))
        torch.testing.assert_close(term.pop(), 0.5 * output.square().sum(1))

    def test_an_empty_batch(self):
        net = nn.Linear(4, 3)
        term = R.ActivityL1(1.0)
        term.attach(net)
        net(torch.zeros(0, 4))
        assert term.pop().shape == (0,)

    def test_layers_that_disagree_about_the_batch(self):
        class Windows(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 1)

            def forward(self, x):
                return self.second(self.first(x).reshape(-1, 3))

        net = Windows()
        term = R.ActivityL1(1.0)
        term.attach(net)
        with pytest.raises(ValueError, match="Linear returned 20 samples, others returned 5"):
            net(torch.randn(5, 4, 2))

    def test_an_unknown_layer(self):
        with pytest.raises(ValueError, match="'haed' is no layer, did you mean 'head'"):
            R.ActivityL1(1.0, where="haed").attach(Net())

    def test_a_watched_module_can_be_copied_after_a_forward(self):
        net = nn.Linear(2, 3)
        net.term = R.ActivityL1(1.0)
        net.term.attach(net)
        net(torch.randn(5, 2))
        twin = copy.deepcopy(net)
        assert twin.term.pop() is None
        twin(torch.ones(4, 2))
        assert twin.term.pop().shape == (4,)
        assert net.term.pop().shape == (5,)
