"""How many threads torch computes with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Keeps torch to one thread, in a ``with`` block or as a decorator.

    For tensors too small to be worth a second one (where other work has the processors, every operation would wait
    for it, many times as long as it takes), and for solvers whose rounding depends on how threads meet.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
