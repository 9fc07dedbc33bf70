"""Larq's quantized layers for torch: Keras's names and defaults, torch's order of axes ``(batch, channels, ...)``.

Where a Keras layer learns its input's channels when it is built, these are given them first. Everything else
is as in Keras: bias on, ``glorot_uniform`` kernels, padding ``valid``, dilation 1.
"""

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
from nichenas.domains.binary.larq.spatial import CONVOLUTIONS
from nichenas.domains.binary.larq.spatial import ConstraintName
from nichenas.domains.binary.larq.spatial import Padding
from nichenas.domains.binary.larq.spatial import Size
from nichenas.domains.binary.larq.spatial import Spatial


class QuantDense(QuantizedLayer):
    """A dense layer.

    Shapes: in ``(..., in_features)``, out ``(..., units)``; ``kernel`` is ``(units, in_features)``.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        kernel_quantizer: Identifier = None,
        kernel_constraint: ConstraintName = None,
    ) -> None:
        kernel = glorot_uniform((units, in_features), in_features, units)
        super().__init__(
            units,
            {"kernel": kernel},
            input_quantizer,
            {"kernel": kernel_quantizer},
            {"kernel": kernel_constraint},
            activation,
            use_bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``activation(q(x) q(W)^T + bias)``."""
        y = F.linear(self.quantize_input(x), self.quantized().to(x.dtype), self.bias)
        return y if self.activation is None else self.activation(y)

    def positions(self, x: Tensor, y: Tensor) -> int:
        """Returns the numbers of all axes between the first and the last."""
        return y[0].numel() // y.shape[-1]


class _QuantConv(Spatial):
    """A quantized convolution; ``kernel`` is ``(filters, in_channels / groups, ...)``.

    Args:
        padding: ``valid``, ``same``, or pixels on both sides, as torch has it.
        pad_values: what the quantized input is padded with. 0 leaves the border of a binary map not binary, 1 or -1
            keep it so.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        dilation_rate: Size = 1,
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        kernel_quantizer: Identifier = None,
        kernel_constraint: ConstraintName = None,
        pad_values: float = 0.0,
    ) -> None:
        size = per_axis(kernel_size, self.axes)
        if in_channels % groups or filters % groups:
            raise ValueError(f"{in_channels} channels and {filters} filters do not divide into {groups} groups")
        area = math.prod(size)
        kernel = glorot_uniform((filters, in_channels // groups, *size), area * (in_channels // groups), area * filters)
        super().__init__(
            filters,
            {"kernel": kernel},
            input_quantizer,
            {"kernel": kernel_quantizer},
            {"kernel": kernel_constraint},
            activation,
            use_bias,
        )
        self.groups = groups
        self.set_window(size, strides, padding, dilation_rate, pad_values)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, filters, ...)`` of ``(batch, in_channels, ...)``."""
        x = self.padded(self.quantize_input(x))
        return self.finish(self.convolve(x, self.quantized(), self.groups))


class QuantConv1D(_QuantConv):
    """A quantized 1-D convolution; padding may also be ``causal``."""

    axes = 1
    paddings = ("valid", "same", "causal")


class QuantConv2D(_QuantConv):
    """A quantized 2-D convolution."""

    axes = 2


class QuantConv3D(_QuantConv):
    """A quantized 3-D convolution."""

    axes = 3


def _depthwise_weights(in_channels: int, multiplier: int, size: tuple[int, ...]) -> Tensor:
    # Keras's shape is (..., in, multiplier); the multiplier comes first here, the axis that keeps scales apart.
    area = math.prod(size)
    return glorot_uniform((multiplier, in_channels, *size), area * in_channels, area * multiplier)


def _depthwise_kernel(weights: Tensor) -> Tensor:
    """Returns ``(multiplier, channels, ...)`` as torch's grouped kernel ``(channels * multiplier, 1, ...)``."""
    return weights.transpose(0, 1).flatten(0, 1).unsqueeze(1)


class QuantDepthwiseConv2D(Spatial):
    """A quantized depthwise convolution; ``depthwise`` is ``(depth_multiplier, in_channels, height, width)``.

    Output channel ``c * depth_multiplier + m`` belongs to input channel c, as in Keras.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        dilation_rate: Size = 1,
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        depthwise_quantizer: Identifier = None,
        depthwise_constraint: ConstraintName = None,
        pad_values: float = 0.0,
    ) -> None:
        size = per_axis(kernel_size, self.axes)
        super().__init__(
            in_channels * depth_multiplier,
            {"depthwise": _depthwise_weights(in_channels, depth_multiplier, size)},
            input_quantizer,
            {"depthwise": depthwise_quantizer},
            {"depthwise": depthwise_constraint},
            activation,
            use_bias,
        )
        self.set_window(size, strides, padding, dilation_rate, pad_values)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, in_channels * depth_multiplier, height, width)``."""
        x = self.padded(self.quantize_input(x))
        return self.finish(self.convolve(x, _depthwise_kernel(self.quantized("depthwise")), x.shape[1]))


class _QuantSeparable(Spatial):
    """A depthwise convolution and a pointwise one; what lies between them is not quantized again."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        dilation_rate: Size = 1,
        depth_multiplier: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        depthwise_quantizer: Identifier = None,
        pointwise_quantizer: Identifier = None,
        depthwise_constraint: ConstraintName = None,
        pointwise_constraint: ConstraintName = None,
        pad_values: float = 0.0,
    ) -> None:
        size = per_axis(kernel_size, self.axes)
        wide = in_channels * depth_multiplier
        super().__init__(
            filters,
            {
                "depthwise": _depthwise_weights(in_channels, depth_multiplier, size),
                "pointwise": glorot_uniform((filters, wide, *([1] * self.axes)), wide, filters),
            },
            input_quantizer,
            {"depthwise": depthwise_quantizer, "pointwise": pointwise_quantizer},
            {"depthwise": depthwise_constraint, "pointwise": pointwise_constraint},
            activation,
            use_bias,
        )
        self.set_window(size, strides, padding, dilation_rate, pad_values)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, filters, ...)``."""
        x = self.padded(self.quantize_input(x))
        y = self.convolve(x, _depthwise_kernel(self.quantized("depthwise")), x.shape[1])
        function: Any = CONVOLUTIONS[self.axes]
        return self.finish(function(y, self.quantized("pointwise").to(y.dtype)))


class QuantSeparableConv1D(_QuantSeparable):
    """A quantized separable 1-D convolution."""

    axes = 1
    paddings = ("valid", "same", "causal")


class QuantSeparableConv2D(_QuantSeparable):
    """A quantized separable 2-D convolution."""

    axes = 2
