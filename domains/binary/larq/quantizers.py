"""Larq's quantizers for torch tensors: forward values, straight-through gradients, names and defaults of Larq 0.13.

A quantizer is a module with a ``precision`` in bits. It is given to a layer as an instance, by its alias, as a
mapping ``{"class_name": ..., "config": {...}}``, or as any callable. Every sign maps 0 to +1, so that what is
called binary never holds a third value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import torch
from torch import Tensor
from torch import nn

from nichenas.core.errors import did_you_mean
from nichenas.domains.binary.larq.metrics import FlipRatio
from nichenas.domains.binary.larq.metrics import get_training_metrics
from nichenas.domains.binary.larq.metrics import make_metric
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.native.functions import clipped_sign
from nichenas.domains.binary.native.functions import exporting

Quantization = Callable[[Tensor], Tensor]

_strict_bound = False


class _MaskedGradient(torch.autograd.Function):
    """Returns ``value`` in place of x; the gradient is the incoming one times a factor (a mask or a tensor)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.saved_tensors[0], None, None


def with_gradient(x: Tensor, value: Tensor, factor: Tensor) -> Tensor:
    """Returns a value in place of x, whose gradient is the incoming one times a factor; all of one shape."""
    return value if exporting() else _MaskedGradient.apply(x, value, factor)  # type: ignore[no-any-return]


@contextlib.contextmanager
def gradient_preset(name: Literal["larq", "bnn"]) -> Iterator[None]:
    """Sets where the clipped straight-through gradient of ``SteSign`` ends, inside the ``with`` block.

    ``larq`` passes it where |x| <= clip, ``bnn`` (1adrianb/binary-networks-pytorch) where |x| < clip.
    That library's sign(0) = 0 is not offered: it makes binary tensors ternary.
    """
    global _strict_bound
    before, _strict_bound = _strict_bound, {"larq": False, "bnn": True}[name]
    try:
        yield
    finally:
        _strict_bound = before


def ste_sign_function(x: Tensor, clip_value: float | None = 1.0, strict: bool | None = None) -> Tensor:
    """Returns sign(x) with the straight-through gradient ``1[|x| <= clip_value]`` (always 1 without a clip).

    Args:
        strict: whether the bound itself gets no gradient; by default as :func:`gradient_preset` says.
    """
    return clipped_sign(x, clip_value, _strict_bound if strict is None else strict)


class Quantizer(nn.Module):
    """Base of the quantizers.

    Args:
        metrics: names or instances of metrics that watch the quantized values; by default those of the
            enclosing :func:`~nichenas.domains.binary.larq.context.metrics_scope`.

    Attributes:
        precision: bits of a quantized value.
    """

    precision: int = 32

    def __init__(self, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        super().__init__()
        self._wanted = metrics
        self.metrics: list[FlipRatio] = []
        if metrics is not None:
            self.add_metrics(metrics)

    def add_metrics(self, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        """Adds metrics; without names those of the enclosing scope, where none were chosen before."""
        if metrics is None:
            if self._wanted is not None or self.metrics:
                return
            metrics = list(get_training_metrics())
        self.metrics += [make_metric(metric, self.name) for metric in metrics]

    @property
    def name(self) -> str:
        """The alias."""
        return alias_of(type(self))

    def quantize(self, x: Tensor) -> Tensor:
        """Returns the quantized tensor, of the same shape."""
        raise RuntimeError(f"{type(self).__name__} defines no quantize()")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the quantized tensor and tells the metrics."""
        result = self.quantize(x)
        for metric in self.metrics if self.training else ():
            metric.update_state(result.detach())
        return result

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal quantizer."""
        return {}

    def extra_repr(self) -> str:
        """The arguments."""
        return ", ".join(f"{key}={value}" for key, value in self.get_config().items())


class SteSign(Quantizer):
    """Forward sign(x); backward ``1[|x| <= clip_value]``, or 1 everywhere without a clip.

    Source: Binarized Neural Networks (Courbariaux et al. 2016, section 1.3).
    """

    precision = 1

    def __init__(self, clip_value: float | None = 1.0, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        super().__init__(metrics)
        self.clip_value = clip_value

    def quantize(self, x: Tensor) -> Tensor:
        """Returns +-1."""
        return ste_sign_function(x, self.clip_value)

    def get_config(self) -> dict[str, Any]:
        """Returns the clip."""
        return {"clip_value": self.clip_value}


class ApproxSign(Quantizer):
    """Forward sign(x); backward ``2 (1 - |x|)`` where ``|x| <= 1``, else 0 (Bi-Real Net, Liu et al. 2018, eq. 6)."""

    precision = 1

    def quantize(self, x: Tensor) -> Tensor:
        """Returns +-1."""
        size = x.detach().abs()
        return with_gradient(x, binary_sign(x.detach()), (2 * (1 - size)).clamp_(min=0))


class SwishSign(Quantizer):
    """Forward sign(x); backward ``beta (2 - beta x tanh(beta x / 2)) / (1 + cosh(beta x))``.

    The gradient has negative tails. Source: BNN+ (Darabi et al. 2018, section 3.1).
    """

    precision = 1

    def __init__(self, beta: float = 5.0, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        super().__init__(metrics)
        self.beta = beta

    def quantize(self, x: Tensor) -> Tensor:
        """Returns +-1."""
        scaled = self.beta * x.detach()
        factor = self.beta * (2 - scaled * torch.tanh(scaled / 2)) / (1 + torch.cosh(scaled))
        return with_gradient(x, binary_sign(x.detach()), factor)

    def get_config(self) -> dict[str, Any]:
        """Returns beta."""
        return {"beta": self.beta}


class MagnitudeAwareSign(Quantizer):
    """Forward ``s sign(x)`` with s the mean of ``|x|`` over all but one axis; backward ``s 1[|x| <= clip_value]``.

    The scale gets no gradient. Source: Bi-Real Net (Liu et al. 2018, section 3.3).

    Args:
        channel_dim: the axis that keeps a scale of its own. Larq's is the last of its kernels' axes, the output
            channel: 0 here. For activations ``(batch, channels, ...)`` it is 1.
    """

    precision = 1

    def __init__(
        self,
        clip_value: float | None = 1.0,
        channel_dim: int = 0,
        metrics: Sequence[str | FlipRatio] | None = None,
    ) -> None:
        super().__init__(metrics)
        self.clip_value = clip_value
        self.channel_dim = channel_dim

    def quantize(self, x: Tensor) -> Tensor:
        """Returns +-s."""
        kept = self.channel_dim % x.dim()
        others = [axis for axis in range(x.dim()) if axis != kept]
        scale = x.detach().abs().mean(dim=others, keepdim=True) if others else x.detach().abs()
        return scale * ste_sign_function(x, self.clip_value)

    def get_config(self) -> dict[str, Any]:
        """Returns clip and axis."""
        return {"clip_value": self.clip_value, "channel_dim": self.channel_dim}


class SteTern(Quantizer):
    """Forward +1 where ``x >= d``, -1 where ``x <= -d``, else 0; backward ``1[|x| <= clip_value]``.

    Source: Ternary Weight Networks (Li et al. 2016).

    Args:
        threshold_value: d.
        ternary_weight_networks: take ``d = 0.7 mean |x|`` over the whole tensor instead.
    """

    precision = 2

    def __init__(
        self,
        threshold_value: float = 0.05,
        ternary_weight_networks: bool = False,
        clip_value: float | None = 1.0,
        metrics: Sequence[str | FlipRatio] | None = None,
    ) -> None:
        super().__init__(metrics)
        self.threshold_value = threshold_value
        self.ternary_weight_networks = ternary_weight_networks
        self.clip_value = clip_value

    def quantize(self, x: Tensor) -> Tensor:
        """Returns -1, 0 or +1."""
        plain = x.detach()
        threshold = 0.7 * plain.abs().mean() if self.ternary_weight_networks else self.threshold_value
        value = torch.sign(torch.sign(plain + threshold) + torch.sign(plain - threshold))
        keep = torch.ones_like(plain, dtype=torch.bool) if self.clip_value is None else plain.abs() <= self.clip_value
        return with_gradient(x, value, keep)

    def get_config(self) -> dict[str, Any]:
        """Returns threshold and clip."""
        return {
            "threshold_value": self.threshold_value,
            "ternary_weight_networks": self.ternary_weight_networks,
            "clip_value": self.clip_value,
        }


class SteHeaviside(Quantizer):
    """Forward 1 where ``x > 0``, else 0; backward ``1[|x| <= clip_value]``."""

    precision = 1

    def __init__(self, clip_value: float | None = 1.0, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        super().__init__(metrics)
        self.clip_value = clip_value

    def quantize(self, x: Tensor) -> Tensor:
        """Returns 0 or 1."""
        plain = x.detach()
        value = (plain > 0).to(x.dtype)
        keep = torch.ones_like(plain, dtype=torch.bool) if self.clip_value is None else plain.abs() <= self.clip_value
        return with_gradient(x, value, keep)

    def get_config(self) -> dict[str, Any]:
        """Returns the clip."""
        return {"clip_value": self.clip_value}


class DoReFa(Quantizer):
    """k-bit quantizer (DoReFa-Net, Zhou et al. 2016, equations 5 to 9), rounding half to even.

    ``activations``: ``round(clip(x, 0, 1) n) / n`` with ``n = 2^k - 1``; gradient 1 on [0, 1], else 0.
    ``weights``: ``2 round(y n) / n - 1`` with ``y = tanh(x) / (2 max |tanh(x)|) + 1/2``; gradient
    ``(1 - tanh(x)^2) / max |tanh(x)|``, the maximum taken as a constant. For a tensor of zeros y is 0/0, taken as 0
    (then + 1/2), and the gradient is 0.

    Raises:
        ValueError: for another mode, when made and when called.
    """

    precision = 2

    def __init__(
        self, k_bit: int = 2, mode: str = "activations", metrics: Sequence[str | FlipRatio] | None = None
    ) -> None:
        super().__init__(metrics)
        if mode not in ("activations", "weights"):
            raise ValueError(f"invalid DoReFa quantizer mode '{mode}'; allowed: activations, weights")
        self.precision = k_bit
        self.mode = mode

    def quantize(self, x: Tensor) -> Tensor:
        """Returns one of 2^k levels."""
        plain = x.detach()
        steps = 2**self.precision - 1
        if self.mode == "activations":
            value, factor = torch.round(plain.clamp(0, 1) * steps) / steps, (plain >= 0) & (plain <= 1)
        elif self.mode == "weights":
            bent = torch.tanh(plain)
            largest = bent.abs().max()
            safe = torch.where(largest > 0, largest, torch.ones_like(largest))
            y = bent / (2 * safe) + 0.5
            value = 2 * torch.round(y * steps) / steps - 1
            factor = (1 - bent**2) / safe * (largest > 0)
        else:
            raise ValueError(f"invalid DoReFa quantizer mode '{self.mode}'; allowed: activations, weights")
        return with_gradient(x, value, factor)

    def get_config(self) -> dict[str, Any]:
        """Returns bits and mode."""
        return {"k_bit": self.precision, "mode": self.mode}


class NoOp(Quantizer):
    """Returns its input; only says how many bits it holds (for Bop and summaries)."""

    def __init__(self, precision: int, metrics: Sequence[str | FlipRatio] | None = None) -> None:
        super().__init__(metrics)
        self.precision = precision

    def quantize(self, x: Tensor) -> Tensor:
        """Returns the input."""
        return x

    def get_config(self) -> dict[str, Any]:
        """Returns the precision."""
        return {"precision": self.precision}


DoReFaQuantizer = DoReFa  # deprecated names of Larq that users' files still hold
NoOpQuantizer = NoOp

_ALIASES: dict[str, type[Quantizer]] = {
    "ste_sign": SteSign,
    "approx_sign": ApproxSign,
    "swish_sign": SwishSign,
    "magnitude_aware_sign": MagnitudeAwareSign,
    "ste_tern": SteTern,
    "ste_heaviside": SteHeaviside,
    "dorefa_quantizer": DoReFa,
    "no_op": NoOp,
}
_BY_NAME = {**_ALIASES, **{cls.__name__: cls for cls in _ALIASES.values()}}
_BY_NAME.update({"DoReFaQuantizer": DoReFa, "NoOpQuantizer": NoOp})


def alias_of(cls: type[Quantizer]) -> str:
    """Returns the alias of a quantizer's class, or its name where it has none."""
    return next((alias for alias, known in _ALIASES.items() if known is cls), cls.__name__)


def serialize(quantizer: Quantizer) -> dict[str, Any]:
    """Returns a mapping from which :func:`get` makes an equal quantizer."""
    return {"class_name": type(quantizer).__name__, "config": quantizer.get_config()}


def get(identifier: str | Mapping[str, Any] | Quantization | None) -> Quantization | None:
    """Returns the quantizer that an alias, a class name, a configuration or a callable stands for.

    Raises:
        ValueError: for anything else.
    """
    if identifier is None or callable(identifier):
        return identifier
    name: Any = identifier
    config: Mapping[str, Any] = {}
    if isinstance(identifier, Mapping):
        name, config = identifier.get("class_name"), identifier.get("config", {})
    if isinstance(name, str):
        if name in _BY_NAME:
            return _BY_NAME[name](**config)
        raise ValueError(f"unknown quantizer '{name}'{did_you_mean(name, _BY_NAME)}; allowed: {', '.join(_BY_NAME)}")
    raise ValueError(f"could not interpret quantizer identifier: {identifier!r}")


def precision_of(quantizer: Quantization | None) -> int:
    """Returns the bits of what a quantizer returns, 32 for none or one that does not say."""
    return int(getattr(quantizer, "precision", 32))
