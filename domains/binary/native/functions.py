"""Differentiable functions over the kernels, each with its plain torch form where kernels cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from nichenas.domains.binary.native import kernels

Grads = tuple[Tensor | None, ...]
_PLAIN: ContextVar[bool] = ContextVar("plain_operations", default=False)


def exporting() -> bool:
    """Whether the network is being traced for export, where only plain torch operations may run."""
    return torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()


@contextmanager
def plain_operations() -> Iterator[None]:
    """Leaves the kernels out, whose gradients cannot be differentiated again."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def usable(x: Tensor) -> bool:
    """Whether the kernels take a tensor: float32 on the CPU, ``(batch, channels, height, width)`` channels-last."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.dim() == 4
        and lies_channels_last(x)
        and not exporting()
        and not torch.compiler.is_compiling()
        and not _PLAIN.get()
        and kernels() is not None
    )


def lies_channels_last(x: Tensor) -> bool:
    """Whether a tensor lies so in memory; no inside of ``torch.func``'s transforms, which cannot say."""
    if not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


# sign


def binary_sign(x: Tensor) -> Tensor:
    """Returns +1 where ``x >= 0`` and -1 elsewhere, of the same shape and type; no gradient."""
    if exporting():
        one = torch.ones((), dtype=x.dtype, device=x.device)
        return torch.where(x >= 0, one, -one)
    return torch.copysign(torch.ones_like(x), x.detach() + 0.0)  # + 0.0 turns -0 into 0


class _ClippedSign(torch.autograd.Function):
    """sign(x), gradient 1 up to a clip; keeps one byte a value, the second output, for the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, clip: float, strict: bool) -> tuple[Tensor, Tensor]:
        if usable(x):
            return tuple(kernels().sign_forward(x, clip, strict))  # type: ignore[return-value]
        size = x.abs()
        return binary_sign(x), size < clip if strict else size <= clip

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.native = usable(inputs[0])
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        gradient, (mask,) = grads[0], ctx.saved_tensors
        if ctx.native and not torch.is_grad_enabled():  # the kernel has no gradient of its own
            return kernels().masked(_last(gradient), mask), None, None
        return gradient * mask, None, None


class _PlainSign(torch.autograd.Function):
    """sign(x), gradient 1 everywhere."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return binary_sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return grads


def clipped_sign(x: Tensor, clip: float | None, strict: bool) -> Tensor:
    """Returns sign(x), +1 at 0, with the gradient ``1[|x| <= clip]`` (``<`` where strict; 1 without a clip)."""
    if exporting():
        return binary_sign(x)
    return _PlainSign.apply(x) if clip is None else _ClippedSign.apply(x, clip, strict)[0]  # type: ignore[no-any-return]


# weight * prelu(scale * x, slope)


class _ScaledPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, slope, weight)
        return kernels().scaled_prelu_forward(x, scale, slope, weight)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return tuple(kernels().scaled_prelu_backward(_last(grads[0]), *ctx.saved_tensors))


def scaled_prelu(x: Tensor, scale: Tensor | None, slope: Tensor, weight: Tensor | None = None) -> Tensor:
    """Returns ``weight * prelu(scale * x, slope)``, each of the three one number a channel.

    Args:
        x: ``(batch, channels, height, width)``.
        scale: ``(channels,)``; none for 1.
        slope: ``(channels,)``, or one for all.
        weight: ``(channels,)``; none for 1.
    """
    if usable(x):
        slope = slope.expand(x.shape[1])
        ones = torch.ones(x.shape[1])
        parts = [ones if p is None else p.contiguous() for p in (scale, slope, weight)]
        return _ScaledPReLU.apply(x, *parts)  # type: ignore[no-any-return]
    y = x if scale is None else x * scale.to(x.dtype).view(-1, 1, 1)
    y = F.prelu(y, slope.to(x.dtype))
    return y if weight is None else y * weight.to(x.dtype).view(-1, 1, 1)


# Batch normalisation by the batch's own statistics


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, mean, inverse = kernels().norm_forward(x, weight, eps)
        ctx.save_for_backward(x, mean, inverse, weight)
        return y  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        gradient, by_weight = kernels().norm_backward(_last(grads[0]), *ctx.saved_tensors)
        return gradient, by_weight, None


def normalise(x: Tensor, weight: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Returns x with mean 0 and variance 1 a channel over batch and space, times a weight a channel.

    Args:
        x: ``(batch, channels, height, width)``.
        weight: ``(channels,)``; none for 1.
    """
    if usable(x):
        return _Normalise.apply(x, torch.ones(x.shape[1]) if weight is None else weight.contiguous(), eps)  # type: ignore[no-any-return]
    if weight is None:
        return F.batch_norm(x, None, None, training=True, eps=eps)
    # An expanded weight (stride 0) would get wrong gradients from torch.
    weight = weight.contiguous()
    return F.batch_norm(x, None, None, weight, torch.zeros_like(weight), training=True, eps=eps)


# Depthwise convolution


class _Depthwise(torch.autograd.Function):
    """Faster gradients: of the input by a flipped convolution, of the weights by a kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.geometry = (stride, padding, dilation)
        return F.conv2d(x, kernel, None, stride, padding, dilation, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        x, kernel = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        size, channels = kernel.shape[-1], x.shape[1]
        gradient = _last(grads[0])
        by_input: Tensor | None = None
        by_kernel: Tensor | None = None
        if ctx.needs_input_grad[0]:
            around = dilation * (size - 1) - padding
            if stride == 1 and around >= 0:
                by_input = F.conv2d(gradient, kernel.flip(2, 3), None, 1, around, dilation, groups=channels)
            else:
                by_input = conv2d_input(x.shape, kernel, gradient, stride, padding, dilation, channels)
        if ctx.needs_input_grad[1]:
            by_kernel = kernels().depthwise_weight_gradient(gradient, x, size, stride, padding, dilation)
        return by_input, by_kernel, None, None, None


def depthwise_conv2d(x: Tensor, kernel: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """Returns the depthwise convolution of ``(batch, channels, height, width)`` with ``(channels, 1, k, k)``."""
    # torch's library is quick at 3x3 without dilation, and slow at the gradients of all others.
    slow = kernel.shape[-1] > 3 or dilation > 1
    if slow and usable(x) and kernel.shape[0] == x.shape[1]:
        return _Depthwise.apply(x, kernel, stride, padding, dilation)  # type: ignore[no-any-return]
    return F.conv2d(x, kernel, None, stride, padding, dilation, groups=x.shape[1])
