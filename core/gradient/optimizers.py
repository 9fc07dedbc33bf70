"""Optimizers by settings, with weight decay kept from what it would harm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from nichenas.core.settings import Settings


class OptimizerSettings(Settings):
    """An optimizer.

    Attributes:
        kind: ``sgd``, with momentum; ``adam``, whose weight decay is part of the gradient; ``adamw``.
        lr: learning rate.
        momentum: of sgd.
        betas: of adam.
        weight_decay: of tensors with two or more axes; scales, slopes, normalisations and biases have none.
        clip: of the norm of the gradient; none for no limit.
    """

    kind: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    clip: float | None = Field(None, gt=0)

    def make(self, parameters: Iterable[nn.Parameter], weight_decay: float | None = None) -> torch.optim.Optimizer:
        """Returns the optimizer of some parameters.

        Args:
            weight_decay: in place of the settings' own.
        """
        decay = self.weight_decay if weight_decay is None else weight_decay
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for parameter in parameters:
            (decayed if parameter.dim() > 1 else free).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": members, "weight_decay": amount}
            for members, amount in ((decayed, decay), (free, 0.0))
            if members
        ]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, self.lr, self.momentum)
        if self.kind == "adam":
            return torch.optim.Adam(groups, self.lr, self.betas)
        return torch.optim.AdamW(groups, self.lr, self.betas)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
