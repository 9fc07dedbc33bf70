"""What layers with a window share: strides, padding, dilation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from nichenas.core.errors import did_you_mean
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.constraints import Constraint
from nichenas.domains.binary.larq.geometry import pad_same
from nichenas.domains.binary.larq.geometry import per_axis

Size = int | Sequence[int]
Padding = str | Size
ConstraintName = str | Constraint | None
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _check_padding(padding: Padding, allowed: Sequence[str], axes: int, numbers: bool) -> str | tuple[int, ...]:
    if isinstance(padding, str):
        if padding not in allowed:
            hint = did_you_mean(padding, allowed)
            raise ValueError(f"padding '{padding}'{hint}; allowed: {', '.join(allowed)}{', numbers' * numbers}")
        return padding
    if not numbers:
        raise ValueError(f"padding {padding!r}; allowed: {', '.join(allowed)}")
    amounts = per_axis(padding, axes)
    if any(isinstance(amount, bool) or not isinstance(amount, int) or amount < 0 for amount in amounts):
        raise ValueError(f"padding {padding!r}; allowed: {', '.join(allowed)}, numbers of pixels")
    return amounts


class Spatial(QuantizedLayer):
    """What layers with a window share: strides, padding and dilation.

    Attributes:
        paddings: names of those that the layer has.
        pads_numbers: whether it also takes pixels on both sides, one number or one an axis, as torch has it.
    """

    axes = 2
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")
    pads_numbers: ClassVar[bool] = True

    def set_window(
        self, kernel_size: Size, strides: Size, padding: Padding, dilation_rate: Size, pad_values: float
    ) -> None:
        """Sets the window; raises ``ValueError`` for a padding that the layer does not have."""
        self.kernel_size = per_axis(kernel_size, self.axes)
        self.strides = per_axis(strides, self.axes)
        self.dilation_rate = per_axis(dilation_rate, self.axes)
        self.padding = _check_padding(padding, self.paddings, self.axes, self.pads_numbers)
        self.pad_values = float(pad_values)
        if padding == "causal" and pad_values != 0:
            raise ValueError("padding 'causal' takes no pad_values other than 0")

    def padded(self, x: Tensor) -> Tensor:
        """Returns the quantized input padded with the raw pad value.

        Raises:
            ValueError: for an input without the batch's axis.
        """
        if x.dim() != self.axes + 2:
            raise ValueError(f"input {tuple(x.shape)}; wanted: (batch, channels, {self.axes} axes)")
        if self.padding == "same":
            return pad_same(x, self.kernel_size, self.strides, self.dilation_rate, self.pad_values)
        if self.padding == "causal":
            return F.pad(x, ((self.kernel_size[0] - 1) * self.dilation_rate[0], 0))
        if isinstance(self.padding, tuple) and any(self.padding):
            return F.pad(x, [amount for amount in reversed(self.padding) for _ in range(2)], value=self.pad_values)
        return x

    def extra_repr(self) -> str:
        """Returns shapes and window."""
        window = f"strides={self.strides}, padding={self.padding!r}, dilation_rate={self.dilation_rate}"
        return f"{super().extra_repr()}, {window}"

    def convolve(self, x: Tensor, kernel: Tensor, groups: int) -> Tensor:
        """Returns the convolution of a padded input."""
        function: Any = CONVOLUTIONS[self.axes]
        return function(x, kernel.to(x.dtype), None, self.strides, 0, self.dilation_rate, groups)  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        """Returns quantizers and the pad value."""
        return {**super().get_config(), "pad_values": self.pad_values}
