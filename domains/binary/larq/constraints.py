"""Larq's weight constraint, and how constraints are applied with torch's optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.utils.hooks import RemovableHandle

from nichenas.core.errors import did_you_mean

Constraint = Callable[[Tensor], Tensor]


class WeightClip:
    """Clamps weights to ``[-clip_value, clip_value]``; latent weights beyond would get no gradient."""

    def __init__(self, clip_value: float = 1.0) -> None:
        self.clip_value = clip_value

    def __call__(self, weights: Tensor) -> Tensor:
        """Returns the clamped weights."""
        return weights.clamp(-self.clip_value, self.clip_value)

    def get_config(self) -> dict[str, Any]:
        """Returns the argument."""
        return {"clip_value": self.clip_value}


weight_clip = WeightClip
_KNOWN = {"weight_clip": WeightClip, "WeightClip": WeightClip}


def get_constraint(identifier: str | Constraint | None) -> Constraint | None:
    """Returns the constraint that a name stands for; a callable is returned as it is.

    Raises:
        ValueError: for an unknown name, or a class in place of an instance.
    """
    if isinstance(identifier, type):
        raise ValueError(f"give an instance, {identifier.__name__}(), not the class {identifier.__name__}")
    if identifier is None or callable(identifier):
        return identifier
    if identifier in _KNOWN:
        return _KNOWN[identifier]()
    raise ValueError(f"unknown constraint '{identifier}'{did_you_mean(identifier, _KNOWN)}; allowed: weight_clip")


@torch.no_grad()
def apply_constraints(model: nn.Module) -> None:
    """Applies every layer's constraints to its weights in place."""
    for module in model.modules():
        for name, constraint in getattr(module, "constraints", {}).items():
            weights = module.get_parameter(name)
            weights.copy_(constraint(weights))


def constrain(model: nn.Module, optimizer: torch.optim.Optimizer) -> RemovableHandle:
    """Applies a model's constraints after every step of an optimizer; returns the handle that undoes it."""
    return optimizer.register_step_post_hook(lambda *_: apply_constraints(model))
