"""Layers on bits, for inference only."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.larq.geometry import same_padding
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.larq.layers import QuantDense
from nichenas.domains.binary.limits import Limits
from nichenas.domains.binary.packed_kernel import PackedKernel
from nichenas.domains.binary.packed_kernel import binary_conv2d
from nichenas.domains.binary.packed_kernel import binary_linear


class PackedConv2d(nn.Module):
    """A trained :class:`~nichenas.domains.binary.convolution.BinaryConv2d` on bits; for inference only."""

    binary = True

    def __init__(self, conv: BinaryConv2d) -> None:
        super().__init__()
        if not conv.binary:
            raise ValueError("only convolutions with binary input and kernel can be packed")
        self.kernel = PackedKernel(conv.weight, conv.groups)
        self.stride, self.dilation = conv.stride, conv.dilation
        self.padding = paddings_of(conv)
        scale = conv.scales()
        self.scale: Tensor | None
        self.register_buffer("scale", None if scale is None else scale.detach().clone())
        self.activation = copy.deepcopy(conv.activation)

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample: all of single bits."""
        return 0, macs_of(self.kernel) * y[0, 0].numel()

    def forward(
        self, x: Tensor, limits: Limits | None = None, order: Tensor | None = None, addend: Tensor | None = None
    ) -> Tensor:
        """Returns the scaled and activated convolution.

        Args:
            limits: from which values on inputs count as +1, in place of 0.
            order: of the channels, likewise of :func:`binary_conv2d`.
            addend: added at last.
        """
        window = self.stride, self.padding, self.dilation
        if x.dtype == torch.float32 and (self.activation is None or is_plain(self.activation, nn.PReLU)):
            return binary_conv2d(
                x,
                self.kernel,
                *window,
                limits=limits,
                scale=self.scale,
                slope=self.slope(),
                order=order,
                addend=addend,
            )
        y = _like(x, binary_conv2d(x, self.kernel, *window, limits=limits))
        if self.scale is not None:
            y = y * self.scale.view(-1, 1, 1)
        y = y if self.activation is None else self.activation(y)
        y = y if order is None else y[:, order]
        return y if addend is None else y + addend

    def slope(self) -> Tensor | None:
        """Returns the slope of the PReLU of every output, ``(outputs,)``; none without one."""
        if self.activation is None:
            return None
        weight = self.activation.weight.detach()
        return weight if weight.numel() == self.kernel.outputs else weight.expand(self.kernel.outputs).contiguous()


class PackedQuantConv2D(nn.Module):
    """A trained :class:`~nichenas.domains.binary.larq.layers.QuantConv2D` on bits; for inference only."""

    binary = True

    def __init__(self, layer: QuantConv2D) -> None:
        super().__init__()
        self.kernel = PackedKernel(layer.quantized(), layer.groups)
        self.strides, self.dilation_rate = layer.strides, layer.dilation_rate
        self.padding, self.pad_values = layer.padding, int(layer.pad_values)
        self.bias: Tensor | None
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.activation = layer.activation

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample: all of single bits."""
        return 0, macs_of(self.kernel) * y[0, 0].numel()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the convolution with bias and activation."""
        around, dropped = (0, 0) if isinstance(self.padding, str) else self.padding, (0, 0)
        if self.padding == "same":
            # The padding before and after an axis may differ, the kernel's do not: with some steps more on both sides
            # the windows are the same, and the first outputs are dropped.
            axes = zip(x.shape[2:], self.kernel.size, self.strides, self.dilation_rate, strict=True)
            both = [same_padding(*axis) for axis in axes]
            steps = [-(-(after - before) // s) for (before, after), s in zip(both, self.strides, strict=True)]
            wide = [before + k * s for (before, _), k, s in zip(both, steps, self.strides, strict=True)]
            around, dropped = (wide[0], wide[1]), (steps[0], steps[1])
        y = _like(x, binary_conv2d(x, self.kernel, self.strides, around, self.dilation_rate, pad_value=self.pad_values))
        if self.padding == "same":
            sizes = [-(-n // s) for n, s in zip(x.shape[2:], self.strides, strict=True)]
            y = y[:, :, dropped[0] : dropped[0] + sizes[0], dropped[1] : dropped[1] + sizes[1]]
        if self.bias is not None:
            y = y + self.bias.view(-1, 1, 1)
        return y if self.activation is None else self.activation(y)


class PackedQuantDense(nn.Module):
    """A trained :class:`~nichenas.domains.binary.larq.layers.QuantDense` on bits; for inference only."""

    binary = True

    def __init__(self, layer: QuantDense) -> None:
        super().__init__()
        self.kernel = PackedKernel(layer.quantized()[:, :, None, None])
        self.bias: Tensor | None
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.activation = layer.activation

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample: all of single bits."""
        return 0, macs_of(self.kernel) * (y[0].numel() // y.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Returns the product with bias and activation."""
        y = _like(x, binary_linear(x, self.kernel))
        y = y if self.bias is None else y + self.bias
        return y if self.activation is None else self.activation(y)


PACKED = (PackedConv2d, PackedQuantConv2D, PackedQuantDense)


def macs_of(kernel: PackedKernel) -> int:
    """Returns the multiply-adds of one place."""
    return kernel.outputs * kernel.channels * kernel.size[0] * kernel.size[1]


def paddings_of(conv: BinaryConv2d) -> tuple[int, int]:
    """Returns the pixels on both sides of each axis.

    Raises:
        ValueError: where ``same`` would need another number before an axis than after it.
    """
    if conv.padding == "valid":
        return 0, 0
    if not isinstance(conv.padding, str):
        return int(conv.padding[0]), int(conv.padding[1])
    reach = [spread * (size - 1) for spread, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    if any(total % 2 for total in reach):
        raise ValueError("only paddings that are alike on both sides can be packed")
    return reach[0] // 2, reach[1] // 2


def _like(x: Tensor, y: Tensor) -> Tensor:
    """Returns an output in the type of the input."""
    return y.to(x.dtype) if x.is_floating_point() else y


def is_plain(module: nn.Module, cls: type[nn.Module]) -> bool:
    """Whether a layer computes what its class does: no forward of its own, no hooks."""
    hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    return isinstance(module, cls) and type(module).forward is cls.forward and not hooks
