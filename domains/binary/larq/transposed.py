"""Larq's quantized transposed convolutions."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from nichenas.domains.binary.larq.base import Activation
from nichenas.domains.binary.larq.base import Identifier
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.base import glorot_uniform
from nichenas.domains.binary.larq.geometry import per_axis
from nichenas.domains.binary.larq.spatial import ConstraintName
from nichenas.domains.binary.larq.spatial import Size
from nichenas.domains.binary.larq.spatial import Spatial


class _QuantTranspose(Spatial):
    """A quantized transposed convolution; ``kernel`` is ``(in_channels, filters, ...)``. No pad values."""

    pads_numbers = False

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        dilation_rate: Size = 1,
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        kernel_quantizer: Identifier = None,
        kernel_constraint: ConstraintName = None,
    ) -> None:
        size = per_axis(kernel_size, self.axes)
        area = math.prod(size)
        super().__init__(
            filters,
            {"kernel": glorot_uniform((in_channels, filters, *size), area * filters, area * in_channels)},
            input_quantizer,
            {"kernel": kernel_quantizer},
            {"kernel": kernel_constraint},
            activation,
            use_bias,
        )
        self.set_window(size, strides, padding, dilation_rate, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, filters, ...)``, every axis n * stride long under ``same``."""
        x = self.quantize_input(x)
        function: Any = F.conv_transpose2d if self.axes == 2 else F.conv_transpose3d
        y = function(x, self.quantized().to(x.dtype), None, self.strides, dilation=self.dilation_rate)
        for axis, (n, k, s, d) in enumerate(
            zip(x.shape[2:], self.kernel_size, self.strides, self.dilation_rate, strict=True), 2
        ):
            reach = (k - 1) * d + 1
            wanted = n * s + (max(reach - s, 0) if self.padding == "valid" else 0)
            before = max((n - 1) * s + reach - wanted, 0) // 2
            y = y.narrow(axis, before, min(wanted, y.shape[axis] - before))
            missing = wanted - y.shape[axis]
            if missing > 0:
                y = F.pad(y, (0, 0) * (y.dim() - axis - 1) + (0, missing))
        return self.finish(y)

    def positions(self, x: Tensor, y: Tensor) -> int:
        """Returns the pixels of the input: each is multiplied with the whole kernel."""
        return x[0, 0].numel()

    def get_config(self) -> dict[str, Any]:
        """Returns the quantizers."""
        return QuantizedLayer.get_config(self)


class QuantConv2DTranspose(_QuantTranspose):
    """A quantized transposed 2-D convolution."""

    axes = 2


class QuantConv3DTranspose(_QuantTranspose):
    """A quantized transposed 3-D convolution."""

    axes = 3
