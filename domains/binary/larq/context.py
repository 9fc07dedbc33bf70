"""Larq's context managers: whether weights read as quantized values, and which metrics new layers get."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from nichenas.domains.binary.larq.metrics import get_training_metrics
from nichenas.domains.binary.larq.metrics import metrics_scope

__all__ = ["get_training_metrics", "metrics_scope", "quantized_scope", "should_quantize"]

_state = threading.local()


def should_quantize() -> bool:
    """Returns whether weights of this thread read as quantized values."""
    return bool(getattr(_state, "quantize", False))


@contextlib.contextmanager
def quantized_scope(quantize: bool) -> Iterator[None]:
    """Makes weights read (and ``state_dict`` save) as quantized values, or latent ones, in the ``with`` block."""
    before = should_quantize()
    _state.quantize = quantize
    try:
        yield
    finally:
        _state.quantize = before
