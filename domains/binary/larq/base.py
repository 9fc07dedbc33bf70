"""What all quantized layers share: quantizers, latent weights, bias, activation, constraints."""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.binary.larq import quantizers
from nichenas.domains.binary.larq.constraints import Constraint
from nichenas.domains.binary.larq.constraints import get_constraint
from nichenas.domains.binary.larq.context import should_quantize
from nichenas.domains.binary.larq.quantizers import NoOp
from nichenas.domains.binary.larq.quantizers import Quantization
from nichenas.domains.binary.larq.quantizers import Quantizer
from nichenas.domains.binary.larq.quantizers import precision_of

Identifier = str | Mapping[str, Any] | Quantization | None
Activation = Callable[[Tensor], Tensor] | None

_log = logging.getLogger(__name__)


def glorot_uniform(shape: tuple[int, ...], fan_in: int, fan_out: int) -> Tensor:
    """Returns weights uniform in +-sqrt(6 / (fan_in + fan_out)), from torch's global generator."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return torch.empty(shape).uniform_(-limit, limit)


TORCH_NAMES = {
    "out_channels": "filters",
    "out_features": "units",
    "stride": "strides",
    "dilation": "dilation_rate",
    "bias": "use_bias",
}
Constructor = TypeVar("Constructor", bound=Callable[..., None])


def with_torch_names(constructor: Constructor) -> Constructor:
    """Returns a layer's constructor that takes torch's names of arguments beside Larq's.

    Raises:
        TypeError: by what it returns, for an argument that is given under both names.
    """
    known = inspect.signature(constructor).parameters

    @functools.wraps(constructor)
    def made(self: Any, *arguments: Any, **named: Any) -> None:
        for theirs, ours in TORCH_NAMES.items():
            if theirs in named and theirs not in known and ours in known:
                if ours in named:
                    raise TypeError(f"{type(self).__name__}: '{theirs}' and '{ours}' are the same argument")
                named[ours] = named.pop(theirs)
        constructor(self, *arguments, **named)

    return made  # type: ignore[return-value]


class QuantizedLayer(nn.Module):
    """``activation(op(input_quantizer(x), kernel_quantizer(W)) + bias)``; the bias is never quantized.

    Latent weights are parameters and take the gradient. Inside
    :func:`~nichenas.domains.binary.larq.context.quantized_scope` they are saved, and read by :meth:`weights_of`, as
    quantized values. Constructors of layers take torch's names of arguments (``stride``, ``dilation``, ``bias``,
    ``out_channels``, ``out_features``) beside Larq's.

    Args:
        outputs: channels of the output.
        kernels: latent weights by name.
        kernel_quantizers: by the name of the weights.
        kernel_constraints: likewise; applied by :func:`~nichenas.domains.binary.larq.constraints.constrain`.
    """

    def __init__(
        self,
        outputs: int,
        kernels: Mapping[str, Tensor],
        input_quantizer: Identifier,
        kernel_quantizers: Mapping[str, Identifier],
        kernel_constraints: Mapping[str, str | Constraint | None],
        activation: Activation,
        use_bias: bool,
        bias_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.input_quantizer = quantizers.get(input_quantizer)
        self.activation = activation
        self.constraints: dict[str, Constraint] = {}
        self.kernel_names = tuple(kernels)
        for name, values in kernels.items():
            quantizer = quantizers.get(kernel_quantizers.get(name))
            setattr(self, self._quantizer_name(name), quantizer)
            self.register_parameter(name, nn.Parameter(values))
            constraint = get_constraint(kernel_constraints.get(name))
            if constraint is not None:
                self.constraints[name] = constraint
            if isinstance(quantizer, Quantizer):
                quantizer.add_metrics()
                if quantizer.precision == 1 and constraint is None and not isinstance(quantizer, NoOp):
                    _log.warning(
                        "%s: a binary weight quantizer (%s) without a constraint can starve weights of gradients; "
                        "give %s_constraint='weight_clip'",
                        type(self).__name__,
                        quantizer.name,
                        name,
                    )
        self.bias = nn.Parameter(torch.zeros(bias_shape or (outputs,))) if use_bias else None
        self._mark_precision()

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            cls.__init__ = with_torch_names(cls.__init__)  # type: ignore[method-assign]

    def _mark_precision(self) -> None:
        for name in self.kernel_names:  # read by Bop and summaries
            self.latent(name).precision = precision_of(self.quantizer_of(name))  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._mark_precision()  # copies and pickles of parameters lose it

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)  # type: ignore[no-untyped-call]
        self._mark_precision()  # assigned parameters are others

    def _apply(self, *arguments: Any, **named: Any) -> Any:
        found = super()._apply(*arguments, **named)  # type: ignore[no-untyped-call]
        self._mark_precision()  # some conversions make other parameters
        return found

    @property
    def weight(self) -> Tensor:
        """The latent kernel, under torch's name; of a separable layer the depthwise one."""
        return self.latent(self.kernel_names[0])

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample that are not of single bits, and those that are.

        Only what the input quantizer gives is binary, so not what a separable layer's second kernel is given.
        """
        input_bits = 32 if self.input_quantizer is None else precision_of(self.input_quantizer)
        counts = [0, 0]
        for place, name in enumerate(self.kernel_names):
            binary = place == 0 and input_bits == 1 and precision_of(self.quantizer_of(name)) == 1
            counts[binary] += self.latent(name).numel() * self.positions(x, y)
        return counts[0], counts[1]

    def positions(self, x: Tensor, y: Tensor) -> int:
        """Returns how often a kernel is used for one sample."""
        return y[0, 0].numel()

    def extra_repr(self) -> str:
        """Returns the shapes of the kernels."""
        kernels = (f"{name}={tuple(self.latent(name).shape)}" for name in self.kernel_names)
        return ", ".join([*kernels, f"bias={self.bias is not None}"])

    @staticmethod
    def _quantizer_name(kernel: str) -> str:
        return f"{kernel}_quantizer" if kernel != "kernel" else "kernel_quantizer"

    def quantizer_of(self, kernel: str) -> Quantization | None:
        """Returns the quantizer of a kernel, by its name."""
        return getattr(self, self._quantizer_name(kernel))  # type: ignore[no-any-return]

    def latent(self, kernel: str = "kernel") -> Tensor:
        """Returns a kernel before it is quantized; under ``torch.func`` it is no parameter."""
        return getattr(self, kernel)  # type: ignore[no-any-return]

    def quantized(self, kernel: str = "kernel") -> Tensor:
        """Returns a kernel as it is used."""
        quantizer = self.quantizer_of(kernel)
        weights = self.latent(kernel)
        return weights if quantizer is None else quantizer(weights)

    def weights_of(self, kernel: str = "kernel") -> Tensor:
        """Returns a kernel as it reads now: latent, or quantized inside a quantized scope."""
        return self.quantized(kernel) if should_quantize() else self.latent(kernel)

    def quantize_input(self, x: Tensor) -> Tensor:
        """Returns the quantized input."""
        return x if self.input_quantizer is None else self.input_quantizer(x)

    def finish(self, y: Tensor) -> Tensor:
        """Returns the output with bias and activation, ``(batch, channels, ...)``."""
        if self.bias is not None:
            bias = self.bias.to(y.dtype)
            y = y + (bias.view(-1, *([1] * (y.dim() - 2))) if bias.dim() == 1 else bias)
        return y if self.activation is None else self.activation(y)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if should_quantize():
            for name in self.kernel_names:
                destination[prefix + name] = self.quantized(name).detach()

    def get_config(self) -> dict[str, Any]:
        """Returns the quantizers, serialized, and what the layer adds."""
        parts: dict[str, Any] = {"input_quantizer": self.input_quantizer}
        parts.update({self._quantizer_name(name): self.quantizer_of(name) for name in self.kernel_names})
        return {
            name: quantizers.serialize(part) if isinstance(part, Quantizer) else part for name, part in parts.items()
        }
