"""Larq's metric of training: how many quantized values flip from one update to the next."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from collections.abc import Iterator

import torch
from torch import Tensor

from nichenas.core.errors import did_you_mean


class FlipRatio:
    """Mean share of values that changed between two updates (Larq's ``flip_ratio``).

    The first update, and the first after :meth:`reset_state`, count nothing: the values before are kept over a
    reset, but only to be compared with later ones.

    Args:
        values_dtype: what values are cast to, by truncation.
    """

    def __init__(self, values_dtype: torch.dtype = torch.int8, name: str = "flip_ratio") -> None:
        self.values_dtype = values_dtype
        self.name = name
        self.total = 0.0
        self.count = 0
        self._previous: Tensor | None = None

    def update_state(self, values: Tensor) -> None:
        """Records the values of one update, of any shape, always the same."""
        cast = values.detach().to(self.values_dtype)
        if self._previous is not None and self.count > 0:
            same = (cast == self._previous).sum().item()
            self.total += 1 - same / cast.numel()
        self._previous = cast.clone()
        self.count += 1

    def result(self) -> float:
        """Returns the mean ratio; 0 before the second update."""
        return self.total / (self.count - 1) if self.count > 1 else 0.0

    def reset_state(self) -> None:
        """Starts the mean again; the last values are kept."""
        self.total, self.count = 0.0, 0


_KNOWN = ("flip_ratio",)
_scopes = threading.local()


def make_metric(metric: str | FlipRatio, quantizer: str) -> FlipRatio:
    """Returns a metric by name, called ``<metric>/<quantizer>``.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(metric, FlipRatio):
        return metric
    if metric not in _KNOWN:
        raise ValueError(f"unknown training metric '{metric}'{did_you_mean(metric, _KNOWN)}; allowed: flip_ratio")
    return FlipRatio(name=f"{metric}/{quantizer}")


def get_training_metrics() -> set[str]:
    """Returns the live set of metrics that new kernel quantizers of this thread get."""
    if not hasattr(_scopes, "metrics"):
        _scopes.metrics = set()
    found: set[str] = _scopes.metrics
    return found


@contextlib.contextmanager
def metrics_scope(metrics: Iterable[str]) -> Iterator[None]:
    """Adds metrics to all kernel quantizers of layers made inside the ``with`` block.

    Raises:
        ValueError: for an unknown name.
    """
    live = get_training_metrics()
    before = set(live)
    for metric in metrics:
        make_metric(metric, "")
        live.add(metric)
    try:
        yield
    finally:
        live.clear()
        live.update(before)
