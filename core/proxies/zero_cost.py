"""Scores of untrained networks, from one batch, that are meant to rank architectures (zero-cost proxies).

Each takes a :class:`~nichenas.core.domain.Probe` and so any torch model that a domain builds. Where a paper names the
layers it was made for, what is used is the nearest thing that every network has: weights are parameters of two or more
dimensions, activations those of the ReLU family.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from nichenas.core.capabilities.precomputed import UntrainedScore
from nichenas.core.capabilities.probing import Probe
from nichenas.core.registry import Registry
from nichenas.core.threads import single_thread

Score = Callable[[Probe], float]
ZERO_COST: Registry[Score] = Registry("zero-cost proxy", "nichenas.zero_cost")
_RELUS = (torch.relu, torch.relu_, F.relu, F.relu_, F.leaky_relu, F.relu6, F.prelu, torch.prelu, Tensor.relu)


def score_all(probe: Probe, names: list[str]) -> dict[str, UntrainedScore]:
    """Returns the scores of a network by name."""
    found: dict[str, UntrainedScore] = {}
    for name in names:
        begun = time.perf_counter()
        try:
            value = ZERO_COST[name](probe)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # an eigenvalue solver that did not converge
            value = math.nan
        found[name] = UntrainedScore(value if math.isfinite(value) else None, time.perf_counter() - begun)
    return found


def _weights(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.dim() >= 2 and parameter.requires_grad]


def _gradients(network: nn.Module, scalar: Tensor) -> list[tuple[Tensor, Tensor]]:
    weights = _weights(network)
    found = torch.autograd.grad(scalar, weights, allow_unused=True)
    return [(weight.detach(), grad) for weight, grad in zip(weights, found, strict=True) if grad is not None]


@ZERO_COST.register("parameters")
def parameters(probe: Probe) -> float:
    """Returns the number of parameters."""
    return float(sum(parameter.numel() for parameter in probe.network.parameters()))


@ZERO_COST.register("macs")
def macs(probe: Probe) -> float:
    """Returns the multiply-adds; nan where the domain does not count them."""
    return math.nan if probe.macs is None else float(probe.macs)


@ZERO_COST.register("grad_norm")
def grad_norm(probe: Probe) -> float:
    """Returns the sum of the weights' gradient norms (Abdelfattah et al. 2021, section 3.1)."""
    loss = probe.loss(probe.forward(probe.inputs))
    return float(sum(grad.norm() for _, grad in _gradients(probe.network, loss)))


@ZERO_COST.register("snip")
def snip(probe: Probe) -> float:
    """Returns the sum of ``|w dL/dw|`` (SNIP, Lee et al. 2019, summed up as in Abdelfattah et al. 2021)."""
    loss = probe.loss(probe.forward(probe.inputs))
    return float(sum((weight * grad).abs().sum() for weight, grad in _gradients(probe.network, loss)))


@ZERO_COST.register("synflow")
def synflow(probe: Probe) -> float:
    """Returns the logarithm of the sum of ``w dR/dw``, R the output for ones through ``|w|`` (Tanaka et al. 2020).

    Normalisations are left out, as in Abdelfattah et al. 2021. The logarithm ranks as the sum does.
    """
    with _absolute(probe.network), _without_normalisation(probe.network):
        output = probe.forward(torch.ones_like(probe.inputs)).sum()
        total = sum(float((weight * grad).sum()) for weight, grad in _gradients(probe.network, output))
    return math.log(total) if total > 0 else math.nan


@ZERO_COST.register("jacob_cov")
def jacob_cov(probe: Probe) -> float:
    """Returns how unlike the inputs' gradients are: ``-sum(log(e + k) + 1 / (e + k))``, e the eigenvalues of their
    correlations and k = 1e-5 (Mellor et al. 2020, the first version of the paper).
    """  # noqa: D205
    inputs = probe.inputs.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(probe.forward(inputs).sum(), inputs)
    rows = jacobian.flatten(1).double()
    rows = rows[rows.std(1) > 0]
    if len(rows) < 2:
        return math.nan
    with single_thread():  # with more, eigenvalues near 0 differ between two calls, and k magnifies it
        eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(rows)).clamp_min(0) + 1e-5
    return float(-(eigenvalues.log() + 1 / eigenvalues).sum())


@ZERO_COST.register("naswot")
def naswot(probe: Probe) -> float:
    """Returns ``log |det K|``, K how many activations two samples have in common (NASWOT, Mellor et al. 2021).

    Only activations that have a row for every row of the output count; nan where there are none.
    """
    with torch.no_grad(), _Codes() as seen:
        outputs = probe.forward(probe.inputs)
    codes = [code.double() for code in seen.codes if code.shape[0] == outputs.shape[0]]
    if not codes:
        return math.nan
    kernel = sum(code @ code.T + (1 - code) @ (1 - code).T for code in codes)
    assert isinstance(kernel, Tensor)
    return float(torch.linalg.slogdet(kernel)[1])


class _Codes(TorchFunctionMode):
    """Notes which inputs of the ReLU family are positive, ``(rows, units)`` each."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs a function, and looks at its input if it is one of the family."""
        if func in _RELUS and args[0].dim() > 1:
            self.codes.append((args[0] > 0).flatten(1))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _absolute(network: nn.Module) -> Iterator[None]:
    """Replaces all parameters by their absolute values inside the ``with`` block.

    The published code does so with buffers too; those are the statistics of normalisations, which are left out anyway.
    """
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        yield
    finally:
        network.load_state_dict(state)


@contextlib.contextmanager
def _without_normalisation(network: nn.Module) -> Iterator[None]:
    layers = [module for module in network.modules() if isinstance(module, _NormBase)]
    try:
        for layer in layers:
            layer.forward = lambda x, *_: x  # type: ignore[method-assign, assignment]
        yield
    finally:
        for layer in layers:
            del layer.forward
