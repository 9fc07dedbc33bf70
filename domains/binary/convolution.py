"""The binary convolution of the searched networks: sign on input and kernel, a scale on the output."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.larq.quantizers import ApproxSign
from nichenas.domains.binary.larq.quantizers import SwishSign
from nichenas.domains.binary.larq.quantizers import ste_sign_function
from nichenas.domains.binary.native.functions import depthwise_conv2d
from nichenas.domains.binary.native.functions import exporting
from nichenas.domains.binary.native.functions import lies_channels_last
from nichenas.domains.binary.native.functions import scaled_prelu

Scale = Literal["learned", "mean", "none"]
ScaleStart = Literal["magnitude", "one"]
Estimator = Literal["ste_sign", "approx_sign", "swish_sign"]
LEAST = 1e-8  # magnitude of a kernel
ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "ste_sign": ste_sign_function,
    "approx_sign": ApproxSign().quantize,
    "swish_sign": SwishSign().quantize,
}


class BinaryConv2d(nn.Conv2d):
    """A convolution whose input and kernel are binarised; both can be switched off, for stages and real twins.

    Out: ``activation(scale * conv(sign(x), sign(w)))``, zero-padded, without bias. The latent kernel is real and
    takes the straight-through gradient.

    Args:
        scale: ``learned``, one number an output channel (XNOR-Net++, Bulat and Tzimiropoulos 2019);
            ``mean``, the mean of ``|w|`` a channel, with its gradient (XNOR-Net, Rastegari et al. 2016);
            ``none``.
        activation: applied to the scaled output, in one pass with the scale.
        scale_start: where a learned scale starts: ``one``, as BATS has it; or ``magnitude``, at the mean of ``|w|`` a
            channel, so that a binary kernel is as large as the real one. Such a scale is adapted whenever
            :meth:`binarize` changes the kernel, in any direction: signs are some twenty times as large as trained
            weights, which no learning rate makes up for in the epochs that follow.
        estimator: of the sign's gradient, for inputs and kernels, by Larq's names.
        kernel_estimator: another one for kernels.

    Attributes:
        binary_input: whether the input is binarised.
        binary_weights: how far the kernel is: 0 real, 1 binary, between them a mixture of both.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
        groups: int = 1,
        scale: Scale = "learned",
        activation: nn.PReLU | None = None,
        scale_start: ScaleStart = "magnitude",
        estimator: Estimator = "ste_sign",
        kernel_estimator: Estimator | None = None,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias=False)
        self.scale_kind = scale
        self.scale = nn.Parameter(torch.ones(channels_out)) if scale == "learned" else None
        self.scaled_for: Tensor | None  # how binary the kernel is that the scale belongs to; it is stored with it
        adapts = scale == "learned" and scale_start == "magnitude"
        self.register_buffer("scaled_for", torch.zeros(()) if adapts else None)
        self.activation = activation
        self.estimator: Estimator = estimator
        self.kernel_estimator: Estimator = kernel_estimator or estimator
        self.binarize(True, 1.0)

    @torch.no_grad()
    def binarize(self, inputs: bool, weights: float) -> None:
        """Switches the input to binary or not, and the kernel to how far; see ``scale_start``."""
        self.binary_input, self.binary_weights = inputs, float(weights)
        if self.scaled_for is None or self.scaled_for.is_meta or float(self.scaled_for) == weights:
            return
        assert self.scale is not None
        self.scale.mul_(self._magnitude(float(self.scaled_for)) / self._magnitude(weights))
        self.scaled_for.fill_(weights)

    def _magnitude(self, binary: float) -> Tensor:
        """Returns the mean of the absolute values of a kernel that is so far binary, ``(out,)``."""
        return binary + (1 - binary) * self.weight.abs().mean((1, 2, 3)).clamp_min(LEAST)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        if self.scaled_for is not None:  # stored before there was one, by networks whose scales started at 1
            state_dict.setdefault(f"{prefix}scaled_for", torch.tensor(self.binary_weights))
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[no-untyped-call]

    @property
    def binary(self) -> bool:
        """Whether both sides are binary, so that a multiply-add is one of single bits."""
        return self.binary_input and self.binary_weights == 1.0

    def sign(self, x: Tensor) -> Tensor:
        """Returns signs of an input with the gradient of the estimator."""
        return ESTIMATORS[self.estimator](x)

    def kernel(self) -> Tensor:
        """Returns the kernel as it is used, without scale, ``(out, in / groups, height, width)``."""
        if self.binary_weights == 0:
            return self.weight
        signed = ESTIMATORS[self.kernel_estimator](self.weight)
        if self.binary_weights == 1:
            return signed
        return self.binary_weights * signed + (1 - self.binary_weights) * self.weight

    def scales(self) -> Tensor | None:
        """Returns the scale of every output channel, ``(out,)``, or none where there is none.

        A real kernel carries its own magnitude, so ``mean`` scales binary ones alone, and mixtures in part.
        """
        if self.scale_kind == "mean":
            if self.binary_weights == 0:
                return None
            return self.weight.abs().mean((1, 2, 3)) / self._magnitude(self.binary_weights)
        return self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled convolution, ``(batch, out, height, width)``."""
        if self.binary_input:
            x = self.sign(x)
        return self.finish(self.convolve(x, self.kernel().to(x.dtype)))

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Returns the bare convolution of an input as it is."""
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        square = not isinstance(self.padding, str) and all(pair[0] == pair[1] for pair in window)
        if self.groups == self.in_channels == self.out_channels and square:
            return depthwise_conv2d(x, kernel, self.stride[0], int(self.padding[0]), self.dilation[0])
        return F.conv2d(x, kernel, None, self.stride, self.padding, self.dilation, self.groups)

    def finish(self, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Returns the convolution's output scaled and activated, times a number."""
        scale = self.scales()
        if self.activation is not None:
            return scaled_prelu(y, scale, self.activation.weight, None if weight is None else weight.repeat(y.shape[1]))
        if scale is not None:
            y = y * (scale if weight is None else scale * weight).to(y.dtype).view(-1, 1, 1)
        elif weight is not None:
            y = y * weight.to(y.dtype)
        return y


def binarize(network: nn.Module, inputs: bool, weights: float) -> None:
    """Switches every :class:`BinaryConv2d` of a network: inputs binary or not, kernels how far."""
    for module in network.modules():
        if isinstance(module, BinaryConv2d):
            module.binarize(inputs, weights)


@torch.no_grad()
def clip_latent(network: nn.Module) -> None:
    """Clamps the latent kernels of convolutions that are binary to [-1, 1]; beyond, they would get no gradient."""
    for module in network.modules():
        if isinstance(module, BinaryConv2d) and module.binary_weights > 0:
            module.weight.clamp_(-1, 1)


class ChannelShuffle(nn.Module):
    """Deals channels out among groups: ``(groups, n)`` is transposed (ShuffleNet, Zhang et al. 2018, section 3.1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Returns the permuted channels of ``(batch, channels, height, width)``."""
        if lies_channels_last(x) and not exporting():
            # By way of this order of axes the result is channels-last too, and so is the gradient.
            last = x.permute(0, 2, 3, 1)
            return last.unflatten(3, (self.groups, -1)).transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def shuffle_order(channels: int, groups: int) -> Tensor:
    """Returns for every output channel of a shuffle the channel it comes from, ``(channels,)``."""
    return torch.arange(channels).view(groups, channels // groups).t().reshape(-1)
