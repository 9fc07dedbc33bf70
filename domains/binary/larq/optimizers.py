"""Larq's optimizers for torch: Bop, one optimizer a kind of variable, scheduled hyper-parameters."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Literal

import torch
from torch import Tensor
from torch import nn

Number = float | Callable[[int], float]  # a schedule is given the step, from 0
Predicate = Callable[[nn.Parameter], bool]
Factory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

_log = logging.getLogger(__name__)


class Bop(torch.optim.Optimizer):
    """Flips binary weights whose mean gradient pushes long enough (Helwegen et al. 2019, algorithm 1).

    ``m <- m + gamma (g - m)``; w flips where ``w m > threshold``; where ``w m`` equals it exactly w becomes +1, as
    in Larq. Weights must be +-1 to begin with.

    There is no learning rate: torch's schedulers of learning rates find none to change, and take
    :class:`CaseOptimizer` as a whole.

    Args:
        threshold: or a schedule of it.
        gamma: or a schedule of it.
    """

    def __init__(self, params: Iterable[Any], threshold: Number = 1e-8, gamma: Number = 1e-4) -> None:
        super().__init__(params, {"threshold": threshold, "gamma": gamma})

    @staticmethod
    def is_binary_variable(parameter: nn.Parameter) -> bool:
        """Returns whether a parameter belongs to a binary kernel quantizer."""
        return getattr(parameter, "precision", 32) == 1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Takes one step."""
        loss = _loss_of(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"], state["momentum"] = 0, torch.zeros_like(weight)
                threshold, gamma = (_at(group[name], state["step"]) for name in ("threshold", "gamma"))
                momentum: Tensor = state["momentum"]
                momentum.add_(weight.grad - momentum, alpha=gamma)
                flipped = -torch.sign(weight * momentum - threshold) * weight
                weight.copy_(torch.where(flipped >= 0, 1.0, -1.0))
                state["step"] += 1
        return loss


def _loss_of(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _at(value: Number, step: int) -> float:
    return float(value(step)) if callable(value) else float(value)


class CaseOptimizer(torch.optim.Optimizer):
    """Gives every parameter to the one optimizer whose predicate is true of it.

    Its groups of parameters are those of its optimizers, so that schedulers of learning rates and scalers of gradients
    find them; one without a learning rate, such as Bop's, is given one of 0 that nothing reads.

    Args:
        parameters: of the model.
        cases: (predicate, factory) pairs; the factory is given the list of its parameters.
        default_optimizer: factory for parameters that none claims; without it they are not trained, with a warning.

    Raises:
        TypeError: when a case is no pair of callables.
        ValueError: when two predicates claim a parameter, or one claims none at all.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *cases: tuple[Predicate, Factory],
        default_optimizer: Factory | None = None,
    ) -> None:
        for case in cases:
            if not (isinstance(case, tuple) and len(case) == 2 and callable(case[0]) and callable(case[1])):
                raise TypeError(f"a case is a pair (predicate, factory of an optimizer), not {case!r}")
        if default_optimizer is not None and not callable(default_optimizer):
            raise TypeError(f"default_optimizer is a factory of an optimizer, not {default_optimizer!r}")
        claimed: list[list[nn.Parameter]] = [[] for _ in cases]
        rest: list[nn.Parameter] = []
        everything = list(parameters)
        for parameter in everything:
            claims = [i for i, (predicate, _) in enumerate(cases) if predicate(parameter)]
            if len(claims) > 1:
                raise ValueError(f"a parameter of shape {tuple(parameter.shape)} is claimed by cases {claims}")
            (claimed[claims[0]] if claims else rest).append(parameter)
        for i, members in enumerate(claimed):
            if not members:
                raise ValueError(f"case {i} claims no parameter")
        self.optimizers = [factory(members) for (_, factory), members in zip(cases, claimed, strict=True)]
        if rest and default_optimizer is not None:
            self.optimizers.append(default_optimizer(rest))
        elif rest:
            _log.warning(
                "no case claims %d parameters and there is no default_optimizer: they are not trained", len(rest)
            )
        self._made = False
        super().__init__(everything, {})
        self._made = True

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Those of all optimizers, as they are."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:
            group.setdefault("lr", 0.0)
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        """Takes what torch's constructor sets, which is not kept."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuses groups beside those of the cases.

        Raises:
            ValueError: for any.
        """
        if self._made:
            raise ValueError("parameters are given to the cases when the optimizer is made")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizers": self.optimizers, "_made": True}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Takes one step of every optimizer; returns what the closure returns, which is called once."""
        loss = _loss_of(closure)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all optimizers."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the states in again."""
        for optimizer, part in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(part)


class HyperparameterScheduler:
    """Sets a hyper-parameter of an optimizer by a schedule.

    Args:
        schedule: of the epoch or step, from 0; one with two arguments is also given the current value.
        hyperparameter: name in the optimizer's groups, such as ``lr`` or ``gamma``.
        update_freq: when :meth:`step` or :meth:`epoch` sets it.

    Raises:
        ValueError: when the optimizer has no such hyper-parameter.
    """

    def __init__(
        self,
        schedule: Callable[..., float],
        hyperparameter: str,
        optimizer: torch.optim.Optimizer,
        update_freq: Literal["epoch", "step"] = "epoch",
    ) -> None:
        if hyperparameter not in optimizer.param_groups[0]:
            known = [name for name in optimizer.param_groups[0] if name != "params"]
            raise ValueError(f"{type(optimizer).__name__} has no '{hyperparameter}'; it has: {', '.join(known)}")
        self.schedule, self.hyperparameter, self.optimizer = schedule, hyperparameter, optimizer
        self.update_freq = update_freq
        self._counts = {"epoch": 0, "step": 0}

    def epoch(self) -> None:
        """Call it at the beginning of every epoch."""
        self._tick("epoch")

    def step(self) -> None:
        """Call it before every step."""
        self._tick("step")

    def _tick(self, what: str) -> None:
        if what == self.update_freq:
            for group in self.optimizer.param_groups:
                group[self.hyperparameter] = self._value(self._counts[what], group[self.hyperparameter])
        self._counts[what] += 1

    def _value(self, at: int, current: float) -> float:
        try:
            return float(self.schedule(at, current))
        except TypeError:
            return float(self.schedule(at))
