"""Gradients of the architecture parameters against autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from nichenas.core.gradient.relaxations import RELAXATIONS
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.steps import second_order_costs
from nichenas.core.gradient.steps import summed
from nichenas.core.gradient.steps import weight_gradients
from tests.core.gradient.toy import toy


def loss_of(supernet: Any, batch: tuple[Tensor, Tensor], z: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
    mixes = {"cell": z.expand(2, *z.shape)}
    outputs = functional_call(supernet, weights or dict(supernet.named_parameters()), (batch[0], mixes))
    return torch.nn.functional.cross_entropy(outputs, batch[1])


def surrogate_gradient(mix: Mix, costs: dict[str, Tensor], alpha: dict[str, Any]) -> Tensor:
    (gradient,) = torch.autograd.grad(mix.surrogate(summed(costs)), [alpha["cell"]])
    return gradient


@pytest.mark.parametrize("relaxation", ["softmax", "sigmoid"])
def test_first_order_gradient_is_that_of_the_loss(relaxation: str) -> None:
    supernet, alpha, _, batch = toy()
    mix = RELAXATIONS[relaxation]().mix(alpha, 0.7, torch.Generator())
    found = surrogate_gradient(mix, architecture_costs(supernet, batch, mix).costs, alpha)
    squash = torch.softmax(alpha["cell"] / 0.7, 1) if relaxation == "softmax" else torch.sigmoid(alpha["cell"] / 0.7)
    (wanted,) = torch.autograd.grad(loss_of(supernet, batch, squash), [alpha["cell"]])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    assert all(p.grad is None for p in supernet.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("hessian", ["finite-difference", "exact"])
def test_second_order_gradient_is_that_of_the_unrolled_step(momentum: float, decay: float, hessian: Any) -> None:
    supernet, alpha, train, held_out = toy(1)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1.0, momentum=momentum, weight_decay=decay)
    mix = Softmax().mix(alpha, 1.0, torch.Generator())
    for _ in range(2):  # fills the momentum
        weight_gradients(supernet, train, mix)
        optimizer.step()
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    costs = second_order_costs(supernet, train, held_out, mix, optimizer, hessian).costs
    found = surrogate_gradient(mix, costs, alpha)
    for name, p in supernet.named_parameters():
        assert torch.equal(before[name], p), "the weights must be left as they were"

    names = [name for name, _ in supernet.named_parameters()]
    z = torch.softmax(alpha["cell"], 1)
    gradients = torch.autograd.grad(loss_of(supernet, train, z), list(supernet.parameters()), create_graph=True)
    stepped = {}
    for name, p, g in zip(names, supernet.parameters(), gradients, strict=True):
        buffer = optimizer.state[p].get("momentum_buffer")
        direction = g + decay * p.detach() + (momentum * buffer if momentum and buffer is not None else 0)
        stepped[name] = p.detach() - direction
    (wanted,) = torch.autograd.grad(loss_of(supernet, held_out, z, stepped), [alpha["cell"]])
    # The finite difference is exact to second order in its small step.
    close = {"rtol": 1e-10, "atol": 1e-12} if hessian == "exact" else {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(found, wanted, **close)
    (first,) = torch.autograd.grad(loss_of(supernet, held_out, torch.softmax(alpha["cell"], 1)), [alpha["cell"]])
    assert float((wanted - first).abs().max()) > 1e-3, "the second-order term must matter here"


def test_learning_rates_that_differ_scale_their_parts() -> None:
    """Both ways to the product agree, with a part of the weights that does not move at all."""
    supernet, alpha, train, held_out = toy(3)
    mix = Softmax().mix(alpha, 1.0, torch.Generator())
    groups = [
        {"params": list(supernet.weights), "lr": 0.3},
        {"params": list(supernet.classifier.parameters()), "lr": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.3)
    one, other = (
        second_order_costs(supernet, train, held_out, mix, optimizer, how).costs["cell"]  # type: ignore[arg-type]
        for how in ("exact", "finite-difference")
    )
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)
    still = torch.optim.SGD(supernet.parameters(), lr=0.0)
    plain = architecture_costs(supernet, held_out, mix).costs["cell"]
    for how in ("exact", "finite-difference"):
        found = second_order_costs(supernet, train, held_out, mix, still, how).costs["cell"]  # type: ignore[arg-type]
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-14)


def test_a_coarser_perturbation_is_less_exact() -> None:
    supernet, alpha, train, held_out = toy(1)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1.0)
    mix = Softmax().mix(alpha, 1.0, torch.Generator())

    def costs(*how: Any) -> Tensor:
        return second_order_costs(supernet, train, held_out, mix, optimizer, *how).costs["cell"]

    exact = costs("exact")
    errors = [float((costs("finite-difference", r) - exact).abs().max()) for r in (1.0, 0.1, 0.01)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 0


def test_single_level_costs_come_from_the_weights_own_pass() -> None:
    supernet, alpha, batch, _ = toy(2)
    mix = Softmax().mix(alpha, 1.0, torch.Generator())
    together = weight_gradients(supernet, batch, mix, costs=True)
    gradients = [p.grad.clone() for p in supernet.parameters() if p.grad is not None]
    alone = architecture_costs(supernet, batch, mix)
    torch.testing.assert_close(together.costs["cell"], alone.costs["cell"], rtol=0, atol=0)
    weight_gradients(supernet, batch, mix)
    for kept, p in zip(gradients, supernet.parameters(), strict=True):
        torch.testing.assert_close(kept, p.grad, rtol=0, atol=0)


def test_costs_are_inner_products_and_none_costs_nothing() -> None:
    """c = <dL/dx_j, O_k(x_i)>, by cell; the sum over cells is the gradient by the shared mixture."""
    supernet, alpha, batch, _ = toy(3)
    mix = Softmax().mix(alpha, 1.0, torch.Generator())
    costs = architecture_costs(supernet, batch, mix).costs["cell"]
    assert costs.shape == (2, 2, 4)
    assert torch.count_nonzero(costs[:, :, 0]) == 0
    z = mix.values["cell"].detach().requires_grad_()
    (wanted,) = torch.autograd.grad(loss_of(supernet, batch, z), [z])
    torch.testing.assert_close(costs.sum(0), wanted)


def test_single_path_gradient_is_the_score_function() -> None:
    supernet, alpha, batch, _ = toy(4)
    generator = torch.Generator().manual_seed(0)
    mix = RELAXATIONS["single-path"]().mix(alpha, 1.0, generator)
    assert mix.active is not None
    assert mix.values["cell"].sum(1).tolist() == [1.0, 1.0]
    costs = architecture_costs(supernet, batch, mix).costs
    found = surrogate_gradient(mix, costs, alpha)
    p = torch.softmax(alpha["cell"].detach(), 1)
    chosen = mix.values["cell"]
    cost = (costs["cell"].sum(0) * chosen).sum(1, keepdim=True)
    torch.testing.assert_close(found, cost * (chosen - p))


def test_single_path_runs_only_what_was_drawn() -> None:
    supernet, alpha, batch, _ = toy(5)
    mix = RELAXATIONS["single-path"]().mix(alpha, 1.0, torch.Generator().manual_seed(3))
    assert mix.active is not None
    costs = architecture_costs(supernet, batch, mix).costs["cell"].sum(0)
    assert torch.count_nonzero(costs[~mix.active["cell"]]) == 0
