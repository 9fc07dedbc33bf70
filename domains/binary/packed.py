"""Networks on bits: every layer whose both sides are signs is packed, and blocks are done in one where they can be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.folded import fold
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.larq.layers import QuantDense
from nichenas.domains.binary.larq.quantizers import ApproxSign
from nichenas.domains.binary.larq.quantizers import SteSign
from nichenas.domains.binary.larq.quantizers import SwishSign
from nichenas.domains.binary.packed_kernel import PAD_VALUES
from nichenas.domains.binary.packed_layers import PackedConv2d
from nichenas.domains.binary.packed_layers import PackedQuantConv2D
from nichenas.domains.binary.packed_layers import PackedQuantDense
from nichenas.domains.binary.packed_layers import is_plain

SIGNS = (SteSign, ApproxSign, SwishSign)  # quantizers whose values are signs


def packed_form(module: nn.Module) -> nn.Module | None:
    """Returns a layer on bits; none where one of its sides has other values than signs, or is padded with others.

    None, too, for a subclass that computes something else, and for a layer with hooks.
    """
    if is_plain(module, BinaryConv2d):
        assert isinstance(module, BinaryConv2d)
        try:
            return PackedConv2d(module) if module.binary else None
        except ValueError:
            return None
    forms: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
        QuantConv2D: PackedQuantConv2D,
        QuantDense: PackedQuantDense,
    }
    for cls, form in forms.items():
        if is_plain(module, cls):
            assert isinstance(module, QuantizedLayer)
            signs = type(module.input_quantizer) in SIGNS and type(module.quantizer_of("kernel")) in SIGNS
            padded = getattr(module, "pad_values", 0) in PAD_VALUES
            return form(module) if signs and padded else None
    return None


def pack(network: nn.Module) -> nn.Module:
    """Returns a copy of a network, in evaluation mode, with every binary convolution and dense layer on bits.

    Layers that cannot be packed are left as they are; one that stands in several places is packed once.

    Raises:
        ValueError: when none can be.
    """
    result = copy.deepcopy(network).eval()
    if (alone := packed_form(result)) is not None:
        return alone.eval()
    forms: dict[int, nn.Module | None] = {}
    places = list(result.named_modules(remove_duplicate=False))
    for _, module in places:
        if id(module) not in forms:
            forms[id(module)] = packed_form(module)
    if not any(form is not None for form in forms.values()):
        raise ValueError(
            "nothing can be packed: no layer has a binary input and a binary kernel (BinaryConv2d, or QuantConv2D and "
            f"QuantDense with {' or '.join(cls.__name__ for cls in SIGNS)} on both)"
        )
    for name, module in places:
        form = forms[id(module)]
        if form is not None:
            parent, _, child = name.rpartition(".")
            setattr(result.get_submodule(parent), child, form.eval())
    return fold(result)
