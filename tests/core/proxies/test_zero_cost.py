from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch import nn

from nichenas.core.capabilities.probing import Probe
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.proxies.zero_cost import score_all


def probe(network: nn.Module, inputs: Tensor, macs: float | None = None) -> Probe:
    return Probe(network, inputs, network, lambda outputs: (outputs**2).mean(), macs)


def linear() -> tuple[nn.Linear, Tensor]:
    network = nn.Linear(2, 1).double()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[2.0, -3.0]]))
        network.bias.fill_(0.5)
    return network, torch.tensor([[1.0, 1.0]], dtype=torch.float64)


def test_gradient_scores_of_a_linear_layer_by_hand() -> None:
    network, inputs = linear()  # output -0.5, loss 0.25, gradient of the loss to the output -1
    scores = score_all(probe(network, inputs, 2.0), list(ZERO_COST))
    assert all(score.seconds >= 0 for score in scores.values())
    found = {name: score.value for name, score in scores.items()}
    assert found["grad_norm"] == pytest.approx(math.sqrt(2))
    assert found["snip"] == pytest.approx(5)
    assert found["synflow"] == pytest.approx(math.log(5))  # |w| times ones, summed
    assert (found["parameters"], found["macs"]) == (3, 2)
    assert found["naswot"] is None  # no activation
    assert found["jacob_cov"] is None  # a single sample


def test_synflow_leaves_normalisations_out_and_puts_the_weights_back() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    bare = nn.Sequential(network[0], network[2], network[3], network[4])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    assert ZERO_COST["synflow"](probe(network, inputs)) == pytest.approx(ZERO_COST["synflow"](probe(bare, inputs)))
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert "forward" not in vars(network[1])


def test_naswot_counts_common_activations() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
    inputs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    # Codes 11 and 10: both agree with themselves twice, with each other once.
    assert ZERO_COST["naswot"](probe(network, inputs)) == pytest.approx(math.log(2 * 2 - 1 * 1))
    functional = Probe(network[0], inputs, lambda x: torch.relu(network[0](x)), lambda y: y.mean())
    assert ZERO_COST["naswot"](functional) == pytest.approx(math.log(3))


def test_jacob_cov_prefers_unlike_gradients() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(6, 4, dtype=torch.float64)
    same = nn.Linear(4, 3).double()  # its gradient is the same everywhere
    bent = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)).double()
    assert ZERO_COST["jacob_cov"](probe(bent, inputs)) > ZERO_COST["jacob_cov"](probe(same, inputs))


def test_scores_change_nothing_of_the_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(6, 4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (
        {name: score.value for name, score in score_all(probe(network, inputs), list(ZERO_COST)).items()}
        for _ in range(2)
    )
    assert first == second
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_jacob_cov_is_the_same_with_several_threads() -> None:
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(600, 8)
    alone = ZERO_COST["jacob_cov"](probe(network, inputs))
    torch.set_num_threads(3)
    assert {ZERO_COST["jacob_cov"](probe(network, inputs)) for _ in range(5)} == {alone}
