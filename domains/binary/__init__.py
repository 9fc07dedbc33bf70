"""Binary networks: Larq's operations for torch, BATS's search space, inference on bits."""

from domains.binary import larq
from domains.binary.domain import BinaryDomain
from domains.binary.larq import *  # noqa: F403  (all of its public names)
from domains.binary.larq.summary import summary
from domains.binary.packed import PackedKernel
from domains.binary.packed import binary_conv2d
from domains.binary.packed import binary_linear
from domains.binary.packed import pack

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
