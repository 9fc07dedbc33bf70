"""Binary networks: Larq's operations for torch, BATS's search space, inference on bits."""

from nichenas.domains.binary import larq
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.larq import *  # noqa: F403  (all of its public names)
from nichenas.domains.binary.larq.summary import summary
from nichenas.domains.binary.packed import PackedKernel
from nichenas.domains.binary.packed import binary_conv2d
from nichenas.domains.binary.packed import binary_linear
from nichenas.domains.binary.packed import pack

DOMAIN = BinaryDomain

__all__ = [
    "DOMAIN",
    "BinaryDomain",
    "PackedKernel",
    "binary_conv2d",
    "binary_linear",
    "pack",
    "summary",
    *larq.__all__,
]
