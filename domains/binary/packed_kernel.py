"""Signs of kernels as bits, and convolutions and products with them by xnor and popcount.

A dot product of two vectors of +-1, n long, is ``n - 2 popcount(a xor b)`` of their bits. Weights are packed
once, 64 to a word; inputs are packed as they come. Results are whole numbers and equal the float simulation's
exactly. Without a compiler the packed weights are unpacked and torch convolves them: exact too, not faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch import nn

from nichenas.domains.binary.limits import Limits
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.native.functions import exporting

OUT = 8  # outputs that the kernel counts together; kernels.cpp has the same number
WORD = 64
TAPS, PATCHES, GROUPS = 0, 1, 2  # layouts of a kernel's words; kernels.cpp has the same numbers
PAD_VALUES = (-1, 0, 1)


_EMPTY = torch.empty(0)


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
        self._made: tuple[Tensor, int | Tensor, Tensor, Tensor] | None = None  # bits, their version; words, corrections

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

    @property
    def layout(self) -> int:
        """How the words of the kernel lie: what counts the fewest of them, see kernels.cpp."""
        taps, per_group = self.size[0] * self.size[1], self.outputs // self.groups
        pairs = 2 * self.groups * -(-per_group // (2 * OUT))
        costs: dict[int, float] = {TAPS: pairs * taps * -(-self.channels // WORD)}
        if self.channels <= WORD:
            words, gathered = -(-taps * self.channels // WORD), taps * self.groups / 4
            costs[PATCHES] = pairs * words + gathered
            costs[GROUPS] = per_group * words * -(-self.groups // 8) + gathered
        return min(costs, key=lambda layout: (costs[layout], layout))

    def words(self) -> Tensor:
        """Returns the signs as the kernel reads them.

        ``(groups, blocks, taps, words, OUT)``, 64 signs of a tap a word, outputs side by side, blocks in pairs;
        with ``PATCHES`` all taps are one; with ``GROUPS`` ``(outputs of a group, words, lanes)``, a lane a group.
        """
        return self._of_bits()[0]

    def corrections(self) -> Tensor:
        """Returns ``(taps, outputs)``: what a tap outside the image adds if its bits are taken as -1."""
        return self._of_bits()[1]

    def _of_bits(self) -> tuple[Tensor, Tensor]:
        """Returns what is made of the bits, made again where they have changed."""
        if self._made is None or not self._is_of(*self._made[:2]):
            signs = self._signs().cpu().numpy()
            sums = 2 * signs.sum(-1, dtype=np.int64) - self.channels  # (outputs, taps)
            words = self._laid_out(signs if self.layout == TAPS else signs.reshape(len(signs), 1, -1))
            version = self.bits.clone() if self.bits.is_inference() else self.bits._version
            self._made = self.bits, version, words, torch.from_numpy(-sums.T.astype(np.float32)).contiguous()
        return self._made[2], self._made[3]

    def _is_of(self, bits: Tensor, version: int | Tensor) -> bool:
        """Whether these are the bits, in this version; tensors of inference mode have none, so a copy is compared."""
        if isinstance(version, Tensor):
            return torch.equal(self.bits, version)
        return bits is self.bits and self.bits._version == version

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without what is made of the bits."""
        return {**self.__dict__, "_made": None}

    def _laid_out(self, signs: NDArray[np.uint8]) -> Tensor:
        """Returns the words of signs ``(outputs, taps, signs of a tap)``."""
        _, taps, count = signs.shape
        words, per_group = -(-count // WORD), self.outputs // self.groups
        padded = np.zeros((*signs.shape[:2], words * WORD), dtype=np.uint8)
        padded[..., :count] = signs
        packed = np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.int64, copy=False)
        grouped = torch.from_numpy(packed).view(self.groups, per_group, taps, words)
        if self.layout == GROUPS:
            lanes = 8 * -(-self.groups // 8)
            side_by_side = torch.zeros(per_group, words, lanes, dtype=torch.int64)
            side_by_side[:, :, : self.groups] = grouped[:, :, 0].permute(1, 2, 0)
            return side_by_side
        blocks = 2 * (-(-per_group // (2 * OUT)))
        whole = torch.zeros(self.groups, blocks * OUT, taps, words, dtype=torch.int64)
        whole[:, :per_group] = grouped
        return whole.view(self.groups, blocks, OUT, taps, words).permute(0, 1, 3, 4, 2).contiguous()

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
    limits: Limits | None = None,
    scale: Tensor | None = None,
    slope: Tensor | None = None,
    order: Tensor | None = None,
    addend: Tensor | None = None,
) -> Tensor:
    """Returns ``conv2d(sign(x), sign(kernel))``, exactly, ``(batch, outputs, height, width)`` float32.

    Args:
        x: ``(batch, channels, height, width)``; its signs count, 0 as +1. Channels-last is read as it lies.
        kernel: packed, or ``(outputs, channels / groups, height, width)``.
        groups: of an unpacked kernel; a packed one has its own.
        pad_value: what binarised images are padded with: 0, which counts nothing, 1 or -1.
        limits: from which values on inputs count as +1, in place of 0; see :func:`limits_of`.
        scale: of every output, ``(outputs,)``.
        slope: of a PReLU after the scale, ``(outputs,)``.
        order: of every channel of the result, the output that it is, ``(outputs,)`` int64, such as of a shuffle.
        addend: added at last, like the result.

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
    reach = [d * (k - 1) + 1 for d, k in zip(spread, packed.size, strict=True)]
    if any(n + 2 * p < r for n, p, r in zip(x.shape[2:], around, reach, strict=True)):
        raise ValueError(
            f"input {tuple(x.shape)}: with padding {around} it is smaller than the kernel, which reaches {reach}"
        )
    if order is not None and (len(order) != packed.outputs or bool(((order < 0) | (order >= packed.outputs)).any())):
        raise ValueError(f"order: {packed.outputs} numbers from 0 to {packed.outputs - 1} are wanted")
    if limits is not None and len(limits.values) != x.shape[1]:
        raise ValueError(f"limits: {len(limits.values)} for {x.shape[1]} channels")
    native = None if exporting() or torch.compiler.is_compiling() else kernels()
    if native is None or x.device.type != "cpu":
        signs = binary_sign(x.detach().float()) if limits is None else limits.signs(x.detach().float())
        y = _unpacked_conv2d(signs, packed, step, around, spread, pad_value)
        y = y if scale is None else y * scale.view(-1, 1, 1)
        y = y if slope is None else F.prelu(y, slope)
        y = y if order is None else y[:, order.to(y.device)]
        return y if addend is None else y + addend
    rows = x.detach().float().permute(0, 2, 3, 1).contiguous()
    sizes = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(x.shape[2:], around, reach, step, strict=True)]
    more = _EMPTY
    if addend is not None:
        more = addend.detach().float().expand(len(x), packed.outputs, *sizes).permute(0, 2, 3, 1).contiguous()
    tensors, geometry = kernel_arguments(packed, step, around, spread, pad_value, limits, scale, slope, order)
    return native.packed_conv2d(rows, *tensors, more, *geometry).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def kernel_arguments(
    kernel: PackedKernel,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    pad_value: int,
    limits: Limits | None,
    scale: Tensor | None,
    slope: Tensor | None,
    order: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
    """Returns what kernels.cpp's convolution is given between the images and the addend, and after it."""
    around = _pair(padding)
    correct = pad_value == 0 and (around[0] > 0 or around[1] > 0)

    def of_outputs(values: Tensor | None) -> Tensor:
        return _EMPTY if values is None else values.detach().float().expand(kernel.outputs).contiguous()

    tensors = (
        kernel.words(),
        kernel.corrections() if correct else _EMPTY,
        _EMPTY if limits is None else limits.values,
        _EMPTY if limits is None else limits.words(kernel.groups),
        of_outputs(scale),
        of_outputs(slope),
        _EMPTY if order is None else order.long().contiguous(),
    )
    windows = (list(_pair(stride)), list(around), list(_pair(dilation)))
    return tensors, (kernel.groups, kernel.outputs, *kernel.size, *windows, int(pad_value == 1), kernel.layout)


def _unpacked_conv2d(
    signs: Tensor,
    packed: PackedKernel,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    pad_value: int,
) -> Tensor:
    signs = F.pad(signs, (padding[1], padding[1], padding[0], padding[0]), value=float(pad_value))
    kernel = packed.unpacked().to(signs.device)
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
