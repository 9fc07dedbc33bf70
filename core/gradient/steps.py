"""Steps of a gradient search: bi-level of first and second order, and single level.

The supernet is run on a copy of the mixture for every cell. The gradient by that copy is the cost of every
operation in every cell; the architecture parameters get the costs summed over cells, through the relaxation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    supernet: Supernet, train: Batch, held_out: Batch, mix: Mix, optimizer: torch.optim.Optimizer
) -> SupernetPass:
    """Returns the costs on held-out data after one virtual step of the weights on training data.

    ``c_val(w') - eta (c_train(w+) - c_train(w-)) / (2R)`` with ``w' = w - eta (momentum buf + grad + decay w)``,
    ``w+- = w +- R v``, ``v = grad L_val(w')`` and ``R = 0.01 / |v|`` (Liu et al. 2019, equations 6 to 8). With
    an adaptive optimizer the virtual step is a plain one at its learning rate. The weights are left as they were.
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
    norm = torch.sqrt(sum((v.double() ** 2).sum() for v in towards))  # type: ignore[arg-type]
    step = PERTURBATION / max(float(norm), 1e-30)
    # The learning rate may differ between parameters, so it scales the direction and not the quotient.
    sides = []
    largest = max(rates) or 1.0
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for p, old, v, rate in zip(parameters, before, towards, rates, strict=True):
                p.copy_(old).add_(v, alpha=sign * step * rate / largest)
        sides.append(architecture_costs(supernet, train, mix).costs)
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
    supernet.zero_grad(set_to_none=True)
    plus, minus = sides
    for name in result.costs:
        result.costs[name] = result.costs[name] - largest * (plus[name] - minus[name]) / (2 * step)
    return result


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
