"""Blocks of packed networks done in one: normalisation, sign, convolution, scale, PReLU, shuffle and residual.

The normalisation is a comparison while inputs are packed, the others are done to outputs while they are at hand.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import ChannelShuffle
from nichenas.domains.binary.convolution import shuffle_order
from nichenas.domains.binary.limits import limits_of
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import exporting
from nichenas.domains.binary.operations import Residual
from nichenas.domains.binary.packed_kernel import kernel_arguments
from nichenas.domains.binary.packed_layers import PackedConv2d
from nichenas.domains.binary.packed_layers import is_plain


@dataclass(frozen=True)
class Plan:
    """All that the kernel of a block is given but images, and what it was made of.

    Attributes:
        tensors: the kernel's arguments between the images and what is added.
        geometry: those after it.
        parts: where each part of the block stands, the part, and its version where it has one.
        modules: all inner modules.
        eps: of the normalisation.
    """

    tensors: tuple[Any, ...]
    geometry: tuple[Any, ...]
    parts: tuple[tuple[dict[str, Any], str, Any, int | None], ...]
    modules: tuple[nn.Module, ...]
    eps: float

    def holds(self) -> bool:
        """Whether the block still consists of the same parts, none of them changed, and nobody looks into it.

        Tensors that are changed through ``.data`` are not noticed: torch does not count that.
        """
        norm: Any = self.modules[0]
        return (
            norm.eps == self.eps
            and not norm.training
            and all(
                not module._forward_hooks and not module._forward_pre_hooks and "forward" not in module.__dict__
                for module in self.modules
            )
            and all(
                place[name] is part and (version is None or part._version == version)
                for place, name, part, version in self.parts
            )
        )


class FoldedBlock(nn.Sequential):
    """A packed convolution with a normalisation before it, and perhaps a shuffle after it.

    Parts and state are those of the plain sequence. Where it cannot be done in one, the parts run one by one.
    """

    def __init__(self, *layers: Any) -> None:
        super().__init__(*layers)
        self._plan: Plan | None = None

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """Returns what the layers return one after the other, plus another tensor of that shape."""
        plan = self._plan_for(x)
        if plan is None:
            y = super().forward(x)
            return y if addend is None else y + addend
        rows = x.detach().permute(0, 2, 3, 1).contiguous()
        more = _NONE if addend is None else addend.detach().permute(0, 2, 3, 1).contiguous()
        y = kernels().packed_conv2d(rows, *plan.tensors, more, *plan.geometry[1:])
        return y.permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def _plan_for(self, x: Tensor) -> Plan | None:
        """Returns the plan for an input; none where the layers are to run one by one."""
        if (
            x.dtype != torch.float32
            or x.device.type != "cpu"
            or x.dim() != 4
            or self.training
            or (x.requires_grad and torch.is_grad_enabled())
            or torch.compiler.is_compiling()
            or exporting()
            or kernels() is None
        ):
            return None
        if self._plan is None or not self._plan.holds():
            self._plan = self._made()
        return self._plan if self._plan is not None and x.shape[1] == self._plan.geometry[0] else None

    def _made(self) -> Plan | None:
        """Returns the plan of the present parts; none where one of them cannot be folded (any more)."""
        layers = list(self)
        if not foldable(layers) or layers[0].training:
            return None
        norm, conv = layers[0], layers[1]
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(conv, PackedConv2d)
        if type(conv.activation) not in (nn.PReLU, type(None)):
            return None
        order = None
        if len(layers) > 2:
            assert isinstance(layers[2], ChannelShuffle)
            order = shuffle_order(conv.kernel.outputs, layers[2].groups)
        tensors, geometry = kernel_arguments(
            conv.kernel, conv.stride, conv.padding, conv.dilation, 0, limits_of(norm), conv.scale, conv.slope(), order
        )
        parts: list[tuple[dict[str, Any], str, Any, int | None]] = []
        for module in self.modules():
            for place in (module._modules, module._parameters, module._buffers):
                for name, part in place.items():
                    if name == "num_batches_tracked":
                        continue
                    if isinstance(part, Tensor) and part.is_inference():
                        return None  # torch does not count its changes
                    tracked = isinstance(part, Tensor)
                    parts.append((place, name, part, part._version if tracked else None))  # type: ignore[union-attr]
        inner = tuple(module for module in self.modules() if module is not self)
        plan = Plan(tensors, (conv.kernel.channels * conv.kernel.groups, *geometry), tuple(parts), inner, norm.eps)
        return plan if plan.holds() else None

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the plan, which is of these very parts."""
        return {**self.__dict__, "_plan": None}


_NONE = torch.empty(0)


class FoldedResidual(nn.Module):
    """A folded block plus its input."""

    def __init__(self, block: FoldedBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``block(x) + x``."""
        return self.block(x, x)  # type: ignore[no-any-return]


def foldable(layers: list[nn.Module]) -> bool:
    """Whether layers are a normalisation, a packed convolution, and perhaps a shuffle."""
    if not 2 <= len(layers) <= 3 or not is_plain(layers[0], nn.BatchNorm2d) or not is_plain(layers[1], PackedConv2d):
        return False
    mean = layers[0].running_mean
    shuffled = len(layers) == 2 or is_plain(layers[2], ChannelShuffle)
    return shuffled and mean is not None and mean.dtype == torch.float32  # type: ignore[union-attr]


def fold(network: nn.Module) -> nn.Module:
    """Returns a packed network with folded blocks; what is shared stays shared."""
    done: dict[int, nn.Module] = {}

    def of(module: nn.Module) -> nn.Module:
        if id(module) not in done:
            for name, child in module._modules.items():
                if child is not None:
                    module._modules[name] = of(child)
            done[id(module)] = _folded(module)
        return done[id(module)]

    return of(network)


def _folded(module: nn.Module) -> nn.Module:
    if type(module) is nn.Sequential and is_plain(module, nn.Sequential) and foldable(list(module)):
        return FoldedBlock(OrderedDict(module._modules)).eval()  # type: ignore[arg-type]
    if is_plain(module, Residual) and isinstance(module.block, FoldedBlock):
        return FoldedResidual(module.block).eval()
    return module
