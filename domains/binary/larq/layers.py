"""Larq's quantized layers for torch: Keras's names and defaults, torch's order of axes ``(batch, channels, ...)``.

Where a Keras layer learns its input's channels when it is built, these are given them first. Everything else
is as in Keras: bias on, ``glorot_uniform`` kernels, padding ``valid``, dilation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import did_you_mean
from domains.binary.larq.base import Activation
from domains.binary.larq.base import Identifier
from domains.binary.larq.base import QuantizedLayer
from domains.binary.larq.base import glorot_uniform
from domains.binary.larq.constraints import Constraint
from domains.binary.larq.geometry import pad_same
from domains.binary.larq.geometry import per_axis

Size = int | Sequence[int]
ConstraintName = str | Constraint | None
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _check_padding(padding: str, allowed: Sequence[str]) -> str:
    if padding not in allowed:
        raise ValueError(f"padding '{padding}'{did_you_mean(padding, allowed)}; allowed: {', '.join(allowed)}")
    return padding


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


class _Spatial(QuantizedLayer):
    """What layers with a window share: strides, padding and dilation."""

    axes = 2
    paddings: tuple[str, ...] = ("valid", "same")

    def _set_window(
        self, kernel_size: Size, strides: Size, padding: str, dilation_rate: Size, pad_values: float
    ) -> None:
        self.kernel_size = per_axis(kernel_size, self.axes)
        self.strides = per_axis(strides, self.axes)
        self.dilation_rate = per_axis(dilation_rate, self.axes)
        self.padding = _check_padding(padding, self.paddings)
        self.pad_values = float(pad_values)
        if padding == "causal" and pad_values != 0:
            raise ValueError("padding 'causal' takes no pad_values other than 0")

    def padded(self, x: Tensor) -> Tensor:
        """Returns the quantized input padded with the raw pad value."""
        if self.padding == "same":
            return pad_same(x, self.kernel_size, self.strides, self.dilation_rate, self.pad_values)
        if self.padding == "causal":
            return F.pad(x, ((self.kernel_size[0] - 1) * self.dilation_rate[0], 0))
        return x

    def convolve(self, x: Tensor, kernel: Tensor, groups: int) -> Tensor:
        """Returns the convolution of a padded input."""
        function: Any = _CONVOLUTIONS[self.axes]
        return function(x, kernel.to(x.dtype), None, self.strides, 0, self.dilation_rate, groups)  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        """Returns quantizers and the pad value."""
        return {**super().get_config(), "pad_values": self.pad_values}


class _QuantConv(_Spatial):
    """A quantized convolution; ``kernel`` is ``(filters, in_channels / groups, ...)``.

    Args:
        pad_values: with padding ``same``: what the quantized input is padded with. 0 leaves the border of a
            binary map not binary, 1 or -1 keep it so.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
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
        self._set_window(size, strides, padding, dilation_rate, pad_values)

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


class QuantDepthwiseConv2D(_Spatial):
    """A quantized depthwise convolution; ``depthwise`` is ``(depth_multiplier, in_channels, height, width)``.

    Output channel ``c * depth_multiplier + m`` belongs to input channel c, as in Keras.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
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
        self._set_window(size, strides, padding, dilation_rate, pad_values)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, in_channels * depth_multiplier, height, width)``."""
        x = self.padded(self.quantize_input(x))
        return self.finish(self.convolve(x, _depthwise_kernel(self.quantized("depthwise")), x.shape[1]))


class _QuantSeparable(_Spatial):
    """A depthwise convolution and a pointwise one; what lies between them is not quantized again."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
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
        self._set_window(size, strides, padding, dilation_rate, pad_values)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, filters, ...)``."""
        x = self.padded(self.quantize_input(x))
        y = self.convolve(x, _depthwise_kernel(self.quantized("depthwise")), x.shape[1])
        function: Any = _CONVOLUTIONS[self.axes]
        return self.finish(function(y, self.quantized("pointwise").to(y.dtype)))


class QuantSeparableConv1D(_QuantSeparable):
    """A quantized separable 1-D convolution."""

    axes = 1
    paddings = ("valid", "same", "causal")


class QuantSeparableConv2D(_QuantSeparable):
    """A quantized separable 2-D convolution."""

    axes = 2


class _QuantTranspose(_Spatial):
    """A quantized transposed convolution; ``kernel`` is ``(in_channels, filters, ...)``. No pad values."""

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
        self._set_window(size, strides, padding, dilation_rate, 0.0)

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

    def get_config(self) -> dict[str, Any]:
        """Returns the quantizers."""
        return QuantizedLayer.get_config(self)


class QuantConv2DTranspose(_QuantTranspose):
    """A quantized transposed 2-D convolution."""

    axes = 2


class QuantConv3DTranspose(_QuantTranspose):
    """A quantized transposed 3-D convolution."""

    axes = 3


class _QuantLocallyConnected(_Spatial):
    """A convolution whose kernel is another one at every place; padding ``valid`` only, no pad values.

    ``kernel`` is ``(filters, places, in_channels * window)``, so that a scale is kept a filter.
    """

    paddings = ("valid",)

    def __init__(
        self,
        in_channels: int,
        input_size: Size,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        activation: Activation = None,
        use_bias: bool = True,
        input_quantizer: Identifier = None,
        kernel_quantizer: Identifier = None,
        kernel_constraint: ConstraintName = None,
    ) -> None:
        size, step = per_axis(kernel_size, self.axes), per_axis(strides, self.axes)
        extent = per_axis(input_size, self.axes)
        self_places = tuple((n - k) // s + 1 for n, k, s in zip(extent, size, step, strict=True))
        window = in_channels * math.prod(size)
        kernel = glorot_uniform((filters, math.prod(self_places), window), window, filters)
        super().__init__(
            filters,
            {"kernel": kernel},
            input_quantizer,
            {"kernel": kernel_quantizer},
            {"kernel": kernel_constraint},
            activation,
            use_bias,
            bias_shape=(filters, *self_places),
        )
        self.places = self_places
        self._set_window(size, step, padding, 1, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, filters, ...)``."""
        x = self.quantize_input(x)
        for axis, (k, s) in enumerate(zip(self.kernel_size, self.strides, strict=True), 2):
            x = x.unfold(axis, k, s)
        # (batch, channels, places..., window...) -> (batch, places, channels * window)
        order = [0, *range(2, 2 + self.axes), 1, *range(2 + self.axes, 2 + 2 * self.axes)]
        columns = x.permute(*order).reshape(x.shape[0], math.prod(self.places), -1)
        y = torch.einsum("bpw,fpw->bfp", columns, self.quantized().to(x.dtype))
        return self.finish(y.reshape(x.shape[0], -1, *self.places))

    def get_config(self) -> dict[str, Any]:
        """Returns the quantizers."""
        return QuantizedLayer.get_config(self)


class QuantLocallyConnected1D(_QuantLocallyConnected):
    """A quantized locally connected 1-D layer."""

    axes = 1


class QuantLocallyConnected2D(_QuantLocallyConnected):
    """A quantized locally connected 2-D layer."""

    axes = 2
