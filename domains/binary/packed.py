"""Inference on bits: binary convolutions and linear layers by xnor and popcount on packed signs.

A dot product of two vectors of +-1, n long, is ``n - 2 popcount(a xor b)`` of their bits. Weights are packed
once, 64 to a word; inputs are packed as they come. Results are whole numbers and equal the float simulation's
exactly. Without a compiler the packed weights are unpacked and torch convolves them: exact too, not faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.geometry import same_padding
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.larq.layers import QuantDense
from nichenas.domains.binary.larq.quantizers import ApproxSign
from nichenas.domains.binary.larq.quantizers import SteSign
from nichenas.domains.binary.larq.quantizers import SwishSign
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.native.functions import exporting

OUT = 8  # outputs that the kernel counts together; kernels.cpp has the same number
WORD = 64
PAD_VALUES = (-1, 0, 1)
SIGNS = (SteSign, ApproxSign, SwishSign)  # quantizers whose values are signs


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


class PackedKernel(nn.Module):
    """Signs of a kernel, one bit each: what is stored is the buffer ``bits``, and what convolutions read is made of it.

    Args:
        weight: ``(outputs, channels / groups, height, width)``; values >= 0 are +1.
        groups: of the convolution.
    """

    def __init__(self, weight: Tensor, groups: int = 1) -> None:
        super().__init__()
        outputs, channels, height, width = weight.shape
        self.outputs, self.channels, self.size, self.groups = outputs, channels, (height, width), groups
        signs = (weight.detach().cpu() >= 0).permute(0, 2, 3, 1).reshape(-1).numpy()
        self.bits: Tensor
        self.register_buffer("bits", torch.from_numpy(np.packbits(signs, bitorder="little")))
        self._made: tuple[tuple[int, int], Tensor, Tensor] | None = None  # of which bits, blocks and corrections

    def _signs(self) -> Tensor:
        """Returns 0 and 1, ``(outputs, taps, channels / groups)`` uint8."""
        taps = self.size[0] * self.size[1]
        places = torch.arange(8, dtype=torch.uint8, device=self.bits.device)
        signs = (self.bits[:, None] >> places) & 1
        return signs.flatten()[: self.outputs * taps * self.channels].view(self.outputs, taps, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes that are stored."""
        return self.bits.numel()

    def unpacked(self) -> Tensor:
        """Returns the kernel as +-1 floats, ``(outputs, channels / groups, height, width)``."""
        signs = 2.0 * self._signs() - 1.0
        return signs.view(self.outputs, *self.size, self.channels).permute(0, 3, 1, 2).contiguous()

    def blocks(self) -> Tensor:
        """Returns ``(groups, blocks, taps, words, OUT)``, 64 signs of a tap a word, outputs side by side.

        The number of blocks is even.
        """
        return self._of_bits()[0]

    def corrections(self) -> Tensor:
        """Returns ``(taps, outputs)``: what a tap outside the image adds if its bits are taken as -1."""
        return self._of_bits()[1]

    def _of_bits(self) -> tuple[Tensor, Tensor]:
        """Returns what is made of the bits, made again where they have changed."""
        state = id(self.bits), 0 if self.bits.is_inference() else self.bits._version
        if self._made is None or self._made[0] != state:
            signs = self._signs().cpu().numpy()
            words = -(-self.channels // WORD)
            padded = np.zeros((*signs.shape[:2], words * WORD), dtype=np.uint8)
            padded[..., : self.channels] = signs
            packed = np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.int64, copy=False)
            per_group, taps = self.outputs // self.groups, signs.shape[1]
            count = 2 * (-(-per_group // (2 * OUT)))
            whole = torch.zeros(self.groups, count * OUT, taps, words, dtype=torch.int64)
            whole[:, :per_group] = torch.from_numpy(packed).view(self.groups, per_group, taps, words)
            blocks = whole.view(self.groups, count, OUT, taps, words).permute(0, 1, 3, 4, 2).contiguous()
            sums = 2 * signs.sum(-1, dtype=np.int64) - self.channels  # (outputs, taps)
            self._made = state, blocks, torch.from_numpy(-sums.T.astype(np.float32)).contiguous()
        return self._made[1], self._made[2]

    def extra_repr(self) -> str:
        """Returns shape and groups."""
        return f"{(self.outputs, self.channels, *self.size)}, groups={self.groups}"


def binary_conv2d(
    x: Tensor,
    kernel: PackedKernel | Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    pad_value: int = 0,
) -> Tensor:
    """Returns ``conv2d(sign(x), sign(kernel))``, exactly, ``(batch, outputs, height, width)`` float32.

    Args:
        x: ``(batch, channels, height, width)``; its signs count, 0 as +1. Channels-last is read as it lies.
        kernel: packed, or ``(outputs, channels / groups, height, width)``.
        groups: of an unpacked kernel; a packed one has its own.
        pad_value: what binarised images are padded with: 0, which counts nothing, 1 or -1.

    Raises:
        ValueError: when shapes do not fit or the pad value is another one.
    """
    packed = kernel if isinstance(kernel, PackedKernel) else PackedKernel(kernel, groups)
    if pad_value not in PAD_VALUES:
        raise ValueError(f"pad_value {pad_value}; allowed: -1, 0, 1")
    if x.dim() != 4 or x.shape[1] != packed.channels * packed.groups:
        wanted = packed.channels * packed.groups
        raise ValueError(f"input {tuple(x.shape)}; the kernel takes (batch, {wanted}, height, width)")
    step, around, spread = _pair(stride), _pair(padding), _pair(dilation)
    native = None if exporting() or torch.compiler.is_compiling() else kernels()
    if native is None or x.device.type != "cpu":
        return _unpacked_conv2d(x, packed, step, around, spread, pad_value)
    rows = x.detach().float().permute(0, 2, 3, 1).contiguous()
    correct = pad_value == 0 and (around[0] > 0 or around[1] > 0)
    y = native.packed_conv2d(
        rows,
        packed.blocks(),
        packed.corrections() if correct else torch.empty(0),
        packed.groups,
        packed.outputs,
        *packed.size,
        list(step),
        list(around),
        list(spread),
        int(pad_value == 1),
    )
    return y.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _unpacked_conv2d(
    x: Tensor,
    packed: PackedKernel,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    pad_value: int,
) -> Tensor:
    signs = binary_sign(x.detach().float())
    signs = F.pad(signs, (padding[1], padding[1], padding[0], padding[0]), value=float(pad_value))
    kernel = packed.unpacked().to(x.device)
    return F.conv2d(signs, kernel, None, stride, 0, dilation, packed.groups)


def binary_linear(x: Tensor, kernel: PackedKernel | Tensor) -> Tensor:
    """Returns ``sign(x) sign(kernel)^T``, exactly, ``(..., outputs)`` float32.

    Args:
        x: ``(..., features)``.
        kernel: ``(outputs, features)``, or packed from ``(outputs, features, 1, 1)``.
    """
    packed = kernel if isinstance(kernel, PackedKernel) else PackedKernel(kernel[:, :, None, None])
    rows = x.reshape(-1, x.shape[-1])
    # Rows become the columns of one image, so that several share every word of the kernel.
    image = rows.t()[None, :, None, :]
    y = binary_conv2d(image, packed)
    return y[0, :, 0, :].t().reshape(*x.shape[:-1], packed.outputs)


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

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled and activated convolution."""
        y = _like(x, binary_conv2d(x, self.kernel, self.stride, self.padding, self.dilation))
        if self.scale is not None:
            y = y * self.scale.view(-1, 1, 1)
        return y if self.activation is None else self.activation(y)  # type: ignore[no-any-return]


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


def _plain(module: nn.Module, cls: type[nn.Module]) -> bool:
    """Whether a layer computes what its class does: no forward of its own, no hooks."""
    hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    return isinstance(module, cls) and type(module).forward is cls.forward and not hooks


def packed_form(module: nn.Module) -> nn.Module | None:
    """Returns a layer on bits; none where one of its sides has other values than signs, or is padded with others.

    None, too, for a subclass that computes something else, and for a layer with hooks.
    """
    if _plain(module, BinaryConv2d):
        assert isinstance(module, BinaryConv2d)
        try:
            return PackedConv2d(module) if module.binary else None
        except ValueError:
            return None
    forms: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
        QuantConv2D: PackedQuantConv2D,
        QuantDense: PackedQuantDense,
    }
    for cls, form in forms.items():
        if _plain(module, cls):
            assert isinstance(module, QuantizedLayer)
            signs = type(module.input_quantizer) in SIGNS and type(module.quantizer_of("kernel")) in SIGNS
            padded = getattr(module, "pad_values", 0) in PAD_VALUES
            return form(module) if signs and padded else None
    return None


def pack(network: nn.Module) -> nn.Module:
    """Returns a copy of a network, in evaluation mode, with every binary convolution and dense layer on bits.

    Layers that cannot be packed are left as they are; one that stands in several places is packed once.

    Raises:
        ValueError: when none can be.
    """
    result = copy.deepcopy(network).eval()
    if (alone := packed_form(result)) is not None:
        return alone.eval()
    forms: dict[int, nn.Module | None] = {}
    places = list(result.named_modules(remove_duplicate=False))
    for _, module in places:
        if id(module) not in forms:
            forms[id(module)] = packed_form(module)
    if not any(form is not None for form in forms.values()):
        raise ValueError(
            "nothing can be packed: no layer has a binary input and a binary kernel (BinaryConv2d, or QuantConv2D and "
            f"QuantDense with {' or '.join(cls.__name__ for cls in SIGNS)} on both)"
        )
    for name, module in places:
        form = forms[id(module)]
        if form is not None:
            parent, _, child = name.rpartition(".")
            setattr(result.get_submodule(parent), child, form.eval())
    return result
