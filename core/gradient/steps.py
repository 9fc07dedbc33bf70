"""Steps of a gradient search: bi-level of first and second order, and single level.

The supernet is run on a copy of the mixture for every cell. The gradient by that copy is the cost of every
operation in every cell; the architecture parameters get the costs summed over cells, through the relaxation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Literal

import torch
from torch import Tensor
from torch import nn

from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.gradient.supernet import gradients_of

Batch = tuple[Any, Tensor]
OperationCosts = dict[str, Tensor]  # by group: (instances, edges, operations)

PERTURBATION = 0.01  # DARTS's R is this over the norm of the direction


@dataclass
class SupernetPass:
    """One run of the supernet.

    Attributes:
        costs: by group ``(instances, edges, operations)``; empty where they were not asked for.
    """

    losses: Tensor
    outputs: Tensor
    costs: OperationCosts


def copies(supernet: Supernet, mix: Mix, differentiable: bool) -> dict[str, Tensor]:
    """Returns the mixture of every cell on its own, ``(instances, edges, operations)`` by group."""
    result = {}
    for group in supernet.groups:
        values = mix.values[group.name].detach()
        result[group.name] = values.expand(group.instances, *values.shape).clone().requires_grad_(differentiable)
    return result


def architecture_costs(supernet: Supernet, batch: Batch, mix: Mix) -> SupernetPass:
    """Returns the costs on a batch; the weights get no gradient."""
    inputs, targets = batch
    leaves = copies(supernet, mix, differentiable=True)
    outputs = supernet(inputs, leaves, mix.active)
    losses = supernet.sample_losses(outputs, targets)
    found = gradients_of(losses.mean(), list(leaves.values()))
    return SupernetPass(losses.detach(), outputs.detach(), dict(zip(leaves, found, strict=True)))


def weight_gradients(supernet: Supernet, batch: Batch, mix: Mix, costs: bool = False) -> SupernetPass:
    """Sets the gradients of the weights on a batch; with ``costs`` also returns those, from the same pass."""
    inputs, targets = batch
    supernet.zero_grad(set_to_none=True)
    leaves = copies(supernet, mix, differentiable=costs)
    outputs = supernet(inputs, leaves, mix.active)
    losses = supernet.sample_losses(outputs, targets)
    losses.mean().backward()
    found = {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in leaves.items()} if costs else {}
    return SupernetPass(losses.detach(), outputs.detach(), found)


def summed(costs: Mapping[str, Tensor]) -> OperationCosts:
    """Returns the costs summed over the cells that share parameters, ``(edges, operations)`` by group."""
    return {name: cost.sum(0) for name, cost in costs.items()}


def second_order_costs(
    supernet: Supernet,
    train: Batch,
    held_out: Batch,
    mix: Mix,
    optimizer: torch.optim.Optimizer,
    hessian: Literal["finite-difference", "exact"] = "finite-difference",
    perturbation: float = PERTURBATION,
) -> SupernetPass:
    """Returns the costs on held-out data after one virtual step of the weights on training data.

    ``c_val(w') - eta H v`` with ``w' = w - eta (momentum buf + grad + decay w)``, ``v = grad L_val(w')`` and ``H`` the
    mixed second derivative of ``L_train`` at ``w`` (Liu et al. 2019, equation 7). With an adaptive optimizer the
    virtual step is a plain one at its learning rate. The weights are left as they were.

    Args:
        hessian: ``finite-difference`` takes ``H v`` as ``(c_train(w+) - c_train(w-)) / (2R)`` with ``w+- = w +- R v``
            and ``R = perturbation / |v|`` (equation 8). ``exact`` differentiates the gradient once more. Where the
            supernet has steps, such as signs, both sides of a difference lie on other stairs; the exact product goes
            through the estimator of their gradients instead, as the gradient itself does.
    """
    parameters = [p for p in supernet.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    eta = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    rates = [eta.get(id(p), 0.0) for p in parameters]
    weight_gradients(supernet, train, mix)
    with torch.no_grad():
        for p, rate, direction in zip(parameters, rates, _directions(parameters, optimizer), strict=True):
            p.sub_(direction, alpha=rate)
    result = weight_gradients(supernet, held_out, mix, costs=True)
    towards = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
    # The learning rate may differ between parameters, so it scales the direction and not the quotient.
    largest = max(rates) or 1.0
    scaled = [rate / largest * v for rate, v in zip(rates, towards, strict=True)]
    if hessian == "exact":
        correction = _exact_product(supernet, train, mix, parameters, scaled)
    else:
        norm = torch.sqrt(sum((v.double() ** 2).sum() for v in towards))  # type: ignore[arg-type]
        correction = _difference(supernet, train, mix, parameters, scaled, perturbation / max(float(norm), 1e-30))
    supernet.zero_grad(set_to_none=True)
    for name, product in correction.items():
        result.costs[name] = result.costs[name] - largest * product
    return result


def _difference(
    supernet: Supernet, batch: Batch, mix: Mix, parameters: list[nn.Parameter], direction: list[Tensor], step: float
) -> OperationCosts:
    """Returns the change of the costs along a direction of the weights, by central differences."""
    before = [p.detach().clone() for p in parameters]
    sides = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for p, old, v in zip(parameters, before, direction, strict=True):
                p.copy_(old).add_(v, alpha=sign * step)
        sides.append(architecture_costs(supernet, batch, mix).costs)
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
    plus, minus = sides
    return {name: (plus[name] - minus[name]) / (2 * step) for name in plus}


def _exact_product(
    supernet: Supernet, batch: Batch, mix: Mix, parameters: list[nn.Parameter], direction: list[Tensor]
) -> OperationCosts:
    """Returns the derivative of the costs along a direction of the weights."""
    inputs, targets = batch
    leaves = copies(supernet, mix, differentiable=True)
    with supernet.twice_differentiable():
        loss = supernet.sample_losses(supernet(inputs, leaves, mix.active), targets).mean()
        found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        along = [(g * v).sum() for g, v in zip(found, direction, strict=True) if g is not None]
        return dict(zip(leaves, gradients_of(torch.stack(along).sum(), list(leaves.values())), strict=True))


def _directions(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    settings = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    result = []
    for p in parameters:
        group = settings.get(id(p), {})
        direction = torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        direction.add_(p.detach(), alpha=group.get("weight_decay", 0.0))
        buffer = optimizer.state.get(p, {}).get("momentum_buffer")
        if buffer is not None:
            direction.add_(buffer, alpha=group.get("momentum", 0.0))
        result.append(direction)
    return result


def clip_gradients(parameters: list[Any], limit: float | None) -> None:
    """Scales gradients down to a norm."""
    if limit is not None:
        nn.utils.clip_grad_norm_(parameters, limit)
