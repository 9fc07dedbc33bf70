"""Larq's quantized locally connected layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nichenas.domains.binary.larq.base import Activation
from nichenas.domains.binary.larq.base import Identifier
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.base import glorot_uniform
from nichenas.domains.binary.larq.geometry import per_axis
from nichenas.domains.binary.larq.spatial import ConstraintName
from nichenas.domains.binary.larq.spatial import Size
from nichenas.domains.binary.larq.spatial import Spatial


class _QuantLocallyConnected(Spatial):
    """A convolution whose kernel is another one at every place; padding ``valid`` only, no pad values.

    ``kernel`` is ``(filters, places, in_channels * window)``, so that a scale is kept a filter.
    """

    paddings = ("valid",)
    pads_numbers = False

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
        self.set_window(size, step, padding, 1, 0.0)

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

    def positions(self, x: Tensor, y: Tensor) -> int:
        """Returns 1: the kernel has all places."""
        return 1

    def get_config(self) -> dict[str, Any]:
        """Returns the quantizers."""
        return QuantizedLayer.get_config(self)


class QuantLocallyConnected1D(_QuantLocallyConnected):
    """A quantized locally connected 1-D layer."""

    axes = 1


class QuantLocallyConnected2D(_QuantLocallyConnected):
    """A quantized locally connected 2-D layer."""

    axes = 2
