"""Binary networks: Larq's operations for torch, BATS's search space, inference on bits.

The search is imported when it is asked for, so that Larq's operations come without it.
"""

from typing import TYPE_CHECKING
from typing import Any

from nichenas.domains.binary import larq
from nichenas.domains.binary.larq import *  # noqa: F403  (all of its public names)
from nichenas.domains.binary.larq.summary import summary
from nichenas.domains.binary.packed import pack
from nichenas.domains.binary.packed_file import PackedClassifier
from nichenas.domains.binary.packed_file import load_packed
from nichenas.domains.binary.packed_kernel import PackedKernel
from nichenas.domains.binary.packed_kernel import binary_conv2d
from nichenas.domains.binary.packed_kernel import binary_linear

if TYPE_CHECKING:
    from nichenas.domains.binary.domain import BinaryDomain

    DOMAIN = BinaryDomain

__all__ = [
    "DOMAIN",
    "BinaryDomain",
    "PackedClassifier",
    "PackedKernel",
    "binary_conv2d",
    "binary_linear",
    "load_packed",
    "pack",
    "summary",
    *larq.__all__,
]


def __getattr__(name: str) -> Any:
    if name not in ("DOMAIN", "BinaryDomain"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from nichenas.domains.binary.domain import BinaryDomain

    return BinaryDomain
