"""Inference on bits: binary convolutions and linear layers by xnor and popcount on packed signs.

A dot product of two vectors of +-1, n long, is ``n - 2 popcount(a xor b)`` of their bits. Weights are packed
once, 64 to a word; inputs are packed as they come. Results are whole numbers and equal the float simulation's
exactly. Without a compiler the packed weights are unpacked and torch convolves them: exact too, not faster.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign

OUT = 8  # outputs that the kernel counts together; kernels.cpp has the same number
WORD = 64


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


class PackedKernel:
    """Signs of a kernel, 64 to a word.

    Args:
        weight: ``(outputs, channels / groups, height, width)``; values >= 0 are +1.
        groups: of the convolution.
    """

    def __init__(self, weight: Tensor, groups: int = 1) -> None:
        outputs, channels, height, width = weight.shape
        self.outputs, self.channels, self.size, self.groups = outputs, channels, (height, width), groups
        words = -(-channels // WORD)
        bits = (weight.detach().cpu() >= 0).permute(0, 2, 3, 1).reshape(outputs, height * width, channels).numpy()
        padded = np.zeros((outputs, height * width, words * WORD), dtype=np.uint8)
        padded[..., :channels] = bits
        packed = np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.int64, copy=False)
        self.words = torch.from_numpy(packed.reshape(outputs, height * width, words).copy())
        self._tap_sums = torch.from_numpy(2 * bits.sum(-1, dtype=np.int64) - channels)  # (outputs, taps)
        self._blocks: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return self.words.numel() * 8

    def unpacked(self) -> Tensor:
        """Returns the kernel as +-1 floats, ``(outputs, channels / groups, height, width)``."""
        raw = self.words.numpy().view(np.uint8).reshape(self.outputs, -1, self.words.shape[-1] * 8)
        bits = np.unpackbits(raw, axis=-1, bitorder="little")[..., : self.channels]
        signs = torch.from_numpy(bits.astype(np.float32)).mul_(2).sub_(1)
        return signs.view(self.outputs, *self.size, self.channels).permute(0, 3, 1, 2).contiguous()

    def blocks(self) -> Tensor:
        """Returns ``(groups, blocks, taps, words, OUT)``: outputs side by side, an even number of blocks."""
        if self._blocks is None:
            per_group = self.outputs // self.groups
            count = 2 * (-(-per_group // (2 * OUT)))
            taps, words = self.words.shape[1:]
            whole = torch.zeros(self.groups, count * OUT, taps, words, dtype=torch.int64)
            whole[:, :per_group] = self.words.view(self.groups, per_group, taps, words)
            self._blocks = whole.view(self.groups, count, OUT, taps, words).permute(0, 1, 3, 4, 2).contiguous()
        return self._blocks

    def corrections(self) -> Tensor:
        """Returns ``(taps, outputs)``: what a tap outside the image adds if its bits are taken as -1."""
        return (-self._tap_sums).t().contiguous().float()


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
    if pad_value not in (-1, 0, 1):
        raise ValueError(f"pad_value {pad_value}; allowed: -1, 0, 1")
    if x.dim() != 4 or x.shape[1] != packed.channels * packed.groups:
        wanted = packed.channels * packed.groups
        raise ValueError(f"input {tuple(x.shape)}; the kernel takes (batch, {wanted}, height, width)")
    step, around, spread = _pair(stride), _pair(padding), _pair(dilation)
    native = kernels()
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
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        scale = conv.scales()
        self.scale: Tensor | None
        self.register_buffer("scale", None if scale is None else scale.detach().clone())
        self.activation = copy.deepcopy(conv.activation)

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample: all of single bits."""
        kernel = self.kernel
        return 0, kernel.outputs * kernel.channels * kernel.size[0] * kernel.size[1] * y[0, 0].numel()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled and activated convolution."""
        padding = tuple(int(p) for p in self.padding)
        y = binary_conv2d(x, self.kernel, self.stride, padding, self.dilation)
        if self.scale is not None:
            y = y * self.scale.view(-1, 1, 1)
        return y if self.activation is None else self.activation(y)  # type: ignore[no-any-return]


def pack(network: nn.Module) -> nn.Module:
    """Returns a copy of a network, in evaluation mode, with every binary convolution on bits."""
    result = copy.deepcopy(network).eval()
    for name, module in list(result.named_modules()):
        if isinstance(module, BinaryConv2d) and module.binary:
            parent = result.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], PackedConv2d(module))
    return result
