"""Kernels in C++ where there is a compiler; without one, plain torch is used."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from nichenas.core.native import build


@functools.cache
def kernels() -> Any:
    """Returns the module of kernels, or None; see :func:`~nichenas.core.native.build`."""
    return build("binary", Path(__file__).with_name("kernels.cpp"))
