"""Keeps freed memory in the process, so that large tensors do not cost page faults again and again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # of glibc's malloc.h
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to reuse freed blocks of any size instead of giving them back to the system.

    By default every block above 32 MB is mapped afresh: each first touch of a page is a fault, which made
    training of wide networks a quarter slower on two cores. Peak memory stays the same.

    Returns:
        Whether it was done; nothing happens without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
